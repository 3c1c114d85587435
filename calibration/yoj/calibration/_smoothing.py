"""Smoothing factors, which move large channels from the inputs of matrices into the weights that make these inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from yoj.export.families import GraphSpec, Smoothing

from ._collect import CalibratedModel
from ._statistics import Statistics

SMALLEST = 1e-5
"""Magnitude to which smaller channels of activations or weights are raised, as in the code of SmoothQuant."""


def factors(
    model: CalibratedModel, specs: Sequence[GraphSpec], statistics: Statistics, alpha: float
) -> dict[str, torch.Tensor]:
    """Factors max|x|^alpha / max|w|^(1 - alpha) of each channel, float32: name of the source -> [I].

    Equation 4 of SmoothQuant (arXiv 2211.10438). Where several matrices read the channels, w is over all of them. Dead
    channels keep the factor 1.

    Args:
        model: model of the statistics.
        specs: graphs of the model whose matrices are wanted.
        statistics: statistics of the inputs of each matrix.
        alpha: strength; 0 leaves all difficulty with the activations, 1 moves all into the weights.
    """
    return {
        group.source: _factors(model, spec, statistics, group, alpha)
        for group in model.family.smoothing()
        for spec in specs
        if spec.own(group.source) is not None
    }


def _factors(
    model: CalibratedModel, spec: GraphSpec, statistics: Statistics, group: Smoothing, alpha: float
) -> torch.Tensor:
    weights = model.checkpoint.weights
    largest_I = torch.from_numpy(statistics.layers[group.consumers[0]].channels())
    plans = [spec.sources[f"{spec.own(name)}.weight"] for name in group.consumers]
    of_weights_I = torch.stack(
        [torch.cat(list(weights.blocks(plan, torch.float32))).abs().amax(dim=1) for plan in plans]
    ).amax(dim=0)
    factor_I = largest_I.clamp(min=SMALLEST) ** alpha / of_weights_I.clamp(min=SMALLEST) ** (1 - alpha)
    return torch.where((largest_I > 0) & (of_weights_I > 0), factor_I, torch.ones_like(factor_I))
