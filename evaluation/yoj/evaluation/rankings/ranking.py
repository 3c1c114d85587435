"""Full rankings of candidates from votes, by three methods."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yoj.runtime.agreement import kendall_tau_b

from .._errors import EvaluationError
from ._graph import Denoised, components, denoise, net_arcs, reachable
from ._luce import ALPHA, LEAST_ALPHA, VoteStages, fit, list_stages, pair_stages
from .comparisons import Comparisons, Floats, VoteCounts, pair_wins, redraw

Method = Literal["bt", "pl", "ged"]
METHODS: tuple[Method, ...] = ("bt", "pl", "ged")
"""Bradley-Terry, Plackett-Luce, and preference graphs (ensemble and denoising)."""
STAGES = {"bt": pair_stages, "pl": list_stages}
EQUAL = 1e-6
"""Largest difference of scores that share a rank; they are computed with errors far below it."""
FEWER = "fewer votes than candidates"
UNANIMOUS = "no vote contradicts another"
SAME = "a candidate has the same score in all resamples"
INTERVAL = (0.025, 0.975)
AT_ONCE = 4_000_000
"""Numbers of one table of resamples that are held at once."""


@dataclass(frozen=True)
class RankingSettings:
    """Settings of a ranking."""

    method: Method = "bt"
    """Method whose ranking gets intervals."""
    alpha: float = ALPHA
    """Strength of the regularisation of bt and pl; see `yoj.evaluation.rankings._luce.fit`."""
    resamples: int = 200
    """Number of times that the votes are drawn anew for intervals; 0 for none."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            EvaluationError: a setting has a value that it cannot have.
        """
        if self.method not in METHODS:
            raise EvaluationError(f"method is {self.method!r}; give one of {', '.join(METHODS)}.")
        if not LEAST_ALPHA <= self.alpha < float("inf"):
            raise EvaluationError(
                f"alpha is {self.alpha:g}; give a number from {LEAST_ALPHA:g}: without it, scores of candidates that "
                "never lost have no limit."
            )
        if self.resamples < 0 or self.resamples == 1:
            raise EvaluationError(f"resamples is {self.resamples}; give 2 or more, or 0 for no intervals.")


@dataclass(frozen=True)
class Intervals:
    """Bootstrap intervals of 95 % for N candidates, over votes."""

    low_N: Floats
    high_N: Floats
    rank_low_N: NDArray[np.int64]
    rank_high_N: NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """Rankings of the candidates of one item by all methods."""

    comparisons: Comparisons
    graph: Denoised
    component_N: NDArray[np.int64]
    """Component of each candidate, from 0: votes link those of the same one only."""
    scores_N: Mapping[Method, Floats]
    """Scores by method: natural logarithms with the mean 0 of bt and pl, numbers of descendants of ged."""
    intervals: Intervals | None = None
    """Intervals of the method that was asked for; None for ged, where none were asked for, and where resampling the
    votes says nothing."""
    no_interval: str | None = None
    """Reason why resampling the votes says nothing; None where there are intervals, for ged, or none were asked for."""

    @property
    def ranks_N(self) -> dict[Method, NDArray[np.int64]]:
        """Ranks by method, 1 = best; equal candidates share the best rank of theirs, as 1 2 2 4."""
        return {method: ranks_of(scores_N[None])[0] for method, scores_N in self.scores_N.items()}

    @property
    def agreement(self) -> dict[tuple[Method, Method], float | None]:
        """Kendall's tau-b of every two methods; None where one of them gives all candidates one rank."""
        ranks_N = self.ranks_N
        return {(one, other): tau_b(ranks_N[one], ranks_N[other]) for one, other in itertools.combinations(METHODS, 2)}


def rank(comparisons: Comparisons, settings: RankingSettings | None = None) -> Ranking:
    """Rank the candidates of one item. What is drawn at random depends on the seed and the name of the item alone.

    Args:
        comparisons: the votes.
        settings: None for the default ones.

    Raises:
        EvaluationError: scores do not converge.
    """
    settings = settings or RankingSettings()
    counts, lists = comparisons.counts, comparisons.lists
    wins_NN = pair_wins(counts, lists)[0]
    graph = denoise(net_arcs(wins_NN))
    bt_N = fit(pair_stages(counts, lists), settings.alpha)[0]
    pl_N = fit(list_stages(counts, lists), settings.alpha)[0] if lists else bt_N  # the same model of votes on two
    scores: dict[Method, Floats] = {"bt": bt_N, "pl": pl_N, "ged": graph.below_N.astype(np.float64)}
    found, reason = None, None
    if settings.resamples and settings.method != "ged":
        reason = _too_few(comparisons, wins_NN)
        if reason is None:
            found = _intervals(comparisons, settings, scores[settings.method])
            reason = None if found else SAME
    return Ranking(comparisons, graph, components(wins_NN > 0), scores, found, reason)


def _too_few(comparisons: Comparisons, wins_NN: Floats) -> str | None:
    """Reason why resamples cannot differ from the votes by as much as other votes would; None where there is none."""
    if comparisons.votes < len(comparisons.candidates):
        return FEWER
    # Resamples of votes that all fit one order fit it too, and how far apart scores are is then up to alpha alone.
    return None if reachable(wins_NN > 0).diagonal().any() else UNANIMOUS


def _intervals(comparisons: Comparisons, settings: RankingSettings, scores_N: Floats) -> Intervals | None:
    """Intervals by the bootstrap; None where a candidate has the same score in all resamples."""
    name = hashlib.sha256(repr(comparisons.item).encode()).digest()
    source = np.random.default_rng([settings.seed, int.from_bytes(name[:8], "little")])
    n = len(scores_N)

    def stages(counts: VoteCounts) -> VoteStages:
        return STAGES[settings.method](counts, comparisons.lists)

    sets = len(stages(comparisons.counts).sets_SN) if comparisons.lists else 0
    together = max(1, AT_ONCE // (n * n + n * sets))
    parts: list[Floats] = []
    for begin in range(0, settings.resamples, together):
        drawn = redraw(comparisons, min(together, settings.resamples - begin), source)
        parts.append(fit(stages(drawn), settings.alpha, scores_N))
    scores_RN = np.concatenate(parts)
    if np.ptp(scores_RN, axis=0).min() <= EQUAL:
        return None
    low_N, high_N = np.quantile(scores_RN, INTERVAL, axis=0)
    ranks_RN = np.concatenate([ranks_of(part) for part in parts])
    rank_low_N, rank_high_N = np.quantile(ranks_RN, INTERVAL, axis=0, method="inverted_cdf")
    return Intervals(low_N, high_N, rank_low_N, rank_high_N)


def ranks_of(scores_RN: Floats) -> NDArray[np.int64]:
    """Ranks int64 [R, N] of scores [R, N]: 1 more than there are higher scores."""
    return 1 + (scores_RN[:, None, :] > scores_RN[:, :, None] + EQUAL).sum(axis=2)


def tau_b(one_N: NDArray[np.int64], other_N: NDArray[np.int64]) -> float | None:
    """Kendall's tau-b of two rankings [N]; None where one of them is constant."""
    tau = float(kendall_tau_b([-one_N], [other_N])[0])
    return None if math.isnan(tau) else tau
