"""Model of a Triton repository: a bundle behind the Python backend. It is copied into the repository.

It needs the runtime of yoj in the server's Python, and nothing else. Forms of requests, by the parameter ``form``:

- ``json``: REQUEST, a request of the codec as BYTES [1]; the answer is JUDGEMENT, BYTES [1].
- ``tensors``: PROMPT BYTES [1], RESPONSES BYTES [N], IMAGES BYTES [number], each a file or its base64; the answer is
  SCORES and PROBABILITIES FP32 [N] and BEST INT32 [1].
- ``utf8``: REQUEST and JUDGEMENT as UINT8 [bytes], for a Python backend that is older than the NumPy beside it. Such a
  backend makes broken arrays, and dies of a BYTES tensor before the model sees it; DLPack goes round its arrays.
"""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as _utils  # pyright: ignore[reportMissingImports]

from yoj.runtime import (
    EngineMemoryError,
    Judgement,
    Prepared,
    Request,
    RequestError,
    Scorer,
    decode_request,
    encode_judgement,
)
from yoj.runtime.codec import decode_tensors

pb_utils: Any = _utils


class TritonPythonModel:
    """Model as Triton's Python backend calls it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle and score once, so that a server that says it is ready has loaded everything.

        A backend that cannot read the tensors of this form is refused by an exception of its own.

        Raises:
            YojError: the bundle cannot be loaded.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        given = {name: one["string_value"] for name, one in parameters.items()}
        self._form = given["form"]
        self._arrays = _arrays_work()
        if not self._arrays and self._form != "utf8":
            raise pb_utils.TritonModelException(
                f"This server's Python backend is older than NumPy {np.__version__}, and dies of tensors of BYTES. Put "
                "numpy<2 into the model's Python, or write the repository with yoj-serve triton --form utf8."
            )
        self._scorer = Scorer.load(
            Path(args["model_repository"]) / given["bundle"],
            engine=given["engine"] or None,
            precision=given["precision"] or None,
            threads=int(given["threads"]) if given["threads"] else None,
        )
        self._scorer.score("Which is better?", ["One.", "Another one."])
        self._pool = ThreadPoolExecutor(max(2, min(16, os.cpu_count() or 2)))

    def finalize(self) -> None:
        """Release the bundle."""
        self._pool.shutdown()
        self._scorer.close()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Score the requests that Triton batched; each fails alone."""
        # Another thread would only make a lone request wait.
        ready = [self._prepare(requests[0])] if len(requests) == 1 else list(self._pool.map(self._prepare, requests))
        good = [one for one in ready if isinstance(one, Prepared)]
        judged = iter(self._scorer.score_prepared(good, on_error="return"))
        results = [next(judged) if isinstance(one, Prepared) else one for one in ready]
        return [self._answer(result) for result in results]

    def _prepare(self, request: Any) -> Prepared | Exception:
        read = {"json": self._read_json, "tensors": self._read_tensors, "utf8": self._read_utf8}[self._form]
        try:
            return self._scorer.prepare(read(request))
        except Exception as error:  # what Python raises here would fail the other requests of the batch too
            return error

    def _read_json(self, request: Any) -> Request:
        (text,) = _values(request, "REQUEST", 1)
        return decode_request(text)

    def _read_tensors(self, request: Any) -> Request:
        (prompt,) = _values(request, "PROMPT", 1)
        return decode_tensors(prompt, _values(request, "RESPONSES"), _values(request, "IMAGES"))

    def _read_utf8(self, request: Any) -> Request:
        tensor = pb_utils.get_input_tensor_by_name(request, "REQUEST")
        bytes_1L = tensor.as_numpy() if self._arrays else np.from_dlpack(tensor)
        if len(bytes_1L) != 1:
            raise RequestError(f"REQUEST has the shape {list(bytes_1L.shape)}; give [1, bytes], one request.")
        return decode_request(bytes_1L.tobytes())

    def _answer(self, result: Judgement | Exception) -> Any:
        if isinstance(result, Exception):
            return pb_utils.InferenceResponse(error=_triton_error(result))
        if self._form == "tensors":
            return pb_utils.InferenceResponse(output_tensors=_tensors(result))
        text = json.dumps(encode_judgement(result)).encode()
        if self._form == "json":
            tensor = pb_utils.Tensor("JUDGEMENT", np.array([[text]], np.object_))
        else:
            bytes_1L = np.frombuffer(text, np.uint8).copy()[None]
            tensor = pb_utils.Tensor("JUDGEMENT", bytes_1L) if self._arrays else _lent_tensor("JUDGEMENT", bytes_1L)
        return pb_utils.InferenceResponse(output_tensors=[tensor])


def _values(request: Any, name: str, count: int | None = None) -> list[bytes]:
    """Values of a BYTES tensor; none where an optional one was left out."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    values = [] if tensor is None else [bytes(one) for one in tensor.as_numpy().ravel()]
    if count is not None and len(values) != count:
        raise RequestError(f"{name} has {len(values)} values; give {count}.")
    return values


def _tensors(judgement: Judgement) -> list[Any]:
    return [
        pb_utils.Tensor("SCORES", np.array([judgement.scores], np.float32)),
        pb_utils.Tensor("PROBABILITIES", np.array([judgement.probabilities], np.float32)),
        pb_utils.Tensor("BEST", np.array([[judgement.best]], np.int32)),
    ]


def _triton_error(error: Exception) -> Any:
    kinds = pb_utils.TritonError
    if isinstance(error, RequestError):
        return kinds(str(error), kinds.INVALID_ARG)
    pb_utils.Logger.log_error("".join(traceback.format_exception(error)))
    if isinstance(error, EngineMemoryError):
        return kinds(str(error), kinds.UNAVAILABLE)
    return kinds("The model failed. The server's log says why.", kinds.INTERNAL)


def _arrays_work() -> bool:
    """Whether the backend makes arrays of what is in a tensor, which one that is older than NumPy does not."""
    if int(np.__version__.split(".")[0]) < 2:
        return True
    # Not an array that was given to the backend: it would come back as the same object.
    made = _lent_tensor("X", np.arange(3, dtype=np.uint8)).as_numpy()
    return made.tolist() == [0, 1, 2]


def _lent_tensor(name: str, array: np.ndarray[Any, Any]) -> Any:
    return pb_utils.Tensor.from_dlpack(name, _Lent(array))


class _Lent:
    """DLPack of an array without the destructor of NumPy's capsule.

    Old backends mark what they took by a name that NumPy does not know: its destructor would log an error at each
    answer. They release the array themselves.
    """

    def __init__(self, array: np.ndarray[Any, Any]):
        self._array = array

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self._array.__dlpack__(**options)
        ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
        return capsule
