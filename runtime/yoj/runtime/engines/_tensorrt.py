"""TensorRT and TensorRT-RTX: plans on one GPU, without PyTorch and without allocating memory for each request."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..errors import EngineError
from ..families import Arrays
from ..manifest import EngineEntry, Graph
from . import load_library
from ._lane import LoadedPlan, Stream
from ._shapes import choose_profile, parts, rows_at_once, sizes_of
from .device import compute_capability, load_cuda
from .library import TYPES, make_logger, same_shape
from .select import check_loadable, rebuild_command

LANES = 2
"""Requests that run at once unless `Scorer.load` is told otherwise: one copies its data while the other computes. Each
has its own memory on the GPU, so that more would cost much and gain little."""


class TensorRTSession:
    """Loaded plans of one bundle. Safe to use from several threads; threads beyond the lanes wait for their turn."""

    def __init__(self, roles: dict[str, _Role]):
        self._roles = roles

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one graph; see `yoj.runtime.engines.Session`.

        Batches of more rows than the profiles have are run in parts.

        Raises:
            EngineMemoryError: the GPU's memory is full.
            EngineError: the shape is outside all profiles, CUDA or the library failed, or the session is closed.
        """
        return self._roles[role].run(inputs)

    def open(self, role: str) -> None:
        """Do nothing, since all plans were loaded at once."""

    def close(self) -> None:
        """Wait for current runs and give the GPU's memory back. Closing twice is no error."""
        for role in self._roles.values():
            role.close()


def open_tensorrt(bundle: Bundle, entry: EngineEntry, threads: int | None) -> TensorRTSession:
    """Load the plans of ``entry`` on GPU 0.

    Args:
        bundle: the opened bundle, whose files are known to be unchanged.
        entry: the manifest's entry of the engine.
        threads: requests that may run at once, each with its own memory; None for two.

    Raises:
        EngineError: the library, the driver or the GPU is missing or does not fit; the plans were built for something
            else; or the library refuses one.
    """
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= 64):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise EngineError(f"threads is {threads!r}; on a GPU it is how many requests run at once, from 1 to 64.")
    trt = load_library(entry.engine)
    cudart = load_cuda()
    capability = compute_capability(cudart)
    plans = check_loadable(bundle, entry, str(trt.__version__), capability)
    roles: dict[str, _Role] = {}
    logger = make_logger(trt)
    runtime = trt.Runtime(logger)
    # A version-compatible plan brings its own runtime as host code. Its hash was checked; no other plan may.
    runtime.engine_host_code_allowed = "VERSION_COMPATIBLE" in plans.flags
    try:
        for role, graph in entry.graphs.items():
            engine = runtime.deserialize_cuda_engine(bundle.files[graph.file].view)
            if engine is None:
                said = "\n  ".join(dict.fromkeys(logger.errors)) or "it does not say why"
                command = rebuild_command(bundle, entry, capability)
                raise EngineError(
                    f"{trt.__name__} {trt.__version__} cannot load {graph.file}:\n  {said}\nBuild it again: {command}"
                )
            _check_contract(trt, engine, graph, len(plans.profiles[role]))
            if "WEIGHT_STREAMING" in plans.flags:
                engine.weight_streaming_budget_v2 = engine.get_weight_streaming_automatic_budget()
            plan = LoadedPlan(trt, cudart, runtime, engine, role, graph, plans.profiles[role])
            roles[role] = _Role(plan, threads or LANES)
    except BaseException:
        TensorRTSession(roles).close()
        raise
    return TensorRTSession(roles)


class _Role:
    """One plan, and the lanes on which it runs."""

    def __init__(self, plan: LoadedPlan, lanes: int):
        self._plan: LoadedPlan | None = plan
        self._lanes = lanes
        self._turn = threading.Semaphore(lanes)
        self._idle: list[Stream] = []
        self._closing = threading.Lock()

    def run(self, inputs: Arrays) -> Arrays:
        plan = self._opened()
        rows = rows_at_once(plan.profiles, sizes_of(plan.graph.inputs, inputs))
        # Shapes are checked before a lane is taken: a request that fits no profile must not cost the lane its buffers.
        work: list[tuple[Arrays, dict[str, int], int, dict[str, int]]] = []
        for part in parts(plan.graph, inputs, rows):
            sizes = sizes_of(plan.graph.inputs, part)
            work.append((part, sizes, *choose_profile(plan.role, plan.profiles, sizes)))
        with self._turn:
            lane = self._idle.pop() if self._idle else Stream(self._opened())
            try:
                outputs = [lane.run(*item) for item in work]
            except BaseException:
                # After a failure nothing that was queued on it can be relied on.
                lane.close()
                raise
            self._idle.append(lane)
        return {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}

    def close(self) -> None:
        with self._closing:
            for _ in range(self._lanes):
                self._turn.acquire()
            self._plan = None
            while self._idle:
                self._idle.pop().close()
            self._turn.release(self._lanes)

    def _opened(self) -> LoadedPlan:
        if self._plan is None:
            raise EngineError("The scorer was closed, and its plans with it. Load it again with Scorer.load.")
        return self._plan


def _check_contract(trt: Any, engine: Any, graph: Graph, profiles: int) -> None:
    """Check names, types and sizes of a deserialised plan against the manifest."""
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    specs = {spec.name: spec for spec in (*graph.inputs, *graph.outputs)}
    problems = [f"{name}: in one of them only" for name in sorted(names ^ specs.keys())]
    for name in sorted(names & specs.keys()):
        dtype, shape = engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name))
        if dtype != getattr(trt.DataType, TYPES[specs[name].dtype]) or not same_shape(shape, specs[name]):
            problems.append(f"{name}: {dtype} {shape}, the manifest says {specs[name].dtype} {specs[name].shape}")
    if engine.num_optimization_profiles != profiles:
        problems.append(f"{engine.num_optimization_profiles} profiles, the manifest says {profiles}")
    if problems:
        raise EngineError(
            f"{graph.file} and the manifest differ:\n  " + "\n  ".join(problems) + "\nBuild the plans again."
        )
