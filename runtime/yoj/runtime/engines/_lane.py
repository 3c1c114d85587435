"""Resources that one run at a time needs on the GPU: a stream, memory, and an execution context for each shape."""

from __future__ import annotations

import contextlib
import ctypes
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..families import Arrays
from ..manifest import Graph, TensorSpec
from ._shapes import Profile, cut, fill
from .device import check

SHAPES = 16
"""Number of contexts and CUDA graphs that a lane keeps for each profile; the one used longest ago makes room."""


@dataclass(frozen=True)
class LoadedPlan:
    """Deserialised TensorRT plan."""

    trt: Any
    cudart: Any
    runtime: Any
    """Runtime object of the library, held here since it must live as long as the engine."""
    engine: Any
    role: str
    graph: Graph
    profiles: Sequence[Profile]


class Stream:
    """One stream, and the memory of each profile that was used on it. For one thread at a time."""

    def __init__(self, plan: LoadedPlan):
        cudart = plan.cudart
        self._plan = plan
        self._stream = check(cudart, cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking), "create a stream")
        self._rooms: dict[int, _ProfileBuffers] = {}

    def run(self, inputs: Arrays, sizes: Mapping[str, int], profile: int, padded: Mapping[str, int]) -> Arrays:
        """Run a graph. Outputs are by name, with shapes as the manifest gives them.

        Args:
            inputs: arrays by name.
            sizes: size of each axis letter of the inputs.
            profile: index of an optimisation profile that takes ``padded``.
            padded: sizes that the plan runs with.

        Raises:
            EngineMemoryError: the GPU's memory is full.
            EngineError: CUDA or the library failed.
        """
        if profile not in self._rooms:
            self._rooms[profile] = _ProfileBuffers(self._plan, self._stream, profile)
        return self._rooms[profile].run(inputs, sizes, padded)

    def close(self) -> None:
        """Release all memory. Runs that are still queued end first."""
        cudart = self._plan.cudart
        cudart.cudaStreamSynchronize(self._stream)
        while self._rooms:
            self._rooms.popitem()[1].close()
        cudart.cudaStreamDestroy(self._stream)


class _ProfileBuffers:
    """Memory of one profile: activations, a buffer on either side for each input and output, and contexts by shape."""

    def __init__(self, plan: LoadedPlan, stream: Any, profile: int):
        self._plan, self._stream, self._profile = plan, stream, profile
        self._shapes: OrderedDict[tuple[int, ...], _ShapeContext] = OrderedDict()
        self._owned = contextlib.ExitStack()
        self._device: dict[str, int] = {}
        self._host: dict[str, NDArray[np.uint8]] = {}
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Arrays, sizes: Mapping[str, int], padded: Mapping[str, int]) -> Arrays:
        cudart, graph = self._plan.cudart, self._plan.graph
        kinds = cudart.cudaMemcpyKind
        for spec in graph.inputs:
            view = self._view(spec, _concrete(spec, padded))
            fill(view, spec.name, inputs[spec.name])
            copy = self._device[spec.name], view.ctypes.data, view.nbytes, kinds.cudaMemcpyHostToDevice, self._stream
            check(cudart, cudart.cudaMemcpyAsync(*copy), f"copy {spec.name} to the GPU")
        shape = self._shape(padded)
        shape.launch()
        views = [self._view(spec, shape.size_of(spec)) for spec in graph.outputs]
        for spec, view in zip(graph.outputs, views, strict=True):
            copy = view.ctypes.data, self._device[spec.name], view.nbytes, kinds.cudaMemcpyDeviceToHost, self._stream
            check(cudart, cudart.cudaMemcpyAsync(*copy), f"copy {spec.name} from the GPU")
        check(cudart, cudart.cudaStreamSynchronize(self._stream), f"run {self._plan.role}")
        return {spec.name: cut(view, spec, sizes) for spec, view in zip(graph.outputs, views, strict=True)}

    def close(self) -> None:
        while self._shapes:
            self._shapes.popitem()[1].close()
        self._owned.close()

    def _allocate(self) -> None:
        """Allocate for the largest shape of the profile, since later steps must not allocate."""
        plan = self._plan
        self._activations = plan.engine.get_device_memory_size_for_profile_v2(self._profile)
        self._memory = self._on_device(max(1, self._activations), "the activations")
        largest = {letter: size.max for letter, size in plan.profiles[self._profile].items()}
        probe = _ShapeContext(plan, self._stream, self._profile, largest)
        for spec in (*plan.graph.inputs, *plan.graph.outputs):
            size = int(np.prod(probe.size_of(spec))) * np.dtype(spec.dtype).itemsize
            self._device[spec.name] = self._on_device(size, spec.name)
            self._host[spec.name] = self._on_host(size, spec.name)

    def _on_device(self, size: int, what: str) -> int:
        cudart = self._plan.cudart
        address = int(check(cudart, cudart.cudaMalloc(size), f"hold {size:,} bytes for {what} of {self._plan.role}"))
        self._owned.callback(cudart.cudaFree, address)
        return address

    def _on_host(self, size: int, what: str) -> NDArray[np.uint8]:
        """Pinned memory, which the GPU can read and write itself while the CPU does something else."""
        cudart = self._plan.cudart
        answer = cudart.cudaHostAlloc(size, cudart.cudaHostAllocDefault)
        address = int(check(cudart, answer, f"lock {size:,} bytes of the machine's memory for {what}"))
        self._owned.callback(cudart.cudaFreeHost, address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def _view(self, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
        dtype = np.dtype(spec.dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        return self._host[spec.name][:size].view(dtype).reshape(shape)

    def _shape(self, padded: Mapping[str, int]) -> _ShapeContext:
        key = tuple(padded[letter] for letter in sorted(padded))
        if key not in self._shapes:
            while len(self._shapes) >= SHAPES:
                self._shapes.popitem(last=False)[1].close()
            shape = self._shapes[key] = _ShapeContext(self._plan, self._stream, self._profile, padded)
            shape.place(self._memory, self._activations, self._device)
        self._shapes.move_to_end(key)
        return self._shapes[key]


class _ShapeContext:
    """Execution context with fixed shapes and addresses.

    A CUDA graph is bound to the state of the context that it was captured from (TensorRT's developer guide, "CUDA
    Graphs"), so each shape has a context of its own; all of a room share its memory, one after the other.
    """

    def __init__(self, plan: LoadedPlan, stream: Any, profile: int, sizes: Mapping[str, int]):
        self._plan, self._stream = plan, stream
        self._context: Any = None
        self._graph: Any = None
        self._runs = 0
        # TensorRT-RTX captures graphs by itself, once it has compiled the kernels for a shape.
        self._captures = not hasattr(plan.trt, "CudaGraphStrategy")
        strategy = plan.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        runtime_config = plan.engine.create_runtime_config()
        runtime_config.set_execution_context_allocation_strategy(strategy)
        if not self._captures:
            runtime_config.cuda_graph_strategy = plan.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        context = plan.engine.create_execution_context(runtime_config)
        if context is None:
            raise EngineError(f"The library cannot create an execution context for {plan.role}.{_said(plan)}")
        self._context = context
        if not context.set_optimization_profile_async(profile, int(stream)):
            raise EngineError(f"{plan.role}: profile {profile} cannot be used.{_said(plan)}")
        # Weights may be copied when the profile changes; what follows must not overtake that.
        check(plan.cudart, plan.cudart.cudaStreamSynchronize(stream), "set the profile")
        for spec in plan.graph.inputs:
            shape = _concrete(spec, sizes)
            if not context.set_input_shape(spec.name, shape):
                raise EngineError(f"{plan.role} does not take {spec.name} {list(shape)}.{_said(plan)}")

    def place(self, memory: int, activations: int, device: Mapping[str, int]) -> None:
        """Set the addresses of the activations, inputs and outputs."""
        context = self._context
        context.set_device_memory(memory, activations)
        for name, address in device.items():
            context.set_tensor_address(name, address)

    def size_of(self, spec: TensorSpec) -> tuple[int, ...]:
        return tuple(self._context.get_tensor_shape(spec.name))

    def launch(self) -> None:
        """Queue one run: the first time directly, which lets the library prepare itself; later as a CUDA graph."""
        cudart = self._plan.cudart
        if self._captures and self._graph is None and self._runs == 1:
            self._capture()
        self._runs += 1
        if self._graph is not None:
            check(cudart, cudart.cudaGraphLaunch(self._graph, self._stream), f"run {self._plan.role}")
        elif not self._context.execute_async_v3(int(self._stream)):
            raise EngineError(f"{self._plan.trt.__name__} failed in {self._plan.role}.{_said(self._plan)}")

    def close(self) -> None:
        if self._graph is not None:
            self._plan.cudart.cudaGraphExecDestroy(self._graph)
        self._graph = self._context = None

    def _capture(self) -> None:
        """Capture a run as a CUDA graph. Plans that stream their weights are not captured."""
        cudart = self._plan.cudart
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(cudart, cudart.cudaStreamBeginCapture(self._stream, mode), "begin a CUDA graph")
        queued = self._context.execute_async_v3(int(self._stream))
        status, graph = cudart.cudaStreamEndCapture(self._stream)
        if not queued or status != cudart.cudaError_t.cudaSuccess:
            cudart.cudaGetLastError()  # a refused capture must not be taken for a failure of the next call
            return
        try:
            self._graph = check(cudart, cudart.cudaGraphInstantiate(graph, 0), "make a CUDA graph")
        finally:
            cudart.cudaGraphDestroy(graph)


def _concrete(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape)


def _said(plan: LoadedPlan) -> str:
    errors = list(dict.fromkeys(plan.runtime.logger.errors))
    return "".join(f"\n  {line}" for line in errors) or " It does not say why."
