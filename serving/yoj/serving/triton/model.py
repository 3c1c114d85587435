"""Model of a Triton repository: a bundle behind the Python backend. It is copied into the repository.

It needs the runtime of yoj in the server's Python, and nothing else. Forms of requests, by the parameter ``form``:

- ``json``: REQUEST, a request of the codec as BYTES [1]; or, for servers whose Python backend is older than NumPy 2,
  REQUEST_UTF8, the same as UINT8 [bytes]. The answer is JUDGEMENT, BYTES [1], or JUDGEMENT_UTF8.
- ``tensors``: PROMPT BYTES [1], RESPONSES BYTES [N], IMAGES BYTES [number], each a file or its base64; the answer is
  SCORES and PROBABILITIES FP32 [N] and BEST INT32 [1].
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]

from yoj.runtime import Judgement, Prepared, Request, Scorer, YojError, decode_request, encode_judgement
from yoj.runtime.errors import RequestError
from yoj.runtime.sources import Policy


class TritonPythonModel:
    """Model as Triton's Python backend calls it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle."""
        config = json.loads(args["model_config"])
        given = {name: one["string_value"] for name, one in config["parameters"].items()}
        here = Path(args["model_repository"])
        self._json = given["form"] == "json"
        self._scorer = Scorer.load(
            here / given["bundle"],
            engine=given.get("engine") or None,
            precision=given.get("precision") or None,
            threads=int(given["threads"]) if given.get("threads") else None,
        )
        self._pool = ThreadPoolExecutor(max(2, min(16, os.cpu_count() or 2)))
        self._texts_are_read = _texts_are_read()

    def finalize(self) -> None:
        """Release the bundle."""
        self._pool.shutdown()
        self._scorer.close()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Score the requests that Triton batched; each fails alone."""
        ready = list(self._pool.map(self._prepare, requests))
        good = [one for one in ready if isinstance(one, Prepared)]
        judged = iter(self._scorer.score_prepared(good, on_error="return"))
        results = [next(judged) if isinstance(one, Prepared) else one for one in ready]
        return [self._answer(request, result) for request, result in zip(requests, results, strict=True)]

    def _prepare(self, request: Any) -> Prepared | YojError:
        try:
            return self._scorer.prepare(self._read_json(request) if self._json else self._read_tensors(request))
        except YojError as error:
            return error

    def _read_json(self, request: Any) -> Request:
        if (plain := pb_utils.get_input_tensor_by_name(request, "REQUEST_UTF8")) is not None:
            return decode_request(np.from_dlpack(plain).tobytes())
        (text,) = self._texts(request, "REQUEST", 1)
        return decode_request(text)

    def _read_tensors(self, request: Any) -> Request:
        (prompt,) = self._texts(request, "PROMPT", 1)
        policy = Policy()
        images = [_image(one, k, policy) for k, one in enumerate(self._texts(request, "IMAGES"))]
        return Request(
            _text(prompt, "PROMPT"), [_text(one, "RESPONSES") for one in self._texts(request, "RESPONSES")], images
        )

    def _texts(self, request: Any, name: str, count: int | None = None) -> list[bytes]:
        """Values of a BYTES tensor, whatever its shape; none where an optional one was left out."""
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        if tensor is not None and not self._texts_are_read:
            raise RequestError(
                f"This server's Python backend is older than NumPy {np.__version__} and cannot read BYTES. Put numpy<2 "
                "into its Python, or send REQUEST_UTF8."
            )
        values = [] if tensor is None else [bytes(one) for one in tensor.as_numpy().ravel()]
        if count is not None and len(values) != count:
            raise RequestError(f"{name} has {len(values)} values; give {count}.")
        return values

    def _answer(self, request: Any, result: Judgement | YojError) -> Any:
        if isinstance(result, YojError):
            kind = (
                pb_utils.TritonError.INVALID_ARG if isinstance(result, RequestError) else pb_utils.TritonError.INTERNAL
            )
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(result), kind))
        tensors = self._judgement(request, result) if self._json else _tensors(result)
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def _judgement(self, request: Any, judgement: Judgement) -> list[Any]:
        text = json.dumps(encode_judgement(judgement)).encode()
        if pb_utils.get_input_tensor_by_name(request, "REQUEST_UTF8") is not None:
            return [pb_utils.Tensor.from_dlpack("JUDGEMENT_UTF8", np.frombuffer(text, np.uint8).copy()[None])]
        return [pb_utils.Tensor("JUDGEMENT", np.array([[text]], np.object_))]


def _tensors(judgement: Judgement) -> list[Any]:
    values = {
        "SCORES": np.array([judgement.scores], np.float32),
        "PROBABILITIES": np.array([judgement.probabilities], np.float32),
        "BEST": np.array([[judgement.best]], np.int32),
    }
    return [pb_utils.Tensor.from_dlpack(name, value) for name, value in values.items()]


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is not UTF-8: byte {error.start} is 0x{value[error.start]:02X}.") from error


def _image(value: bytes, place: int, policy: Policy) -> bytes:
    """A file as it is, or decoded from base64, which is what JSON can hold."""
    try:
        source = value.decode("ascii")
    except UnicodeDecodeError:
        return value
    found = policy.image(source, f"IMAGES[{place}]")
    assert isinstance(found, bytes)
    return found


def _texts_are_read() -> bool:
    """Whether BYTES tensors reach Python whole, which they do not where the backend is older than NumPy 2."""
    if int(np.__version__.split(".")[0]) < 2:
        return True
    try:
        return pb_utils.Tensor("X", np.array([b"abc"], np.object_)).as_numpy().tolist() == [b"abc"]
    except Exception:
        return False
