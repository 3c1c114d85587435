"""What the session of plans calls, without a GPU: CUDA's memory, streams and graphs, and plans that ONNX Runtime runs.

It stands in only where there is no device; `tests/gpu` runs the same session on a real one. Memory is real memory, so
that a wrong address, size or order shows in the scores, and what is not given back is counted.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime

from yoj.runtime.engines._lane import LoadedPlan
from yoj.runtime.manifest import Graph


class Stream:
    """Work in order; while it is captured, work is noted and not done."""

    def __init__(self, handle: int):
        self.handle, self.captured = handle, None

    def __int__(self) -> int:
        return self.handle

    def submit(self, work) -> None:
        if self.captured is None:
            work()
        else:
            self.captured.append(work)


class Cuda:
    """The part of ``cuda.bindings.runtime`` that is used, over ``capacity`` bytes of memory."""

    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0
    cudaError_t = SimpleNamespace(cudaSuccess=0, cudaErrorMemoryAllocation=2, cudaErrorStreamCaptureUnsupported=900)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, capacity: int = 2**33):
        self.capacity, self.held, self.launched, self.graphs = capacity, {}, 0, 0
        self.streams: dict[int, Stream] = {}
        self._handles, self._lock = itertools.count(1), threading.Lock()

    def used(self) -> int:
        return sum(len(block) for block in self.held.values())

    def cudaGetErrorName(self, status: int):
        return 0, {2: b"cudaErrorMemoryAllocation"}.get(status, b"cudaErrorUnknown")

    def cudaMalloc(self, size: int):
        with self._lock:
            if self.used() + size > self.capacity:
                return 2, None
            block = (ctypes.c_uint8 * size)()
            self.held[ctypes.addressof(block)] = block
            return 0, ctypes.addressof(block)

    def cudaHostAlloc(self, size: int, flags: int):
        return self.cudaMalloc(size)

    def cudaFree(self, address: int):
        with self._lock:
            del self.held[address]
        return (0,)

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: Stream):
        stream.submit(lambda: ctypes.memmove(target, source, size))
        return (0,)

    def cudaStreamCreateWithFlags(self, flags: int):
        stream = Stream(next(self._handles))
        self.streams[stream.handle] = stream
        return 0, stream

    def cudaStreamDestroy(self, stream: Stream):
        del self.streams[stream.handle]
        return (0,)

    def cudaStreamSynchronize(self, stream: Stream):
        return (0,)

    def cudaStreamBeginCapture(self, stream: Stream, mode: int):
        stream.captured = []
        return (0,)

    def cudaStreamEndCapture(self, stream: Stream):
        work, stream.captured = stream.captured, None
        return 0, work

    def cudaGraphInstantiate(self, graph: list, flags: int):
        self.graphs += 1
        return 0, graph

    def cudaGraphLaunch(self, graph: list, stream: Stream):
        self.launched += 1
        for work in graph:
            work()
        return (0,)

    def cudaGraphDestroy(self, graph: list):
        return (0,)

    def cudaGraphExecDestroy(self, graph: list):
        self.graphs -= 1
        return (0,)

    def cudaGetLastError(self):
        return (0,)


class Context:
    """Of one plan; checks that it is complete and within its profile before it runs."""

    def __init__(self, engine: Engine):
        self.engine, self.shapes, self.addresses, self.memory, self.profile = engine, {}, {}, None, None

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        spec = next(spec for spec in self.engine.graph.inputs if spec.name == name)
        held = self.engine.profiles[self.profile]
        for axis, size in zip(spec.shape, shape, strict=True):
            assert size == axis if isinstance(axis, int) else held[axis].min <= size <= held[axis].max
            if isinstance(axis, str):
                assert self.shapes.setdefault(axis, size) == size
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = self.shapes | ({"V": self.shapes["F"] * self.shapes["P"] // 4} if "F" in self.shapes else {})
        specs = (*self.engine.graph.inputs, *self.engine.graph.outputs)
        spec = next(spec for spec in specs if spec.name == name)
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape)

    def set_device_memory(self, address: int, size: int) -> None:
        assert len(self.engine.cudart.held[address]) >= size
        self.memory = address

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self.memory in self.engine.cudart.held
        if self.engine.fails:
            return False
        self.engine.cudart.streams[stream].submit(self._execute)
        return True

    def _execute(self) -> None:
        graph = self.engine.graph
        outputs = self.engine.session.run(
            [spec.name for spec in graph.outputs], {spec.name: self._array(spec) for spec in graph.inputs}
        )
        for spec, output in zip(graph.outputs, outputs, strict=True):
            self._array(spec)[...] = output

    def _array(self, spec) -> np.ndarray:
        shape, dtype = self.get_tensor_shape(spec.name), np.dtype(spec.dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        assert len(self.engine.cudart.held[self.addresses[spec.name]]) >= size
        memory = (ctypes.c_uint8 * size).from_address(self.addresses[spec.name])
        return np.frombuffer(memory, dtype).reshape(shape)


class Engine:
    """A plan: an ONNX graph and profiles."""

    def __init__(self, cudart: Cuda, file: Path, graph: Graph, profiles):
        self.cudart, self.graph, self.profiles, self.fails, self.contexts = cudart, graph, profiles, False, 0
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def get_device_memory_size_for_profile_v2(self, profile: int) -> int:
        return 4096

    def create_runtime_config(self):
        return SimpleNamespace(set_execution_context_allocation_strategy=lambda strategy: None)

    def create_execution_context(self, runtime_config):
        self.contexts += 1
        return Context(self)


def simulated_plan(cudart: Cuda, file: Path, role: str, graph: Graph, profiles) -> LoadedPlan:
    trt = SimpleNamespace(
        __name__="simulated", ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed")
    )
    runtime = SimpleNamespace(logger=SimpleNamespace(errors=["what the library said"]))
    return LoadedPlan(trt, cudart, runtime, Engine(cudart, file, graph, profiles), role, graph, profiles)
