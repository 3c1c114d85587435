"""One ONNX graph -> one plan, with TensorRT or TensorRT-RTX: their API is the same where this module uses it."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoj.runtime.engines.library import TYPES, make_logger, same_shape
from yoj.runtime.errors import EngineError
from yoj.runtime.manifest import Graph, ShapeProfile, TensorSpec

from .._errors import OutputError
from ._profiles import Profile, sizes_text

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class BuilderSettings:
    """Settings of a build, whatever the graph."""

    workspace: int = 4 * 2**30
    """Most bytes of GPU memory that one layer may use as scratch space."""
    version_compatible: bool = False
    """Whether later releases of TensorRT 11 load the plans too."""
    weight_streaming: bool = False
    """Whether the plans' weights may stay in host memory."""
    refit: bool = False
    """Whether the plans' weights can be replaced."""

    def flags(self) -> tuple[str, ...]:
        """Names of the ``BuilderFlag`` members that are set, sorted."""
        chosen = {
            "REFIT": self.refit,
            "VERSION_COMPATIBLE": self.version_compatible,
            "WEIGHT_STREAMING": self.weight_streaming,
        }
        return tuple(name for name, wanted in chosen.items() if wanted)


@dataclass(frozen=True)
class Job:
    """One plan to build."""

    onnx: Path
    graph: Graph
    """Description of the graph in the manifest."""
    profiles: Sequence[Profile]
    target: str
    """Target: ``sm86``; ``sm80+`` for plans that Ampere and everything newer can load."""
    out: Path
    timing_cache: Path
    """Timing cache, read where it exists and written afterwards, so that the next build need not time the same kernels
    again."""


def build_plan(trt: Any, job: Job, settings: BuilderSettings, note: Callable[[str], None]) -> None:
    """Write the plan of one graph to ``job.out``.

    Args:
        trt: module from `yoj.runtime.engines.load_library`.
        job: plan to build; existing files are replaced.
        settings: settings of the build.
        note: function that takes the name of each phase of the build.

    Raises:
        EngineError: the library refuses the graph, or reads other inputs and outputs than the manifest lists.
        OutputError: the disk is full, or cannot be written to.
    """
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(job.onnx)):
        said = [parser.get_error(index).desc() for index in range(parser.num_errors)] or logger.errors
        raise _refused(trt, job, "cannot read", said)
    _check_contract(trt, network, job.graph)
    _allow_plain_attention(trt, network)
    config = _configure(trt, builder, job.target, settings)
    for shapes in job.profiles:
        profile = builder.create_optimization_profile()
        for spec in job.graph.inputs:
            profile.set_shape(spec.name, *shapes_of(spec, shapes))
        config.add_optimization_profile(profile)
    cache = _read_timing_cache(config, job.timing_cache) if _times_kernels(trt) else None
    with job.out.open("wb") as stream, _postponed_interrupts() as interrupts:
        writer = _writer(trt, stream.write)
        config.progress_monitor = _monitor(trt, note, interrupts)
        built = builder.build_serialized_network_to_stream(network, config, writer)
    if writer.failure is not None:
        free = " The disk is full." if writer.failure.errno == errno.ENOSPC else ""
        raise OutputError(f"{job.out} cannot be written: {writer.failure}.{free} Make room and run it again.")
    if not built or not job.out.stat().st_size:
        raise _refused(trt, job, f"cannot build a plan for {job.target} from", logger.errors)
    if cache is not None:
        job.timing_cache.write_bytes(bytes(cache.serialize()))


def shapes_of(spec: TensorSpec, profile: Profile) -> list[tuple[int, ...]]:
    """Smallest, usual and largest shape of an input."""

    def shape(pick: Callable[[ShapeProfile], int]) -> tuple[int, ...]:
        return tuple(pick(profile[axis]) if isinstance(axis, str) else axis for axis in spec.shape)

    return [shape(lambda size: size.min), shape(lambda size: size.opt), shape(lambda size: size.max)]


def describe_plan(trt: Any, plan: Path) -> str | None:
    """Description of a plan's layers by the library's inspector, as JSON; None where this GPU cannot load the plan."""
    runtime = trt.Runtime(make_logger(trt))
    engine = runtime.deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        return None
    inspector = engine.create_engine_inspector()
    return inspector.get_engine_information(trt.LayerInformationFormat.JSON)


def _configure(trt: Any, builder: Any, target: str, settings: BuilderSettings) -> Any:
    config = builder.create_builder_config()
    # Rounding float32 to 10 bits before each product would cost more than all other engines' errors together.
    config.clear_flag(trt.BuilderFlag.TF32)
    for name in settings.flags():
        config.set_flag(getattr(trt.BuilderFlag, name))
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if target.endswith("+"):
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if not _times_kernels(trt):
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), 0)
    return config


def _allow_plain_attention(trt: Any, network: Any) -> None:
    """Allow attention of float32 to be decomposed, as it has no fused kernel and its build fails otherwise.

    Of other types it keeps the default, fused or refused, since taken apart it holds L x L scores in memory.
    """
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.ATTENTION_INPUT and layer.get_input(0).dtype == trt.DataType.FLOAT:
            layer.__class__ = trt.IAttentionInputLayer  # the bindings return the base class
            attention_input = layer
            attention_input.attention.decomposable = True


def _check_contract(trt: Any, network: Any, graph: Graph) -> None:
    """Check names, types and sizes of the parsed graph against the manifest."""
    found = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
    found |= {tensor.name: tensor for tensor in map(network.get_output, range(network.num_outputs))}
    specs = {spec.name: spec for spec in (*graph.inputs, *graph.outputs)}
    problems = [f"{name}: in one of them only" for name in sorted(found.keys() ^ specs.keys())]
    for name in sorted(found.keys() & specs.keys()):
        tensor, spec = found[name], specs[name]
        if tensor.dtype != getattr(trt.DataType, TYPES[spec.dtype]) or not same_shape(tuple(tensor.shape), spec):
            problems.append(f"{name}: {tensor.dtype} {list(tensor.shape)}, the manifest says {spec.dtype} {spec.shape}")
    if problems:
        raise EngineError(
            f"{graph.file} and the manifest differ:\n  " + "\n  ".join(problems) + "\nExport the bundle again."
        )


def _times_kernels(trt: Any) -> bool:
    """Whether the library times kernels when it builds.

    TensorRT-RTX picks kernels on the user's machine, so it times none when it builds.
    """
    return not hasattr(trt, "ComputeCapability")


def _read_timing_cache(config: Any, file: Path) -> Any:
    cache = config.create_timing_cache(file.read_bytes() if file.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _monitor(trt: Any, note: Callable[[str], None], interrupts: list[int]) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Monitor of the main phases of a build, which ends it when the user asks."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._top: str | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._top = phase_name if parent_phase is None else self._top
            if parent_phase is not None and parent_phase == self._top:
                note(f"{phase_name.lower()} ({num_steps} steps)")

        def phase_finish(self, phase_name: str) -> None:
            del phase_name

        def step_complete(self, phase_name: str, step: int) -> bool:
            del phase_name, step
            return not interrupts

    return Monitor()


@contextlib.contextmanager
def _postponed_interrupts() -> Generator[list[int], None, None]:
    """Keep Ctrl-C in the list until the library is left: raised in one of its callbacks, it would be lost there."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, lambda n, _: caught.append(n)) for number in INTERRUPTS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])


def _writer(trt: Any, write: Callable[[bytes], int]) -> Any:
    class Writer(trt.IStreamWriter):
        """Writer that hands the plan on in pieces and remembers why that failed."""

        def __init__(self) -> None:
            trt.IStreamWriter.__init__(self)
            self.failure: OSError | None = None

        def write(self, data: bytes) -> int:
            try:
                return write(data)
            except OSError as error:
                self.failure = error
                return 0

    return Writer()


def _refused(trt: Any, job: Job, what: str, said: Iterable[str]) -> EngineError:
    # Without a GPU it ends every report with the driver that is missing, which no build here needs.
    said = [text for text in dict.fromkeys(said) if "cudaError 35" not in text]
    reasons = "\n  ".join(said) or "it does not say why"
    sizes = "; ".join(map(sizes_text, job.profiles))
    return EngineError(
        f"{trt.__name__} {trt.__version__} {what} {job.onnx.name} (profiles: {sizes}):\n  {reasons}\n"
        "Try smaller profiles (--profile), a larger --workspace, another --target or precision; the bundle's other "
        "engines are untouched."
    )
