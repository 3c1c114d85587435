"""Client of the open inference protocol (v2) over HTTP and gRPC, and the checks that every server of it must pass."""

from __future__ import annotations

import base64
import importlib
import io
import json
import queue
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from PIL import Image

from yoj.runtime import Judgement, Request, Scorer, decode_request, encode_judgement

RESPONSES = ["A cat.", "Two dogs on a red sofa, asleep.", "Nothing.", "I cannot tell."]
PROTOCOLS = ("http", "grpc")
INVALID = {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}
TIMED = ("timings_ms", "batch")
DERIVED = ("probabilities", "entropy")
"""Numbers that are compared in float32: with AVX-512 NumPy 1.26 and 2 give exponentials with other last bits."""


@dataclass(frozen=True)
class Server:
    """A server of the models ``judge`` and ``judge_tensors``, and the scorer with which its answers are compared."""

    http: str
    grpc: str
    scorer: Scorer

    @contextmanager
    def client(self, protocol: str) -> Iterator[Client]:
        module = importlib.import_module(f"tritonclient.{protocol}")
        given = {"network_timeout": 60.0} if protocol == "http" else {}
        connection = module.InferenceServerClient(getattr(self, protocol), **given)
        try:
            yield Client(module, connection)
        finally:
            connection.close()  # Triton waits for connections when it ends


@dataclass(frozen=True)
class Client:
    """Client of one protocol, for one thread."""

    module: object
    connection: object

    def infer(self, model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Values of all outputs, from inputs [1, n] of bytes or uint8."""
        given = []
        for name, values in inputs.items():
            one = self.module.InferInput(name, list(values.shape), "UINT8" if values.dtype == np.uint8 else "BYTES")
            one.set_data_from_numpy(values)
            given.append(one)
        result = self.connection.infer(model, given)
        response = result.get_response()
        outputs = response["outputs"] if isinstance(response, dict) else response.outputs
        names = [one["name"] if isinstance(one, dict) else one.name for one in outputs]
        return {name: result.as_numpy(name) for name in names}

    def judge(self, text: bytes) -> dict:
        (answer,) = self.infer("judge", {"REQUEST": values(text)})["JUDGEMENT"].ravel()
        return json.loads(answer)

    def score(self, prompt: str, responses: list[str], images: list[bytes] | None = None) -> dict[str, np.ndarray]:
        given = {"PROMPT": values(prompt.encode()), "RESPONSES": values(*(one.encode() for one in responses))}
        if images is not None:
            given["IMAGES"] = values(*images)
        return self.infer("judge_tensors", given)


def values(*given: bytes) -> np.ndarray:
    """BYTES [1, n]."""
    out = np.empty((1, len(given)), np.object_)
    out[0, :] = given
    return out


def picture(side: int = 40) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def line(**fields: object) -> bytes:
    return json.dumps({"prompt": "Which?", "responses": RESPONSES} | fields).encode()


def encoded(judgement: Judgement) -> dict:
    return json.loads(json.dumps(encode_judgement(judgement)))


def untimed(fields: dict) -> dict:
    kept = {name: value for name, value in fields.items() if name not in TIMED}
    return kept | {name: np.float32(kept[name]).tolist() for name in DERIVED}


def same_tensors(found: Mapping[str, np.ndarray], expected: Judgement) -> None:
    assert {name: (value.dtype, value.shape) for name, value in found.items()} == {
        "SCORES": (np.float32, (1, len(expected.scores))),
        "PROBABILITIES": (np.float32, (1, len(expected.scores))),
        "BEST": (np.int32, (1, 1)),
    }
    assert found["SCORES"][0].tolist() == [float(np.float32(one)) for one in expected.scores]
    assert found["PROBABILITIES"][0].tolist() == [float(np.float32(one)) for one in expected.probabilities]
    assert found["BEST"].tolist() == [[expected.best]]


def check_json(server: Server, protocol: str) -> None:
    image = "data:image/png;base64," + base64.b64encode(picture()).decode()
    with server.client(protocol) as client:
        for fields, images in (({}, []), ({"image": image, "id": "a", "metadata": {"k": 1}}, [picture()])):
            rest = {name: value for name, value in fields.items() if name != "image"}
            (expected,) = server.scorer.score_batch([Request("Which?", RESPONSES, images, **rest)])
            assert untimed(client.judge(line(**fields))) == untimed(encoded(expected))


def check_tensors(server: Server, protocol: str) -> None:
    with server.client(protocol) as client:
        same_tensors(client.score("Which?", RESPONSES), server.scorer.score("Which?", RESPONSES))
        expected = server.scorer.score("Which?", RESPONSES[:3], images=[picture(), picture(30)])
        given = [base64.b64encode(picture()), base64.b64encode(picture(30))]
        same_tensors(client.score("Which?", RESPONSES[:3], given), expected)


def check_plain_json(server: Server) -> None:
    """As ``curl`` sends it, in which BYTES are texts."""
    given = {
        "PROMPT": ["Which?"],
        "RESPONSES": RESPONSES,
        "IMAGES": [base64.b64encode(picture()).decode()],
    }
    inputs = [{"name": k, "datatype": "BYTES", "shape": [1, len(v)], "data": v} for k, v in given.items()]
    found = httpx.post(f"http://{server.http}/v2/models/judge_tensors/infer", json={"inputs": inputs}, timeout=60)
    assert found.status_code == 200, found.text
    outputs = {one["name"]: one["data"] for one in found.json()["outputs"]}
    expected = server.scorer.score("Which?", RESPONSES, images=[picture()])
    assert np.float32(outputs["SCORES"]).tolist() == [float(np.float32(one)) for one in expected.scores]
    assert outputs["BEST"] == [expected.best]


def check_bad_input(server: Server, protocol: str) -> None:
    """Each has the text of the codec's error, and the next request is scored."""
    which, two = values(b"Which?"), values(b"A.", b"B.")
    pair = {"PROMPT": which, "RESPONSES": two}
    bad = [
        ("judge", {"REQUEST": values(b'{"prompt": ')}, "The request is not JSON: Expecting value at character 11"),
        ("judge", {"REQUEST": values(line(temperature=1))}, "The field 'temperature' is not read."),
        ("judge", {"REQUEST": values(line(responses=["a"] * 65))}, "The request has N=65 responses; the limit of"),
        ("judge", {"REQUEST": values(line(image="/etc/hostname"))}, "image is a path, '/etc/hostname'; files are not"),
        ("judge", {"REQUEST": values(line(image="http://10.0.0.1/a"))}, "from which nothing may be fetched."),
        ("judge", {"REQUEST": np.vstack([values(line())] * 2)}, "REQUEST has 2 values; give 1."),
        ("judge_tensors", {"PROMPT": which, "RESPONSES": values(*[b"a"] * 65)}, "N=65 responses; the limit of"),
        ("judge_tensors", {"PROMPT": two.T, "RESPONSES": two.T}, "PROMPT has 2 values; give 1."),
        (
            "judge_tensors",
            {**pair, "IMAGES": values(cut(picture()))},
            "truncated or damaged",
        ),
        ("judge_tensors", {**pair, "IMAGES": values(b"a.png")}, "IMAGES[0] is a path"),
    ]
    for model, inputs, text in bad:
        refused(server, protocol, model, inputs, text)
    with server.client(protocol) as client:
        same_tensors(client.score("Which?", RESPONSES), server.scorer.score("Which?", RESPONSES))


def cut(file: bytes) -> bytes:
    """Base64 of the first half of a file."""
    return base64.b64encode(file[: len(file) // 2])


def refused(server: Server, protocol: str, model: str, inputs: Mapping[str, np.ndarray], text: str) -> None:
    from tritonclient.utils import InferenceServerException

    with server.client(protocol) as client, pytest.raises(InferenceServerException) as found:
        client.infer(model, inputs)
    assert found.value.status() == INVALID[protocol]
    assert text in found.value.message()


def check_concurrent_clients(server: Server, protocol: str) -> None:
    """Eight clients with different N at once: each has the answer to its own request."""
    begin = threading.Barrier(8)

    def ask(place: int) -> list:
        with server.client(protocol) as client:
            begin.wait(30)
            return [client.score(f"Which, {place}?", RESPONSES[: 2 + (place + k) % 3]) for k in range(10)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    for place, found in enumerate(answers):
        for k, one in enumerate(found):
            same_tensors(one, server.scorer.score(f"Which, {place}?", RESPONSES[: 2 + (place + k) % 3]))


def check_full_queue(server: Server, model: str, refusal: str) -> None:
    """A burst: each request is answered once, rightly or as unavailable, and the last answer is no refusal."""
    sent, text, done = 60, line(responses=[f"Answer {k}." for k in range(32)]), queue.Queue()
    with server.client("grpc") as client:
        given = client.module.InferInput("REQUEST", [1, 1], "BYTES")
        given.set_data_from_numpy(values(text))
        for k in range(sent):
            client.connection.async_infer(model, [given], lambda result, error, k=k: done.put((k, result, error)))
        answers = [done.get(timeout=60) for _ in range(sent)]
    assert Counter(k for k, _, _ in answers) == Counter(range(sent))
    judged = [json.loads(result.as_numpy("JUDGEMENT").item()) for _, result, error in answers if error is None]
    errors = [error for _, _, error in answers if error is not None]
    assert {one.status() for one in errors} == {"StatusCode.UNAVAILABLE"}
    assert all(refusal in one.message() for one in errors)
    (expected,) = server.scorer.score_batch([decode_request(text)])
    assert [untimed(one) for one in judged] == [untimed(encoded(expected))] * len(judged)
    assert answers[-1][2] is None


CHECKS = [check_json, check_tensors, check_bad_input, check_concurrent_clients]
