"""Whether float16 holds what a model computes: the largest values of its layers on sample packs, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from yoj.runtime.batch import scorer_inputs
from yoj.runtime.prepare import Preparer

from .checkpoint import Checkpoint
from .families import ExportFamily
from .fidelity import GRID, make_requests
from .traced import TracedSession, stream

LARGEST = 65_504.0
"""Of float16."""
HEADROOM = 4.0
"""How much larger other packs may come out than the samples."""
SAMPLES = ("text, N=4", "two images, N=3", "video of 3 frames, N=3")


def overflowing_layers(
    checkpoint: Checkpoint, family: ExportFamily, preparer: Preparer, done: Callable[[str], None]
) -> dict[str, float]:
    """Layers whose inputs or outputs come within `HEADROOM` of the end of float16, or pass it.

    The model runs layer by layer in float32, in the memory of its largest layer.

    Args:
        checkpoint: of the model.
        family: of the checkpoint.
        preparer: packs the samples.
        done: called with what was run.

    Returns:
        Layer, by the name of its module, -> largest magnitude; the largest first. Empty where float16 will do.
    """
    largest: dict[str, float] = {}
    session = TracedSession({spec.role: stream(spec, checkpoint) for spec in family.graphs()})
    for role in ("vision", "scorer.joint"):
        _watch(session.graphs[role][1], role, largest)
    batch = [preparer.prepare(request, "joint") for case in GRID if case.name in SAMPLES
             for request in make_requests(case)]  # fmt: skip
    media = {key: medium for prepared in batch for key, medium in zip(prepared.keys, prepared.media, strict=True)}
    features = {key: session.run("vision", preparer.family.vision_inputs([medium])) for key, medium in media.items()}
    done("vision")
    session.run("scorer.joint", scorer_inputs(batch, preparer.family, features))
    done("scorer")
    over = {name: value for name, value in largest.items() if not value * HEADROOM <= LARGEST}
    return dict(sorted(over.items(), key=lambda item: -item[1]))


def _watch(module: nn.Module, role: str, largest: dict[str, float]) -> None:
    """Keep the largest magnitude that goes in or out of every layer that computes in the model's precision."""
    for name, layer in module.named_modules():
        if name.startswith(("readout", "rotary")) or not name:
            continue

        def note(_: nn.Module, inputs: Any, output: Any, name: str = f"{role}: {name}") -> None:
            for value in (*inputs, output):
                if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                    largest[name] = max(largest.get(name, 0.0), float(value.abs().max()))

        layer.register_forward_hook(note)
