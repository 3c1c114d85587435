"""Choice of the matrices in 8 or 4 bits, and of the smoothing of their inputs, by the damage to rankings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch

from yoj.export.bundle.names import VISION_PREFIX
from yoj.export.quantisation.config import RANGE, QuantisationConfig, QuantisationSpec, matrices
from yoj.runtime import Request
from yoj.runtime.roles import VISION, scorer_role
from yoj.runtime.schemes import SCHEMES

from ._collect import CalibratedModel
from ._content import content_hash
from ._errors import CalibrationError
from ._smoothing import factors
from ._statistics import Statistics, differences
from ._trial import Damage, Inputs, Trial, damage

ALPHAS = (0.0, 0.25, 0.5, 0.75)
"""Strengths of smoothing that are tried; 0 stands for none. The published recipes are between 0.5 and 0.9."""
ENOUGH = 1 / 3
"""Share of a flip budget that the requests must be able to show: with fewer requests, one flip is more than the
budget."""


@dataclass(frozen=True)
class SearchConfig:
    """Requirements of the choice."""

    scheme: str = "int8"
    max_flips: float = 0.005
    """Largest share of requests whose best response may become another."""
    smooth: bool = True
    embeddings: bool = False
    vision: bool = False
    """Whether matrices of the vision tower are among those that are chosen from."""


@dataclass(frozen=True)
class Found:
    """Chosen matrices, and the trials that led to them."""

    config: QuantisationConfig
    alphas: dict[float, Damage]
    """Strength of smoothing -> damage with all matrices quantised."""
    sweep: dict[str, Damage]
    """Matrix -> damage with it alone quantised, the mildest first; empty where all of them together were within the
    budget."""
    damage: Damage
    """Damage with the chosen matrices quantised."""
    requests: int
    digests: tuple[str, ...] = ()
    """Hashes of the requests' contents; see `content_hash`."""


def search(
    model: CalibratedModel,
    statistics: Statistics,
    requests: Sequence[Request],
    wanted: SearchConfig,
    note: Callable[[str], None],
) -> Found:
    """Find the largest set of matrices that keeps the flips within the budget.

    First the smoothing with which all matrices together do the least damage. Where that is too much, matrices are
    ordered by the damage that each does alone, and the longest beginning of that order within the budget is found by
    bisection.

    Args:
        model: model to quantise.
        statistics: statistics of its layers' inputs, from other requests.
        requests: requests on which damage is measured.
        wanted: scheme and budget.
        note: function that takes a line about each result.

    Raises:
        CalibrationError: no request has two responses, there are statistics of another model, or of the vision tower
            nothing was seen that is asked about.
    """
    inputs = Inputs(model, requests, wanted.vision)
    _check(model, statistics, inputs, wanted, note)
    whole = Trial(inputs, _config(model, statistics, wanted, 0.0))
    expected = whole.scores(())
    alphas, trials = dict[float, Damage](), dict[float, Trial]()
    for alpha in ALPHAS if wanted.smooth else ALPHAS[:1]:
        trials[alpha] = Trial(inputs, _config(model, statistics, wanted, alpha)) if alpha else whole
        alphas[alpha] = damage(trials[alpha].scores(whole.matrices), expected)
        note(f"all {len(whole.matrices)} matrices, alpha {alpha:g}: {_text(alphas[alpha])}")
        best = min(alphas, key=lambda a: alphas[a].difference)
        trials = {best: trials[best]}
    (alpha,) = trials
    trial, chosen, sweep = trials[alpha], list(whole.matrices), dict[str, Damage]()
    loss = alphas[alpha]
    if loss.flips > wanted.max_flips:
        sweep = _sweep(trial, expected, note)
        chosen, loss = _longest(trial, list(sweep), expected, wanted.max_flips, note)
    layers = tuple(name for name in whole.matrices if name in chosen)
    config = QuantisationConfig(msgspec.structs.replace(trial.config.spec, layers=layers), trial.config.factors)
    digests = tuple(content_hash(request) for request in requests)
    found = Found(config, alphas, sweep, loss, len(inputs.counts), digests)
    spec = msgspec.structs.replace(config.spec, about=_about(wanted, alpha, found, statistics))
    return replace(found, config=QuantisationConfig(spec, config.factors))


def _check(
    model: CalibratedModel, statistics: Statistics, inputs: Inputs, wanted: SearchConfig, note: Callable[[str], None]
) -> None:
    if problems := differences(statistics.about, model.about()):
        raise CalibrationError(
            f"The statistics are not of this model: {'; '.join(problems)}. Gather them again, in the same way."
        )
    if statistics.about.waiting:
        raise CalibrationError("The run that gathered the statistics was interrupted. Repeat its command to its end.")
    tower = [layer for name, layer in statistics.layers.items() if name.startswith(VISION_PREFIX)]
    if wanted.vision and not any(layer.counts().any() for layer in tower):
        raise CalibrationError(
            "No sample of the statistics had an image or a video, so that nothing is known of the vision tower. Gather "
            "them from samples that have, or leave out --vision."
        )
    if len(inputs.counts) * wanted.max_flips < ENOUGH:
        note(
            f"warning: {len(inputs.counts)} requests show no share of flips finer than {1 / len(inputs.counts):.1%}; "
            f"the budget is {wanted.max_flips:.1%}"
        )


def _config(model: CalibratedModel, statistics: Statistics, wanted: SearchConfig, alpha: float) -> QuantisationConfig:
    """Scheme, factors and ranges with no matrices yet."""
    roles = {scorer_role(model.preparer.rules.trained_mode), *([VISION] if wanted.vision else [])}
    specs = [spec for spec in model.family.graphs if spec.role in roles]
    tensors = factors(model, specs, statistics, alpha) if alpha else {}
    spec = QuantisationSpec(
        scheme=wanted.scheme,
        layers=(),
        embeddings=wanted.embeddings,
        checkpoint=statistics.about.checkpoint,
    )
    if SCHEMES[wanted.scheme].static:
        of = {name: group.source for group in model.family.smoothing() for name in group.consumers}
        for name in (name for spec in specs for name in matrices(spec)):
            channels_I = torch.from_numpy(statistics.layers[name].channels())
            tensors[RANGE + name] = (channels_I / tensors.get(of.get(name, ""), torch.ones(()))).amax()
    return QuantisationConfig(spec, tensors)


def _sweep(trial: Trial, expected: Sequence[Any], note: Callable[[str], None]) -> dict[str, Damage]:
    found: dict[str, Damage] = {}
    for name in trial.matrices:
        found[name] = damage(trial.scores([name]), expected)
        note(f"{name} alone: {_text(found[name])}")
    return dict(sorted(found.items(), key=lambda item: (item[1].difference, item[0])))


def _longest(
    trial: Trial, order: list[str], expected: Sequence[Any], budget: float, note: Callable[[str], None]
) -> tuple[list[str], Damage]:
    """Longest beginning of the order within the budget; bisection, as more matrices seldom flip less."""
    low, high = 0, len(order)  # of all of them it is known that they are too many
    best = damage(expected, expected)
    while high - low > 1:
        middle = (low + high) // 2
        loss = damage(trial.scores(order[:middle]), expected)
        note(f"the {middle} mildest matrices: {_text(loss)}")
        low, high, best = (middle, high, loss) if loss.flips <= budget else (low, middle, best)
    return order[:low], best


def _about(wanted: SearchConfig, alpha: float, found: Found, statistics: Statistics) -> dict[str, Any]:
    return {
        "alpha": alpha,
        "max_flips": wanted.max_flips,
        "damage": msgspec.to_builtins(found.damage),
        "requests": found.requests,
        "samples": len(statistics.about.samples),
        "seen": sorted({*statistics.about.samples, *found.digests}),
        "all_by_alpha": {f"{a:g}": msgspec.to_builtins(of) for a, of in found.alphas.items()},
        "alone": {name: msgspec.to_builtins(of) for name, of in found.sweep.items()},
    }


def _text(loss: Damage) -> str:
    return f"{loss.flips:.2%} flips, tau {loss.tau:.3f}, differences {loss.difference:.4f}"
