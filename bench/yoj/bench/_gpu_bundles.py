"""Bundles to score with on a GPU, beside the checkpoint that they come from; making them needs no GPU.

yoj-bench gpu-bundles checkpoints/shapes-qwen3_vl FOLDER --precision bfloat16
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yoj.calibration import CalibratedModel
from yoj.export import ExportConfig, build
from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.graph.traced import TracedSession
from yoj.export.quantisation.config import RANGE, QuantisationConfig, QuantisationSpec, matrices, write_config
from yoj.export.verification.fidelity import GRID, make_requests
from yoj.runtime.roles import JOINT
from yoj.runtime.schemes import SCHEMES

from ._large_checkpoint import LAYERS, WORDS, write
from ._make import Stages
from ._workbench import BUNDLE, CHECKPOINT

LAYOUT = "assistant"
BASE_PRECISION = "float16"
"""Base precision of quantised bundles for a GPU."""


def write_bundles(judge: Path, folder: Path, precisions: Sequence[str], layers: int | None) -> None:
    """Write bundles ``<precision>.yoj`` of a judge to a folder, with its checkpoint; what is there is kept.

    Args:
        judge: folder of a small judge.
        folder: folder to make.
        precisions: precisions of the bundles; in quantised ones all matrices of the trunk are, without smoothing, the
            rest is float16.
        layers: number of layers of a model in the width of a 4B one with random weights; None for the judge itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = link(judge, folder) if layers is None else write_large(judge, folder, layers)
    for precision in precisions:
        if not (folder / f"{precision}{BUNDLE}").exists():
            make_bundle(checkpoint, folder, precision)


def link(judge: Path, folder: Path) -> Path:
    """Put ``checkpoint`` into the folder, as a relative link, which the two can be moved with."""
    place = folder / CHECKPOINT
    with contextlib.suppress(FileExistsError):  # of another precision's export, at the same time
        place.symlink_to(os.path.relpath(judge.resolve(), folder.resolve()))
    return place


def write_large(judge: Path, folder: Path, layers: int) -> Path:
    """Write ``checkpoint`` into the folder, in the width of a 4B model."""
    place = folder / CHECKPOINT
    if not place.exists():
        unfinished = folder / f".{CHECKPOINT}.{os.getpid()}.tmp"
        write(judge, unfinished, layers, -(-WORDS * layers // LAYERS)).rename(place)
    return place


def make_bundle(checkpoint: Path, folder: Path, precision: str) -> None:
    """Write one bundle; a quantised one with its quantisation config, ``<precision>.quantisation``, beside it.

    Raises:
        YojError: see `yoj.export.bundle._build.build`.
    """
    given: dict[str, Any] = {"precision": precision, "compare": False}
    if precision in SCHEMES:
        given |= {"quantisation": folder / f"{precision}.quantisation", "base_precision": BASE_PRECISION}
        write_config(plain_config(Checkpoint.open([checkpoint]), given["precision"]), given["quantisation"])
    build(ExportConfig([checkpoint], None, LAYOUT, folder / f"{precision}{BUNDLE}", **given), Stages())


def plain_config(checkpoint: Checkpoint, scheme: Any) -> QuantisationConfig:
    """Quantisation config for all matrices of the trunk, without smoothing.

    Static ranges are the largest magnitudes in the requests that every export is compared on.
    """
    model = CalibratedModel.open(checkpoint, LAYOUT)
    scorer = next(spec for spec in model.family.graphs if spec.role == JOINT)
    spec = QuantisationSpec(scheme=scheme, layers=tuple(matrices(scorer)), checkpoint=checkpoint_hashes(checkpoint))
    return QuantisationConfig(spec, _ranges(model, spec.layers) if SCHEMES[scheme].static else {})


def _ranges(model: CalibratedModel, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    session = TracedSession.load(model.checkpoint, model.family.graphs, "float32")
    layers, largest = dict(session.module(JOINT).named_modules()), dict[str, torch.Tensor]()
    for name in names:

        def note(_: nn.Module, inputs: Any, name: str = name) -> None:
            seen: torch.Tensor = inputs[0].abs().amax()
            largest[RANGE + name] = torch.maximum(largest[RANGE + name], seen) if RANGE + name in largest else seen

        layers[name].register_forward_pre_hook(note)
    for case in GRID:
        for request in make_requests(case):
            if not (request.images and request.video is not None):  # which one family refuses
                session.score([model.preparer.prepare(request, "joint")], model.preparer.family)
    return largest
