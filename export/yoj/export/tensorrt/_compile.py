"""TensorRT plans of a bundle's graphs: built beside it, moved in whole, and the manifest replaced last."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import onnx

from yoj.runtime import manifest as m
from yoj.runtime.bundle import Bundle, sha256
from yoj.runtime.engines import load_library
from yoj.runtime.engines.device import compute_capability, driver_version, load_cuda, target_name
from yoj.runtime.errors import EngineError
from yoj.runtime.roles import ROLES

from .._errors import OutputError
from ..bundle.install import check_rewritable, install
from ..bundle.place import folder_beside
from ._builder import BuilderSettings, Job, build_plan, describe_plan
from ._profiles import Profile, profiles_of, sizes_text
from .graphs import check_scheme, for_tensorrt

if TYPE_CHECKING:  # the build of bundles needs PyTorch, that of plans does not
    from ..bundle._config import Progress

SPARE = 1.05
OVERHEAD = 16 * 2**20
"""Free space that is asked for: copies of the weights, which a plan holds once, and bytes of each plan for all else.
With TensorRT-RTX 1.7.1 plans were 1.003 to 1.02 times large weights, and 6 MB more for each profile of a scorer."""
TIMING_CACHE = "timing.cache"
WITHOUT_FLOAT32 = ("sm75",)
"""Targets without a needed kernel: TensorRT-RTX 1.7 has no float32 matrix product for Turing, and parts of every graph
here are float32."""


@dataclass(frozen=True)
class CompileJob:
    """Settings of a compilation."""

    bundle: Path
    engine: str
    """Engine, ``tensorrt`` or ``tensorrt-rtx``."""
    targets: Sequence[str] = ()
    """Targets such as ``sm86``; none for the GPU of this machine."""
    profiles: Sequence[Profile] = ()
    """Optimisation profiles instead of the default ones."""
    hardware_compatible: bool = False
    """Whether TensorRT's plans are for Ampere and everything newer, not for the GPU of this machine alone."""
    settings: BuilderSettings = dataclasses.field(default_factory=BuilderSettings)


def compile_bundle(job: CompileJob, progress: Progress) -> list[m.EngineEntry]:
    """Build plans of every ONNX graph of a bundle for each target, and list them in its manifest.

    Plans that the bundle has for the same engine, precision and target are replaced. Until the manifest is replaced,
    as the last step, the bundle is what it was.

    Returns:
        New entries of the manifest.

    Raises:
        BundleError: there is no bundle, or it was changed, or only a newer yoj can change it.
        EngineError: the library or the GPU is missing, or the library refuses a target, an option or a graph.
        OutputError: the disk is too small or cannot be written to.
    """
    bundle = Bundle.open(job.bundle)
    check_rewritable(bundle.path)
    source = _source(bundle, progress)
    trt = load_library(job.engine)
    driver, targets = _targets(trt, job)
    check_scheme(source.precision, targets)
    path = bundle.path.resolve()
    sizes = [_files_of(path, graph.file) for graph in source.graphs.values()]
    _check_space(path, len(targets) * sum(int(SPARE * sum(of.values())) + OVERHEAD for of in sizes))
    plans = m.Plans(
        library=trt.__name__.removesuffix("_bindings"),
        version=trt.__version__,
        target="",
        driver=driver,
        flags=job.settings.flags(),
        onnx={name: bundle.manifest.files[name].sha256 for name in sorted({*itertools.chain(*sizes)})},
        profiles=_profiles(bundle, source, job),
    )
    folder = folder_beside(path, progress.note)
    _note_profiles(plans.profiles, job, progress)
    try:
        built: list[m.EngineEntry] = []
        for target in targets:
            entry = msgspec.structs.replace(
                source, engine=job.engine, plans=msgspec.structs.replace(plans, target=target), query_blocks=1
            )
            built.append(_build(trt, bundle, entry, job.settings, folder, progress))
        progress.stage("put the plans in place")
        install(path, folder, lambda manifest: _listing(manifest, built))
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written to: {error}. The bundle is as it was.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return built


def _source(bundle: Bundle, progress: Progress) -> m.EngineEntry:
    """Entry whose graphs plans are built of."""
    source = bundle.engine("onnxruntime")
    built_of = {role: graph for role, graph in source.graphs.items() if ROLES[role].plans}
    for role in source.graphs.keys() - built_of.keys():
        progress.note(f"no plan is built of the graph {role}; engine onnxruntime executes it")
    return msgspec.structs.replace(source, graphs=built_of)


def _profiles(
    bundle: Bundle, source: m.EngineEntry, job: CompileJob
) -> dict[str, tuple[dict[str, m.ShapeProfile], ...]]:
    # Attention of float32 has no fused kernel: it holds all its scores, before and after the softmax, and a mask.
    room = job.settings.workspace // 3 if source.arithmetic == "float32" else None
    return {
        role: profiles_of(role, graph, bundle.manifest, job.profiles, room) for role, graph in source.graphs.items()
    }


def _note_profiles(profiles: Mapping[str, Sequence[Profile]], job: CompileJob, progress: Progress) -> None:
    for role, of_role in profiles.items():
        for profile in of_role:
            progress.note(f"{role}: {sizes_text(profile)}")
    letters = {letter for of_role in profiles.values() for profile in of_role for letter in profile}
    if unused := {letter for profile in job.profiles for letter in profile} - letters:
        progress.note(f"no graph of this bundle has {', '.join(sorted(unused))}: left out")


def _targets(trt: Any, job: CompileJob) -> tuple[int | None, list[str]]:
    """Version of the driver where there is one, and the targets, checked."""
    if job.engine == "tensorrt":
        return _own_target(job)
    if job.hardware_compatible or job.settings.version_compatible:
        raise EngineError(
            "Plans of tensorrt-rtx load in the release that built them and no other, and on the GPUs of their target: "
            "leave --version-compatible and --hardware-compatible out, and name every --target."
        )
    known = [name.lower() for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    known = [name for name in known if name not in WITHOUT_FLOAT32]
    driver = _driver()
    if job.settings.refit and driver is None:
        raise EngineError("--refit needs a GPU to build, and there is no driver here: leave it out, or build there.")
    targets = list(job.targets)
    if not targets:
        try:
            targets = [target_name(compute_capability(load_cuda()))]
        except EngineError as error:
            raise EngineError(f"{error}\nTo build here without a GPU, name it: --target {','.join(known)}") from error
    if unknown := [target for target in targets if target not in known]:
        raise EngineError(
            f"{trt.__name__} {trt.__version__} builds for {', '.join(known)}, not for {', '.join(unknown)}. "
            "For other GPUs use --engine tensorrt on a machine that has one."
        )
    return driver, list(dict.fromkeys(targets))


def _own_target(job: CompileJob) -> tuple[int, list[str]]:
    cudart = load_cuda()
    capability = compute_capability(cudart)
    if job.hardware_compatible and capability < (8, 0):
        raise EngineError(f"--hardware-compatible needs a GPU of sm80 or newer, this one is {target_name(capability)}.")
    target = "sm80+" if job.hardware_compatible else target_name(capability)
    if set(job.targets) - {target}:
        raise EngineError(
            f"TensorRT builds for the GPU of this machine, {target}, not for {', '.join(job.targets)}. Run it on "
            "such a machine, or use --engine tensorrt-rtx, which needs no GPU to build."
        )
    return driver_version(cudart), [target]


def _driver() -> int | None:
    try:
        return driver_version(load_cuda()) or None
    except EngineError:
        return None


def _files_of(path: Path, file: str) -> dict[str, int]:
    """Path in the bundle -> size in bytes of the files that a graph is read from."""
    sizes = {file: (path / file).stat().st_size}
    for tensor in onnx.load(path / file, load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries:
            name = (Path(file).parent / entries["location"]).as_posix()
            sizes[name] = sizes.get(name, 0) + int(entries["length"])
    return sizes


def _check_space(path: Path, need: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise OutputError(
            f"{path.parent} has {free / 1e9:.2f} GB free; the plans need about {need / 1e9:.2f} GB. The bundle is as "
            "it was: make room, or build for fewer targets."
        )


def _build(
    trt: Any, bundle: Bundle, entry: m.EngineEntry, settings: BuilderSettings, folder: Path, progress: Progress
) -> m.EngineEntry:
    """Build the plans of all graphs for one target, in ``folder`` under their place in the bundle."""
    assert entry.plans is not None
    place = _place(entry)
    (folder / place).mkdir(parents=True)
    cache = folder / place / TIMING_CACHE
    for name in bundle.manifest.files:
        if name.startswith(f"{place}/timing."):
            shutil.copyfile(bundle.path / name, cache)
    graphs: dict[str, m.Graph] = {}
    for role, graph in entry.graphs.items():
        progress.stage(f"{entry.engine}: {role} {entry.precision} for {entry.plans.target}")
        plan = folder / place / f"{role}.plan"
        with for_tensorrt(bundle.path.resolve() / graph.file) as onnx_file:
            job = Job(onnx_file, graph, entry.plans.profiles[role], entry.plans.target, plan, cache)
            build_plan(trt, job, settings, progress.note)
        if layers := describe_plan(trt, plan) if entry.plans.driver else None:
            _by_content(plan.with_suffix(".layers.json"), layers)
        graphs[role] = msgspec.structs.replace(graph, file=f"{place}/{_by_content(plan).name}", unsigned=None)
        progress.note(f"{graphs[role].file}: {(folder / graphs[role].file).stat().st_size:,} bytes{_peak()}")
    if cache.is_file():
        _by_content(cache)
    return msgspec.structs.replace(entry, graphs=graphs)


def _place(entry: m.EngineEntry) -> str:
    assert entry.plans is not None
    return f"engines/{entry.engine}-{entry.precision}-{entry.plans.target}"


def _by_content(file: Path, text: str | None = None) -> Path:
    """Rename a file after its content, so that it can be moved in beside an older one of the same role."""
    if text is not None:
        file.write_text(text, "utf-8")
    return file.rename(file.with_name(f"{file.stem}.{sha256(file)[:12]}{file.suffix}"))


def _listing(manifest: m.Manifest, built: Sequence[m.EngineEntry]) -> m.Manifest:
    """Manifest with the new entries in the place of those for the same engine, precision and target."""
    places = {_place(entry) for entry in built}
    kept = tuple(entry for entry in manifest.engines if entry.plans is None or _place(entry) not in places)
    files = {name: file for name, file in manifest.files.items() if Path(name).parent.as_posix() not in places}
    return msgspec.structs.replace(manifest, engines=(*kept, *built), files=files)


def _peak() -> str:
    """Most bytes that this process has held until now, where the system says it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return ""
    return f"; peak resident {peak / 1024:,.0f} MiB"
