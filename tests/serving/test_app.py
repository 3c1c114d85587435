"""Routes: what they take and give, against the scorer itself."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from yoj.runtime import Request, encode_judgement

pytestmark = pytest.mark.export

RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing."]
TIMED = ("timings_ms", "batch")


def picture(side: int = 40) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def untimed(fields: dict) -> dict:
    return {name: value for name, value in fields.items() if name not in TIMED}


def right(scorer, *args, **fields) -> dict:
    import json

    (judgement,) = scorer("qwen3_vl").score_batch([Request(*args, **fields)])
    return json.loads(json.dumps(encode_judgement(judgement)))


@pytest.mark.parametrize("place", ["field", "part"])
def test_a_judgement_is_that_of_the_scorer_bit_for_bit(place, served, scorer):
    image = picture()
    part = {"type": "image_url", "image_url": {"url": data_url(image)}}
    given = {"image": data_url(image)} if place == "field" else {"prompt": [part, "Which?"]}
    found = served.judge(responses=RESPONSES, id="a", metadata={"k": 1}, **given)
    assert found.status_code == 200
    expected = right(scorer, "Which?", RESPONSES, [image], id="a", metadata={"k": 1})
    assert untimed(found.json()) == untimed(expected)


def test_in_a_batch_each_fails_alone(served, scorer):
    lines = [{"prompt": "Which?", "responses": RESPONSES}, {"prompt": "Which?"}, "no object", {"x": 1}]
    found = served.client.post("/v1/judge/batch", json={"requests": lines})
    assert found.status_code == 200
    first, *failed = found.json()["results"]
    assert untimed(first) == untimed(right(scorer, "Which?", RESPONSES))
    assert [one["error"]["type"] for one in failed] == ["request"] * 3
    assert "requests[2] is no object" in failed[1]["error"]["message"]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked_by_their_probability(path, served, scorer):
    body = {"model": "judge", "query": "Which?", "documents": [RESPONSES[0], {"text": RESPONSES[1]}, RESPONSES[2]]}
    found = served.client.post(path, json=body | {"top_n": 2})
    assert found.headers["x-yoj-meaning"] == "scores-compare-only-within-one-request"
    answer, expected = found.json(), right(scorer, "Which?", RESPONSES)
    assert answer.keys() == {"id", "model", "usage", "results"}
    best = sorted(range(3), key=lambda k: -expected["scores"][k])[:2]
    assert answer["results"] == [
        {
            "index": k,
            "relevance_score": expected["probabilities"][k],
            "document": {"text": RESPONSES[k], "multi_modal": None},
        }
        for k in best
    ]
    assert answer["usage"] == {"prompt_tokens": expected["tokens"]["row"], "total_tokens": expected["tokens"]["row"]}
    bare = served.client.post(path, json=body | {"return_documents": False}).json()["results"]
    assert [one.keys() for one in bare] == [{"index", "relevance_score"}] * 3


@pytest.mark.parametrize("raw", [True, False])
def test_the_form_of_tei(raw, served, scorer):
    body = {"query": "Which?", "texts": RESPONSES, "raw_scores": raw, "return_text": raw, "truncate": True}
    found, expected = served.client.post("/rerank", json=body).json(), right(scorer, "Which?", RESPONSES)
    values = expected["scores" if raw else "probabilities"]
    order = sorted(range(3), key=lambda k: -expected["scores"][k])
    texts = [{"text": RESPONSES[k]} if raw else {} for k in order]
    assert found == [{"index": k, "score": values[k]} | text for k, text in zip(order, texts, strict=True)]
    assert served.client.post("/rerank", json=body | {"top_n": 1}).json() == found[:1]


@pytest.mark.parametrize(
    "sides", [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
)
def test_raw_scores_in_the_form_of_vllm(sides, served, scorer):
    left, right_side = sides
    one = served.client.post("/v1/score", json={left: "Which?", right_side: RESPONSES}).json()
    assert one.keys() == {"id", "object", "created", "model", "data", "usage"}
    scores = right(scorer, "Which?", RESPONSES)["scores"]
    assert one["data"] == [{"index": k, "object": "score", "score": score} for k, score in enumerate(scores)]
    pairs = served.client.post("/score", json={left: ["Which?", "Who?"], right_side: RESPONSES[:2]}).json()["data"]
    alone = [right(scorer, *pair)["scores"][0] for pair in (("Which?", RESPONSES[:1]), ("Who?", RESPONSES[1:2]))]
    assert [entry["score"] for entry in pairs] == pytest.approx(alone, abs=1e-5)


def test_pictures_in_queries(served, scorer):
    image = picture()
    content = {
        "content": [{"type": "image_url", "image_url": {"url": data_url(image)}}, {"type": "text", "text": "Which?"}]
    }
    found = served.client.post("/rerank", json={"query": content, "documents": RESPONSES}).json()
    expected = right(scorer, "Which?", RESPONSES, [image])["probabilities"]
    assert {one["index"]: one["relevance_score"] for one in found["results"]} == dict(enumerate(expected))


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/judge", b"{", 400, "not JSON"),
        ("/v1/judge", b"\xff", 400, "not UTF-8"),
        ("/v1/judge", {"prompt": "a", "responses": ["b"], "answer": 1}, 400, "'answer'"),
        ("/v1/judge", {"prompt": "a", "responses": ["b"] * 65, "duplicates": "score"}, 400, "65"),
        ("/v1/judge", {"prompt": "a", "responses": ["b"], "image": "/etc/passwd"}, 400, "Send it as a data URL"),
        ("/v1/judge", {"prompt": "a", "responses": ["b"], "image": "http://localhost/a.png"}, 400, "localhost"),
        ("/v1/judge", {"prompt": "a", "responses": ["b"], "image": data_url(b"no picture")}, 400, "image"),
        ("/v1/judge/batch", {"requests": []}, 400, "from 1 to 128"),
        ("/rerank", {"query": "a", "documents": []}, 400, "documents is an empty list"),
        ("/rerank", {"query": "a"}, 400, "no documents"),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, 400, "top_n is -1"),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": False}, 400, "top_n is False"),
        ("/rerank", {"query": "a", "documents": ["b"], "return_documents": 0}, 400, "return_documents is 0"),
        ("/rerank", b'{"query": "a", "documents": ["b"], "\\ud800": 1}', 400, "lone surrogate"),
        ("/score", b'{"queries": "a", "documents": [{"\\udc00": 1}]}', 400, "lone surrogate"),
        ("/rerank/", {"query": "a", "documents": ["b"]}, 404, "/docs"),
        ("/rerank", {"query": "a", "documents": ["b"], "instruction": "x"}, 400, "instruction is not taken"),
        ("/rerank", {"query": "a", "documents": ["b"], "other": "x"}, 400, "other, which is not read"),
        ("/rerank", {"model": "gpt", "query": "a", "documents": ["b"]}, 404, "'gpt' is not served"),
        ("/score", {"queries": ["a", "b"], "documents": ["c", "d", "e"]}, 400, "2 entries, documents 3"),
        ("/score", {"queries": "a"}, 400, "give queries and documents"),
        ("/pooling", {}, 404, "/docs"),
    ],
)
def test_bad_input_gets_its_status_and_text_and_the_server_goes_on(path, body, status, words, served):
    found = served.client.post(path, **({"content": body} if isinstance(body, bytes) else {"json": body}))
    assert found.status_code == status, found.text
    error = found.json()["error"]
    assert (error["code"], words in error["message"]) == (status, True), error
    assert served.judge().status_code == 200


def _lookups(served) -> tuple[float, float]:
    lines = dict(line.rsplit(" ", 1) for line in served.client.get("/metrics").text.splitlines())
    return tuple(float(lines[f'yoj_feature_cache_total{{found="{found}"}}']) for found in ("yes", "no"))


def test_state_routes(served):
    served.judge()
    assert served.client.get("/health").json() == {"status": "ok"}
    assert served.client.get("/ready").status_code == 200
    (model,) = served.client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["family"]) == ("judge", "model", "qwen3_vl")
    text = served.client.get("/metrics").text
    for name in ("yoj_request_seconds_count", "yoj_phase_seconds_count", "yoj_batch_rows_count", "yoj_responses_total"):
        assert name in text
    image = data_url(picture(48))
    found = [_lookups(served)]
    for _ in range(2):
        served.judge(image=image)
        found.append(_lookups(served))
    (hits, misses), first, second = found
    assert (first, second) == ((hits, misses + 1), (hits + 1, misses + 1))
    schema = served.client.get("/openapi.json").json()
    assert {"Request", "Judgement", "Rerank", "Score"} <= schema["components"]["schemas"].keys()
    assert {"/v1/judge", "/v2/rerank", "/score"} <= schema["paths"].keys()


def test_what_is_counted_names_its_route(served):
    served.client.post("/rerank", json={"query": "a", "documents": ["b"]})
    served.client.get("/nothing/here")
    text = served.client.get("/metrics").text
    assert 'yoj_request_seconds_count{route="/rerank",status="200"}' in text
    assert 'yoj_request_seconds_count{route="none",status="404"}' in text
    assert 'yoj_errors_total{kind="route"}' in text
    assert "nothing/here" not in text


def test_errors_do_not_echo_what_is_long(served):
    found = served.client.post("/rerank", json={"model": "x" * 10**6, "query": "a", "documents": ["b"]})
    assert found.status_code == 404
    assert len(found.content) < 1000


def test_in_another_application(scorer):
    """The code of docs/serving.md, with the scorer of the tests."""
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    code = code.replace('Scorer.load("judge.yoj"), HttpSettings()', 'scorer, HttpSettings(api_keys=("key",))')
    names = {"scorer": scorer("qwen3_vl")}
    exec(compile(code, "serving.md", "exec"), names)
    for _ in range(2):  # an application may be started again
        with TestClient(names["app"]) as client:
            assert client.get("/judge/health").status_code == 200
            body = {"prompt": "Which?", "responses": RESPONSES}
            assert client.post("/judge/v1/judge", json=body).status_code == 401
            found = client.post("/judge/v1/judge", json=body, headers={"X-Api-Key": "key"})
            assert untimed(found.json()) == untimed(right(scorer, "Which?", RESPONSES))


def test_request_ids_are_echoed_where_they_are_ids(served):
    assert served.client.get("/health", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = served.client.get("/health", headers={"X-Request-Id": "no id, has blanks"}).headers["x-request-id"]
    assert len(made) == 32
