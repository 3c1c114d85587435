"""Choice of the engine entry to load.

All that forbids a TensorRT plan, which is code, is known before it is deserialised.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..bundle import Bundle
from ..errors import EngineError
from ..manifest import EngineEntry, Plans
from . import ENGINES
from .device import compute_capability, load_cuda, target_name
from .library import version_of


def select(bundle: Bundle, engine: str | None, precision: str | None) -> EngineEntry:
    """Select the manifest's entry to load: the first of that engine and precision.

    Among TensorRT plans it is those for this GPU. ``onnxruntime-cuda`` executes the graphs of ``onnxruntime``.

    Raises:
        EngineError: the bundle has none, or none for this GPU, or there is no GPU to choose for.
    """
    if engine is not None and engine not in ENGINES:
        raise EngineError(f"There is no engine {engine!r}; there are {', '.join(ENGINES)}.")
    first = bundle.engine(engine and ENGINES[engine].executes, precision)
    if engine is not None and engine != first.engine:
        return msgspec.structs.replace(first, engine=engine)
    same = [e for e in bundle.manifest.engines if (e.engine, e.precision) == (first.engine, first.precision)]
    if first.plans is None or len(same) == 1:
        return first
    capability = compute_capability(load_cuda())
    for entry in same:
        if entry.plans is not None and fits(entry.plans.target, capability):
            return entry
    targets = ", ".join(entry.plans.target for entry in same if entry.plans)
    raise EngineError(
        f"{bundle.path} has plans of {first.engine} {first.precision} for {targets}; this GPU is "
        f"{target_name(capability)}. Build them for it: {rebuild_command(bundle, first, capability)}"
    )


def check_loadable(bundle: Bundle, entry: EngineEntry, version: str, capability: tuple[int, int]) -> Plans:
    """Check that TensorRT plans were built for this library and GPU, and return the manifest's description of them.

    Args:
        bundle: the opened bundle; the plans themselves are checked here.
        entry: the manifest's entry of a TensorRT engine.
        version: version of the installed library.
        capability: compute capability of the GPU.

    Raises:
        EngineError: the plans were built by another release, for another GPU or from other graphs, or changed since;
            all are listed, with the command that builds the plans again.
    """
    command = rebuild_command(bundle, entry, capability)
    plans = entry.plans
    if plans is None:
        raise EngineError(
            f"{bundle.path}: the entry of engine {entry.engine} does not say what its plans were built with, so they "
            f"are not loaded. Build them again: {command}"
        )
    problems: list[str] = []
    if not _loads(plans, version):
        rule = "later 11.x" if "VERSION_COMPATIBLE" in plans.flags else "no other release"
        problems.append(f"built with {plans.library} {plans.version}, which {rule} loads; {version} is installed")
    if not fits(plans.target, capability):
        problems.append(f"built for {plans.target}, this GPU is {target_name(capability)}")
    files = bundle.manifest.files
    problems += [
        f"built from another {name} than the bundle holds"
        for name, digest in plans.onnx.items()
        if name in files and files[name].sha256 != digest
    ]
    problems += bundle.problems(graph.file for graph in entry.graphs.values())
    if problems:
        raise EngineError(
            f"The plans of {entry.engine} {entry.precision} in {bundle.path} cannot be used:\n  "
            + "\n  ".join(problems)
            + f"\nBuild them again: {command}"
        )
    return plans


def fits(target: str, capability: tuple[int, int]) -> bool:
    """Whether a GPU of this compute capability runs plans for a target."""
    name = target_name(capability)
    return target == name or (target == "sm80+" and capability >= (8, 0))


def rebuild_command(bundle: Bundle, entry: EngineEntry, capability: tuple[int, int]) -> str:
    """Command ``yoj-export compile ...`` that builds such plans for this GPU."""
    words = ["yoj-export", "compile", str(bundle.path), "--engine", entry.engine]
    if entry.engine == "tensorrt-rtx":
        words += ["--target", target_name(capability)]
    if entry.plans is not None:
        words += [f"--{flag.lower().replace('_', '-')}" for flag in entry.plans.flags]
        words += ["--hardware-compatible"] if entry.plans.target.endswith("+") else []
    return " ".join(words)


def _loads(plans: Plans, version: str) -> bool:
    """Whether this version of the library loads the plans, judged by the version that built them.

    A plan is bound to its release, unless it is version-compatible: then later minor releases of the same major
    version load it too (TensorRT's developer guide, "Version Compatibility").
    """
    if "VERSION_COMPATIBLE" not in plans.flags:
        return plans.version == version
    built: Sequence[int] = version_of(plans.version)
    return built[0] == version_of(version)[0] and built[1] <= version_of(version)[1]
