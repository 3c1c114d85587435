"""Variants that score the same prepared request: PyTorch with its strategies, and each bundle of this package."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch

from yoj.export.bundle.provenance import provenance_differences
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families import ExportFamily
from yoj.export.families.opening import open_family
from yoj.export.graph.precision import PRECISIONS
from yoj.export.verification.fidelity import THRESHOLDS
from yoj.runtime import Prepared, Scorer
from yoj.runtime.schemes import SCHEMES

from ._errors import BenchError
from ._limits import ModelWork, share, work
from ._pytorch import Backbone, Scores
from ._requests import BenchRequest
from ._results import MachineLimits, Strategy, Time, VariantResult, Vendor
from ._tables import YOJO_CODE
from ._timing import time_in_turns

CHECKPOINT, BUNDLE = "checkpoint", ".yoj"
ALLOWED = THRESHOLDS | dict.fromkeys(SCHEMES, 0.5)
"""Largest allowed difference over the largest magnitude of the scores, or over 1 where that is less. Eight bits are
held to rankings of trained judges, by yoj-calibrate; here it is noticed when scores have nothing to do with the
model."""
SLOWER = 2.0
"""Ratio to the fastest precision of PyTorch, beyond which another one is measured with one strategy only."""
LARGEST = 1e30
EIGHT_BITS = 127
"""Largest magnitude of a stored weight of the schemes whose products are of 8-bit integers."""
"""Stands for a difference that is no number: JSON has none."""


@dataclass(frozen=True)
class Variant:
    """Variant: one set-up that gives the scores of a request."""

    name: str
    vendor: Vendor
    precision: str
    strategy: Strategy
    prepare: Callable[[BenchRequest], Callable[[], Scores]]
    """Function from a BenchRequest to the timed call: prepared arrays to scores [B, N]."""
    lm_head: bool = False


@dataclass(frozen=True)
class Workbench:
    """Workbench: one model, in PyTorch and as bundles."""

    folder: Path
    checkpoint: Checkpoint
    family: ExportFamily
    pytorch: Mapping[str, Backbone]
    """PyTorch models by precision; float32 is the yardstick."""
    bundles: Mapping[str, Path]
    """Folders of the bundles by precision."""
    scorers: Mapping[str, Scorer]

    @property
    def scorer(self) -> Scorer:
        """Scorer that prepares requests, any one, as all prepare them alike."""
        return next(iter(self.scorers.values()))


def bundles_in(folder: Path) -> list[Path]:
    """Bundles beside a checkpoint.

    Raises:
        BenchError: there is no checkpoint or no bundle.
    """
    paths, checkpoint = sorted(folder.glob(f"*{BUNDLE}")), folder / CHECKPOINT
    missing = [] if paths else [f"a bundle *{BUNDLE}"]
    if not checkpoint.is_dir():
        where = f", which links to {checkpoint.readlink()}, where nothing is" if checkpoint.is_symlink() else ""
        missing.insert(0, f"the folder {CHECKPOINT}{where}")
    if missing:
        raise BenchError(
            f"{folder} must hold the folder {CHECKPOINT} and bundles *{BUNDLE} of it; it lacks "
            f"{' and '.join(missing)}. Make such a folder with yoj-bench make."
        )
    return paths


def open_workbench(folder: Path, threads: int, device: str, engine: str | None) -> Workbench:
    """Load a checkpoint into PyTorch and the bundles beside it into their engines.

    Args:
        folder: folder with ``checkpoint`` and bundles of any names ``*.yoj``.
        threads: number of threads of every variant.
        device: device of PyTorch: on a CPU float32 and bfloat16 run, elsewhere float16 too.
        engine: engine of the bundles; see `yoj.runtime.Scorer.load`.

    Raises:
        BenchError: there is no checkpoint or no bundle.
        YojError: one of them cannot be loaded.
    """
    paths = bundles_in(folder)
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError("PyTorch finds no GPU here. Give --device cpu, or install PyTorch's build for CUDA.")
    torch.set_num_threads(threads)
    cpu = device == "cpu"
    of_engine = threads if cpu else None
    loaded = [Scorer.load(path, engine=engine, threads=of_engine) for path in paths]
    scorers = {scorer.engine.precision: scorer for scorer in loaded}
    if len(scorers) < len(loaded):
        found = ", ".join(f"{path.name}: {scorer.engine.precision}" for path, scorer in zip(paths, loaded, strict=True))
        raise BenchError(f"{folder} has two bundles of one precision ({found}). Keep one of each.")
    checkpoint = Checkpoint.open([folder / CHECKPOINT])
    for path, scorer in zip(paths, loaded, strict=True):
        if wrong := provenance_differences(scorer.manifest, checkpoint):
            raise BenchError(
                f"{path} was not made from {folder / CHECKPOINT}: {'; '.join(wrong)}. Export it again, or take it away."
            )
    family = open_family(checkpoint)
    stock = family.stock_model()
    if stock is None:
        raise BenchError(f"transformers has no {checkpoint.family}. Run: pip install 'yoj[export]' -U")
    runtime = loaded[0].family
    pytorch = {
        name: Backbone(checkpoint, runtime, copy.deepcopy(stock).to(device, dtype), family)
        for name, dtype in PRECISIONS.items()
        if not (cpu and name == "float16")
    }
    bundles = {scorer.engine.precision: path for scorer, path in zip(loaded, paths, strict=True)}
    return Workbench(folder, checkpoint, family, pytorch, bundles, scorers)


def fast_precisions(bench: Workbench, case: BenchRequest) -> list[str]:
    """Precisions of PyTorch whose packed pass takes at most twice as long as the fastest's, the fastest first.

    Only these have a chance to be the best PyTorch. Without matrix units for it, a CPU takes several times as long in
    bfloat16 as in float32.
    """
    calls = {precision: trimmed(bench, precision).prepare(case) for precision in bench.pytorch}
    with torch.inference_mode():
        taken = {precision: time.median for precision, time in time_in_turns(calls, 1).items()}
    least = min(taken.values())
    return sorted((name for name, time in taken.items() if time <= SLOWER * least), key=taken.__getitem__)


def all_variants(bench: Workbench, fast: Sequence[str]) -> list[Variant]:
    """Variants of a workbench, PyTorch's strategies in its fast precisions only.

    Args:
        bench: workbench with the models.
        fast: fast precisions of PyTorch, the fastest first; single passes, which take the longest, are in that one
            alone.
    """
    found: list[Variant] = []
    for precision, backbone in bench.pytorch.items():
        if precision in fast or precision == "float32":
            label = YOJO_CODE + " runs it" if precision == "float32" else "with lm_head"
            name = f"PyTorch {precision}, {label}"
            found.append(Variant(name, "PyTorch", precision, "packed", _as_published(backbone), lm_head=True))
        found.append(trimmed(bench, precision))
        if precision in fast:
            found.append(Variant(f"PyTorch {precision}, compiled", "PyTorch", precision, "packed", _compiled(backbone)))
    return [*found, *singles(bench, fast[0]), *(each for name in bench.scorers for each in engines(bench, name))]


def trimmed(bench: Workbench, precision: str) -> Variant:
    """Variant of one packed pass of PyTorch without ``lm_head``."""
    backbone = bench.pytorch[precision]
    return Variant(
        f"PyTorch {precision}, trimmed", "PyTorch", precision, "packed", lambda case: backbone.packed(case.packed)
    )


def singles(bench: Workbench, precision: str) -> list[Variant]:
    """Variants of PyTorch's three ways of scoring responses that do not see each other, in one of its precisions."""
    backbone = bench.pytorch[precision]
    strategies: dict[Strategy, tuple[str, Callable[[Sequence[Prepared]], Callable[[], Scores]]]] = {
        "separate": ("N passes", backbone.separate),
        "rows": ("N rows", backbone.rows),
        "prefix": ("N passes over a shared prefix", backbone.prefix),
    }
    return [
        Variant(f"PyTorch {precision}, {name}", "PyTorch", precision, strategy, _alone(prepare))
        for strategy, (name, prepare) in strategies.items()
    ]


def engines(bench: Workbench, precision: str) -> list[Variant]:
    """Variants of a bundle, joint and isolated."""
    scorer = bench.scorers[precision]

    def forward(batch: Sequence[Prepared]) -> Callable[[], Scores]:
        return lambda: scorer.forward([_unseen(prepared) for prepared in batch])

    return [
        Variant(f"yoj {precision}", "yoj", precision, "packed", lambda case: forward(case.packed)),
        Variant(f"yoj {precision}, isolated", "yoj", precision, "isolated", lambda case: forward([case.isolated])),
    ]


def run_interleaved(
    bench: Workbench, case: BenchRequest, variants: Sequence[Variant], repeats: int, limits: MachineLimits | None
) -> list[VariantResult]:
    """Time variants in turns on one case, and compare their scores with PyTorch float32's.

    Variants that cannot run are left out, which stderr says.

    Args:
        bench: workbench with the models.
        case: request that is scored.
        variants: variants to run; names differ.
        repeats: number of turns, after a first run of each that is not counted.
        limits: peaks of the machine; None where no share is wanted.
    """
    calls: dict[str, Callable[[], Scores]] = {}
    scores: dict[str, Scores] = {}
    with torch.inference_mode():
        for variant in variants:
            click.echo(f"  {variant.name}", err=True)
            try:
                call = variant.prepare(case)
                scores[variant.name] = call()
            except Exception as error:  # compilers and libraries raise anything
                click.echo(f"  left out: {type(error).__name__}: {str(error)[:300]}", err=True)
                continue
            calls[variant.name] = call
        yardstick = bench.pytorch["float32"]
        together = yardstick.packed(case.packed)()
        # As N passes give, in the time of one.
        alone = (
            yardstick.prefix(case.single)() if any(variant.strategy != "packed" for variant in variants) else together
        )
        times = time_in_turns(calls, repeats)
    media = [bench.scorer.family.vision_inputs([medium]) for medium in case.packed[0].media]
    comparison = Comparison(ModelWork.of(bench.family, media), case, limits)
    return [
        comparison.result(
            variant, times[variant.name], scores[variant.name], together if variant.strategy == "packed" else alone
        )
        for variant in variants
        if variant.name in times
    ]


@dataclass(frozen=True)
class Comparison:
    """Yardsticks that the time and the scores of a variant are compared with."""

    model: ModelWork
    case: BenchRequest
    limits: MachineLimits | None

    def result(self, variant: Variant, taken: Time, scores: Scores, expected: Scores) -> VariantResult:
        """Result of a variant."""
        done = work(self.model, variant.strategy, self.case.shape, variant.lm_head)
        scheme = SCHEMES.get(variant.precision)
        precision = "int8" if scheme is not None and scheme.cpu_weight == EIGHT_BITS else variant.precision
        peaks = self.limits.peaks if self.limits is not None else ()
        peak = next((peak for peak in peaks if peak.precision == precision), None)
        largest = float(np.abs(scores - expected).max() / max(1.0, np.abs(expected).max()))
        allowed = ALLOWED[variant.precision]
        return VariantResult(
            name=variant.name,
            vendor=variant.vendor,
            precision=variant.precision,
            strategy=variant.strategy,
            time=taken,
            difference=largest if np.isfinite(largest) else LARGEST,
            allowed=allowed,
            agrees=bool(largest <= allowed),
            work=done,
            share=share(done, taken, peak),
        )


def _as_published(backbone: Backbone) -> Callable[[BenchRequest], Callable[[], Scores]]:
    return lambda case: backbone.as_published(case.packed)


def _compiled(backbone: Backbone) -> Callable[[BenchRequest], Callable[[], Scores]]:
    return lambda case: backbone.packed(case.packed, backbone.compiled())


def _alone(
    prepare: Callable[[Sequence[Prepared]], Callable[[], Scores]],
) -> Callable[[BenchRequest], Callable[[], Scores]]:
    return lambda case: prepare(case.single)


def _unseen(prepared: Prepared) -> Prepared:
    """Request with media that the scorer has not seen, so that their features are computed and not remembered."""
    return replace(prepared, keys=tuple(os.urandom(16) for _ in prepared.keys))
