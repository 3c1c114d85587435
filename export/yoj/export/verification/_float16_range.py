"""Test whether float16 holds what a model computes: the largest values of its layers on sample requests, in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yoj.runtime import Prepared, Reading, Request
from yoj.runtime.errors import RequestError, YojError
from yoj.runtime.families import Family
from yoj.runtime.lines import read_requests
from yoj.runtime.prepare import Preparer
from yoj.runtime.roles import VISION, scorer_role
from yoj.runtime.script import script_of

from .._errors import CheckpointError
from ..checkpoint.checkpoint import Checkpoint
from ..families import ExportFamily
from ..graph.modules import Projection, WideProjection
from ..graph.traced import TracedSession, stream
from .fidelity import make_samples

LARGEST = 65_504.0
"""Largest finite float16 value."""
READ = 16
"""Most samples of a file that are run."""
HEADROOM = 4.0
"""Factor by which other requests may give larger values than the samples."""


def overflowing_layers(
    checkpoint: Checkpoint, family: ExportFamily, batch: Sequence[Prepared], runtime: Family
) -> dict[str, float]:
    """Layers whose inputs or outputs come within `HEADROOM` of the end of float16, or pass it.

    The model runs layer by layer in float32, in the memory of its largest layer.

    Args:
        checkpoint: checkpoint of the model.
        family: family of the checkpoint.
        batch: sample requests, prepared for reading in one mode, at least one with media.
        runtime: the runtime's family, which turns them into arrays.

    Returns:
        Layer, by the name of its module, -> largest magnitude; the largest first. Empty where float16 will do.

    Raises:
        CheckpointError: a layer gives NaN or infinity in float32.
    """
    largest: dict[str, float] = {}
    session = TracedSession(family.graphs, lambda spec: stream(spec, checkpoint))
    for role in (VISION, scorer_role(batch[0].mode)):
        _watch(session.module(role), role, largest)
    session.score(batch, runtime)
    over = {name: value for name, value in largest.items() if not value * HEADROOM <= LARGEST}
    return dict(sorted(over.items(), key=lambda item: -item[1]))


def prepare_samples(file: Path | None, preparer: Preparer, reading: Reading | None = None) -> list[Prepared]:
    """Samples of a file, or made-up ones, packed for joint reading where the model has a separator.

    Raises:
        CheckpointError: a line is not a request or cannot be prepared, or no request shows media.
    """
    mode = "isolated" if preparer.rules.layout.separator is None else "joint"
    if file is None:
        return [preparer.prepare(request, mode) for request in make_samples(preparer.rules.response_images)]
    batch: list[Prepared] = []
    for number, request in read_samples(file, reading).items():
        try:
            batch.append(preparer.prepare(request, mode))
        except (YojError, OSError) as error:
            raise CheckpointError(f"{file}, line {number}: {error}") from error
    return batch


def read_samples(file: Path, reading: Reading | None = None) -> dict[int, Request]:
    """First requests of a file of JSON lines by their line number, as ``yoj-score`` reads it.

    Raises:
        RequestError: a line is not a request.
        CheckpointError: a line cannot be packed, or no request shows media.
    """
    requests = read_requests(file, READ, reading)
    if not requests:
        raise CheckpointError(f"{file} is empty: give requests in JSON lines, as yoj-score reads them.")
    shown = 0
    for number, request in requests.items():
        try:
            shown += len(script_of(request).media)
        except RequestError as error:
            raise CheckpointError(f"{file}, line {number}: {error}") from error
    if not shown:
        raise CheckpointError(f"{file}: none of the first {READ} requests has an image or a video. Give one that has.")
    return requests


def _watch(module: nn.Module, role: str, largest: dict[str, float]) -> None:
    """Keep the largest magnitude of the inputs and outputs of every matrix that multiplies in the model's precision."""
    for name, layer in module.named_modules():
        if name.startswith("readout") or not isinstance(layer, Projection) or isinstance(layer, WideProjection):
            continue

        def note(_: nn.Module, inputs: Any, output: Any, name: str = f"{role}: {name}") -> None:
            for value in (*inputs, output):
                if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                    magnitude = float(value.abs().max())
                    if not math.isfinite(magnitude):
                        raise CheckpointError(
                            f"{name} gives {magnitude} in float32 on a sample. Check the checkpoint's tensors there, "
                            "and before it, for NaN."
                        )
                    largest[name] = max(largest.get(name, 0.0), magnitude)

        layer.register_forward_hook(note)
