"""Uploads: files beside the request, in one form."""

from __future__ import annotations

import json

import pytest
from test_app import RESPONSES, picture, right, untimed

pytestmark = pytest.mark.export

REQUEST = {"prompt": "Which?", "responses": RESPONSES, "image": "cid:photo"}


def send(served, request: object, path: str = "/v1/judge", **files: bytes):
    return served.client.post(path, data={"request": json.dumps(request)}, files=files)


def test_a_file_is_the_picture_that_names_it(served, scorer):
    found = send(served, REQUEST, photo=picture())
    assert found.status_code == 200, found.text
    assert untimed(found.json()) == untimed(right(scorer, "Which?", RESPONSES, [picture()]))


def test_the_json_may_be_a_file_too_and_files_may_hold_any_bytes(served, scorer):
    files = {"request": json.dumps(REQUEST).encode(), "photo": picture() + b"\r\n--\r\n\0"}
    found = served.client.post("/v1/judge", files=files)
    assert found.status_code == 200, found.text
    assert untimed(found.json()) == untimed(right(scorer, "Which?", RESPONSES, [picture() + b"\r\n--\r\n\0"]))


def test_requests_of_a_batch_share_files(served, scorer):
    other = picture(56)
    lines = [REQUEST, {**REQUEST, "prompt": ["Which?", {"type": "image", "image": "cid:other"}], "image": "cid:photo"}]
    found = send(served, {"requests": lines}, "/v1/judge/batch", photo=picture(), other=other)
    first, second = found.json()["results"]
    assert first["scores"] == pytest.approx(right(scorer, "Which?", RESPONSES, [picture()])["scores"], abs=1e-5)
    assert "scores" in second or "image" in second["error"]["message"]


def test_documents_of_a_reranker_may_be_files(served, scorer):
    query = {"content": [{"type": "image", "image": "cid:photo"}, {"type": "text", "text": "Which?"}]}
    found = send(served, {"query": query, "documents": RESPONSES}, "/rerank", photo=picture())
    expected = right(scorer, "Which?", RESPONSES, [picture()])["probabilities"]
    assert {one["index"]: one["relevance_score"] for one in found.json()["results"]} == dict(enumerate(expected))


@pytest.mark.parametrize(
    ("request_fields", "files", "words"),
    [
        (REQUEST, {"image": picture()}, "'photo', which was not sent with the request; sent were image"),
        (REQUEST, {"photo": picture(), "b": b"x"}, "No request names the uploads b"),
        (REQUEST, {"photo": b"no picture"}, "image"),
        (REQUEST, {}, "'photo', which was not sent with the request; sent were none"),
    ],
)
def test_what_is_missing_unused_or_no_picture_is_an_error(request_fields, files, words, served):
    form = {"request": (None, json.dumps(request_fields))}
    found = served.client.post("/v1/judge", files=form | files)
    assert (found.status_code, words in found.json()["error"]["message"]) == (400, True), found.text


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("multipart/form-data", b"x", "no form"),
        ("multipart/form-data; boundary=b", b"x", "no form"),
        ("multipart/mixed; boundary=b", b"--b--\r\n", "no form"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", "no part 'request', but nothing"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 2 + b"--b--\r\n",
            "two parts 'a'",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="request"\r\n\r\n{}\r\n--b\r\nContent-Disp',
            "The form was cut off",
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\n1\r\n--b--\r\n", "form"),
    ],
)
def test_what_is_no_form_is_an_error_and_the_server_goes_on(content_type, body, words, served):
    found = served.client.post("/v1/judge", content=body, headers={"Content-Type": content_type})
    assert (found.status_code, words in found.json()["error"]["message"]) == (400, True), found.text
    assert served.judge().status_code == 200


def test_a_form_of_very_many_parts_is_an_error(served):
    parts = {f"p{k}": (None, "1") for k in range(1100)}
    found = served.client.post("/v1/judge", files=parts)
    assert (found.status_code, "more than 1024 parts" in found.json()["error"]["message"]) == (400, True), found.text
