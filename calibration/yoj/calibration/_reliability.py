"""Quality of probabilities, and a picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yoj.runtime.manifest import Quality

from .temperature import Samples, likelihoods, probabilities

BINS = 15
"""Number of bins, of equal width as in Guo et al. 2017."""


@dataclass(frozen=True)
class Bin:
    """Bin of responses whose probabilities lie near each other."""

    count: int
    probability: float
    """Mean P of the responses."""
    best: float
    """Share of the responses that are best; equal to ``probability`` where probabilities are calibrated."""


def quality(samples: Samples, temperature_S: NDArray[np.float64] | float) -> Quality:
    """Likelihood, Brier score and calibration error at a temperature for each request or for all.

    nll: see `likelihoods`, mean over requests.
    brier: sum over responses of (P - share)^2, mean over requests (Brier 1950, several classes).
    ece: sum over bins of count * |mean P - share of best| / responses (Guo et al. 2017, arXiv 1706.04599, equation 3,
    bins of equal width) over the P of every response instead of the highest alone: all of them are handed out. With
    many responses most P are near 0 and so is their part of it.
    """
    chances_SN = probabilities(samples.scores_SN, temperature_S)
    found = bins(samples, temperature_S)
    responses = sum(one.count for one in found)
    return Quality(
        nll=float(likelihoods(samples, temperature_S).mean()),
        brier=float(((chances_SN - samples.shares_SN) ** 2).sum(axis=1).mean()),
        ece=sum(one.count * abs(one.probability - one.best) for one in found) / responses,
    )


def bins(samples: Samples, temperature_S: NDArray[np.float64] | float) -> list[Bin]:
    """Bin the responses of all requests by their P, in `BINS` equal bins over 0 to 1; empty bins are left out."""
    present_SN = np.isfinite(samples.scores_SN)
    chances = probabilities(samples.scores_SN, temperature_S)[present_SN]
    shares = samples.shares_SN[present_SN]
    place = np.minimum((chances * BINS).astype(int), BINS - 1)
    return [
        Bin(int(inside.sum()), float(chances[inside].mean()), float(shares[inside].mean()))
        for inside in (place == number for number in range(BINS))
        if inside.any()
    ]


def draw(file: Path, panels: dict[str, list[Bin]]) -> None:
    """Write a reliability diagram as SVG, the same bytes for the same bins and release of matplotlib.

    Args:
        file: file to write.
        panels: title -> bins, side by side.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "yoj", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(4 * len(panels), 4), layout="constrained")
        FigureCanvasSVG(figure)
        axes: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (title, found) in zip(axes, panels.items(), strict=True):
            most = max(one.count for one in found)
            axis.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
            axis.plot([b.probability for b in found], [b.best for b in found], color="tab:blue", linewidth=1)
            # Areas in proportion to counts, but a bin of one response can still be seen.
            areas = [max(8.0, 200 * b.count / most) for b in found]
            axis.scatter([b.probability for b in found], [b.best for b in found], s=areas, color="tab:blue", alpha=0.6)
            axis.set(title=title, xlabel="mean P(best) of the responses in a bin", xlim=(0, 1), ylim=(0, 1))
            axis.set_aspect("equal")
        axes[0].set_ylabel("share of them that are best")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
