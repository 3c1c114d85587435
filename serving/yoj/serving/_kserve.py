"""Models of KServe: a bundle behind its server, with the inputs and outputs that the models of Triton have.

Needs ``pip install 'yoj[kserve]'``.
"""

# kserve is no dependency of the development environment.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import json
import struct
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import kserve
import numpy as np
from kserve.errors import InvalidInput, ModelNotReady

from yoj.runtime import Judgement, Reading, Request, RequestError, Scorer, decode_request, encode_judgement
from yoj.runtime.codec import Line, decode_tensors, to_line, to_request
from yoj.runtime.errors import EngineMemoryError

from ._batcher import Batcher
from ._errors import DeadlineError, OverloadedError
from ._metrics import Metrics
from ._settings import QueueSettings

UNAVAILABLE = (OverloadedError, DeadlineError, EngineMemoryError)
DATA_TYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32", np.dtype(np.object_): "BYTES"}


class Unavailable(ModelNotReady):
    """Request that a model has no room for now: 503 over HTTP, UNAVAILABLE over gRPC."""

    def __init__(self, name: str, text: str):
        super().__init__(name, text)
        self.reason = text  # which KServe's gRPC server reads, though its own class has none
        self.error_msg = text


class JudgeQueue:
    """One queue before one scorer, for all models that answer with it."""

    def __init__(self, scorer: Scorer, settings: QueueSettings, deadline: float):
        """``deadline``: seconds after which a request that was not scored is given up."""
        self.scorer = scorer
        self.batcher = Batcher(scorer, settings, Metrics(scorer.cache))
        self._deadline = deadline
        self._most = settings.max_queue

    async def start(self) -> None:
        """Score once, so that nothing is loaded at the first request, and accept requests."""
        await asyncio.to_thread(self.scorer.score, "Which is better?", ["One.", "Another one."])
        self.batcher.start()

    async def judge(self, model: str, reads: Sequence[Callable[[], Request]]) -> list[Judgement]:
        """Score what functions read, all or nothing.

        Raises:
            InvalidInput: a request cannot be scored; the text is the codec's.
            Unavailable: there is no room, or no time.
        """
        until = time.monotonic() + self._deadline
        if len(reads) > self._most:
            raise InvalidInput(f"The body holds {len(reads)} instances; give at most {self._most}.")

        try:
            self.batcher.admit()
            try:
                _, scored = await self.batcher.judge(lambda: (None, [read() for read in reads]), until)
            finally:
                self.batcher.release()
            return [_judgement(one) for one in scored]
        except RequestError as error:
            raise InvalidInput(str(error)) from error
        except UNAVAILABLE as error:
            raise Unavailable(model, str(error)) from error


class _QueuedModel(kserve.Model):
    def __init__(self, name: str, queue: JudgeQueue):
        super().__init__(name)
        self._queue = queue
        self.ready = True  # else KServe does not register it; `healthy` says when it is

    async def healthy(self) -> bool:
        return self._queue.batcher.accepts

    def _response(self, request: Any, outputs: Mapping[str, np.ndarray[Any, Any]]) -> Any:
        made: list[Any] = []
        for name, value in outputs.items():
            output = kserve.InferOutput(name, list(value.shape), DATA_TYPES[value.dtype])
            output.set_data_from_numpy(value, binary_data=True)  # clients of gRPC get nothing otherwise
            made.append(output)
        return kserve.InferResponse(
            response_id=request.id or uuid.uuid4().hex,
            model_name=self.name,
            infer_outputs=made,
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs,
        )


class JudgeModel(_QueuedModel):
    """Model whose requests are JSON of the codec: REQUEST and JUDGEMENT, BYTES [1, 1]; or instances of protocol v1."""

    def __init__(self, name: str, queue: JudgeQueue):
        """Make the model that also starts the queue."""
        super().__init__(name, queue)
        self.engine = True

    async def start_engine(self) -> None:
        """Start the queue, in KServe's event loop."""
        await self._queue.start()

    async def predict(self, payload: Any, headers: Mapping[str, str] | None = None) -> Any:  # noqa: ARG002
        """Answer REQUEST with JUDGEMENT, or ``{"instances": [request]}`` of v1 with ``{"predictions": [judgement]}``.

        Raises:
            InvalidInput: a request cannot be scored, for which all instances are refused.
            Unavailable: there is no room, or no time.
        """
        if not isinstance(payload, kserve.InferRequest):
            judged = await self._queue.judge(self.name, [_instance(*one) for one in enumerate(_instances(payload))])
            return {"predictions": [encode_judgement(one) for one in judged]}
        (text,) = _values(payload, "REQUEST", ("REQUEST",), 1)
        (judgement,) = await self._queue.judge(self.name, [lambda: decode_request(text)])
        answer = json.dumps(encode_judgement(judgement)).encode()
        return self._response(payload, {"JUDGEMENT": np.array([[answer]], np.object_)})


class TensorsModel(_QueuedModel):
    """Model of typed tensors.

    Inputs are PROMPT BYTES [1, 1], RESPONSES BYTES [1, N] and, where wanted, IMAGES BYTES [1, number], each the base64
    of a file or, over gRPC, the file itself. Outputs are SCORES and PROBABILITIES FP32 [1, N] and BEST INT32 [1, 1].
    """

    async def predict(self, payload: Any, headers: Mapping[str, str] | None = None) -> Any:  # noqa: ARG002
        """Answer one request.

        Raises:
            InvalidInput: the request cannot be scored.
            Unavailable: there is no room, or no time.
        """
        if not isinstance(payload, kserve.InferRequest):
            raise InvalidInput(f"{self.name} takes tensors of protocol v2. Send instances of v1 to the JSON model.")
        (judgement,) = await self._queue.judge(self.name, [lambda: _request(payload)])
        return self._response(
            payload,
            {
                "SCORES": np.array([judgement.scores], np.float32),
                "PROBABILITIES": np.array([judgement.probabilities], np.float32),
                "BEST": np.array([[judgement.best]], np.int32),
            },
        )


def serve(scorer: Scorer, name: str, settings: QueueSettings, deadline: float, ports: tuple[int, int]) -> None:
    """Run KServe's server until SIGTERM.

    Args:
        scorer: the loaded bundle.
        name: name of the JSON model; that of tensors has ``_tensors`` after it.
        settings: settings of the queue, which both share.
        deadline: seconds after which a request that was not scored is given up.
        ports: ports of HTTP and of gRPC, on all addresses.
    """
    queue = JudgeQueue(scorer, settings, deadline)
    server = kserve.ModelServer(http_port=ports[0], grpc_port=ports[1], grace_period=round(deadline) + 5)
    server.start([JudgeModel(name, queue), TensorsModel(f"{name}_tensors", queue)])


def _judgement(one: Judgement | BaseException) -> Judgement:
    if isinstance(one, BaseException):
        raise one
    return one


def _instances(payload: object) -> list[Any]:
    fields = cast("dict[str, Any]", payload) if isinstance(payload, dict) else {}
    instances = fields.get("instances")
    if set(fields) != {"instances"} or not isinstance(instances, list) or not instances:
        raise InvalidInput('The body is no {"instances": [...]} with one or more requests and nothing else.')
    return cast("list[Any]", instances)


def _instance(place: int, fields: object) -> Callable[[], Request]:
    def read() -> Request:
        if not isinstance(fields, dict):
            raise RequestError(f"instances[{place}] is no object; give a request with prompt and responses.")
        reading = Reading()
        return to_request(to_line(cast("dict[str, Any]", fields), Line, reading.ignore), reading)

    return read


def _request(payload: Any) -> Request:
    names = ("PROMPT", "RESPONSES", "IMAGES")
    prompt, responses, images = (_values(payload, name, names, 1 if name == "PROMPT" else None) for name in names)
    return decode_tensors(prompt[0], responses, images)


def _values(payload: Any, name: str, names: Sequence[str], count: int | None) -> list[bytes]:
    """Values of a BYTES tensor; none where it was left out."""
    inputs = {one.name: one for one in payload.inputs}
    if unknown := inputs.keys() - {*names}:
        raise InvalidInput(f"There is no input {min(unknown)!r}; there are {', '.join(names)}.")
    found = inputs.get(name)
    values: list[Any] = []
    if found is not None:
        if found.datatype != "BYTES":
            raise InvalidInput(f"{name} is {found.datatype}; give BYTES.")
        try:
            values = found.as_numpy().ravel().tolist()
        except (ValueError, struct.error) as error:
            raise InvalidInput(f"{name} does not fit its shape {list(found.shape)}: {error}.") from error
    if count is not None and len(values) != count:
        raise InvalidInput(f"{name} has {len(values)} values; give {count}.")
    return [one if isinstance(one, bytes) else str(one).encode() for one in values]
