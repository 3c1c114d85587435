"""A judge behind Ray Serve answers real requests as the scorer and the HTTP server do, also after a replica died."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from peers import ask, needs
from PIL import Image
from servers import running

from yoj.runtime import Scorer
from yoj.serving import HttpSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,  # test_ray_data has a cluster, too
    pytest.mark.export,
    pytest.mark.timeout(900),
    needs(".venv-ray"),
]

RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A parrot and a lamp."]
COUNT = 24
WRONG = [
    b"{",
    b"[]",
    b'{"prompt": "Which?"}',
    b'{"prompt": "Which?", "responses": []}',
    b'{"prompt": "Which?", "responses": ["a"], "answer": "b"}',
    b'{"prompt": "Which?", "responses": ["a"], "image": "/etc/passwd"}',
    b'{"prompt": "Which?", "responses": ["a"], "image": "data:image/png;base64,bm8gcGljdHVyZQ=="}',
    b'{"prompt": "\\ud800", "responses": ["a"]}',
    json.dumps({"prompt": "Which? " * 20000, "responses": RESPONSES}).encode(),
]


def picture(k):
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (10 * k, 90, 200)).save(stream, "PNG")
    return stream.getvalue()


def fields(k):
    url = f"data:image/png;base64,{base64.b64encode(picture(k)).decode()}"
    shown = {"image": url} if k % 2 else {}
    return {"id": k, "prompt": f"Which of {k}?", "responses": RESPONSES[: 2 + k % 3], **shown}


@pytest.fixture(scope="module")
def judge(bundle):
    return Scorer.load(bundle("qwen3_vl", "assistant"), threads=1)


@pytest.fixture(scope="module")
def answer(bundle):
    asked = {
        "bundle": str(bundle("qwen3_vl", "assistant")),
        "bodies": [base64.b64encode(json.dumps(fields(k)).encode()).decode() for k in range(COUNT)],
        "wrong": [base64.b64encode(body).decode() for body in WRONG],
    }
    return ask(".venv-ray", "with_ray_serve.py", asked)


def check(judge, k, status, found):
    assert status == 200
    assert found["id"] == k
    right = judge.score(f"Which of {k}?", RESPONSES[: 2 + k % 3], images=[picture(k)] if k % 2 else [])
    np.testing.assert_allclose(found["scores"], right.scores, atol=1e-4)
    assert found["ranks"] == list(right.ranks)


def test_requests_that_come_together_are_scored_in_batches(judge, answer):
    for k, (status, found) in enumerate(answer["together"]):
        check(judge, k, status, found)
    assert max(found["batch"] for _, found in answer["together"]) > 1


def test_requests_that_are_wrong_get_the_answers_of_the_http_server(judge, answer):
    with running(judge, HttpSettings()) as server:
        for body, (status, found) in zip(WRONG, answer["wrong"], strict=True):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v1/judge", body)
            assert (status, found) == (caught.value.code, json.loads(caught.value.read()))


def test_routes(answer):
    health, get, other = answer["routes"]
    assert health == [200, {"status": "ok"}]
    told = "There is no GET /v1/judge; there is POST /v1/judge, and GET /health."
    assert get == [404, {"error": {"message": told, "type": "route", "param": None, "code": 404}}]
    assert other[0] == 404


def test_another_replica_takes_the_place_of_one_that_was_killed(judge, answer):
    assert (answer["before"], answer["kept"], answer["new"]) == (2, 1, 1)
    statuses = answer["statuses"]
    assert statuses[-20:] == [200] * 20
    assert sum(status != 200 for status in statuses) <= 1  # no more than what the dead one had taken
    for k, (status, found) in enumerate(answer["at last"]):
        check(judge, k, status, found)
