"""Simulated votes, and how well each method recovers the truth from them.

    python -m experiments.votes --out experiments/votes.json

Each world is one way in which people may vote. In each, 94,000 votes on 19 models are ranked twice: as votes on one
item, and as 125 votes on each of 752 items that have truths of their own.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from yoj.evaluation.rankings import METHODS, Comparisons, Method, RankingSettings, Vote, count_votes, rank
from yoj.evaluation.rankings.comparisons import Floats, VoteCounts, count_pairs
from yoj.evaluation.rankings.ranking import ranks_of, tau_b

from .evidence import half_width

MODELS = 19
ALPHAS = (0.0001, 0.001, 0.01, 0.1, 1.0)
WITH_ALPHAS = 100
"""Rankings of a world and seed that are fitted with each of these."""
PAIRS_OF_4 = 6


@dataclass(frozen=True)
class World:
    """Way in which people vote. True scores of the models are normal with the deviation 1.

    A vote compares the difference of two scores plus logistic noise with a threshold, under which it is a tie.
    """

    name: str
    threshold: float = 0.3
    reliability: tuple[float, ...] = (1.0,)
    """Factors of the difference, of which each vote has one, all with the same probability."""
    wrong: float | None = None
    """Share of wrong votes however far two scores are apart; None where close ones are confused more often."""
    cycles: float = 0.0
    """Largest advantage of a model over another beside the difference of their scores, which goes round in a circle."""
    uneven: bool = False
    """Whether a few models have most votes, and models of like scores are compared more often."""
    rankings: bool = False
    """Whether votes are rankings of four, a sixth as many."""


WORLDS = (
    World("as Bradley and Terry say, 1 in 8 ties"),
    World("half ties", threshold=1.2),
    World("annotators of all kinds", reliability=(2.0,) * 10 + (0.5,) * 6 + (0.0,) * 3 + (-1.0,)),
    World("3 in 10 votes wrong, however clear", wrong=0.3),
    World("uneven votes, 1 in 10 wrong, however clear", wrong=0.1, uneven=True),
    World("true cycles beside the scores", cycles=1.5),
    World("uneven votes", uneven=True),
    World("rankings of four", rankings=True),
)


@dataclass(frozen=True)
class Layout:
    """Division of the votes."""

    name: str
    rankings: int
    votes: int
    """Votes of each ranking."""
    with_intervals: int
    """Rankings whose intervals are computed."""


LAYOUTS = (Layout("94,000 votes on one item", 20, 94_000, 5), Layout("125 votes on each of 752 items", 752, 125, 50))


@dataclass(frozen=True)
class Recovered:
    """Agreement of the methods with the truth, means over rankings."""

    tau_b: dict[Method, float]
    """Kendall's tau-b with the truth."""
    best: dict[Method, float]
    """Share of rankings whose first model is the truly best; a shared first place counts by its share."""
    ties: float
    """Share of the votes."""
    cyclic: float
    """Share of the preference graphs that have cycles."""
    removed_weight: float
    covered: float
    """Share of true ranks within the 95 % interval of the rank, by pl."""
    by_alpha: dict[str, float]
    """Kendall's tau-b of bt with the truth by the strength of the regularisation."""
    unseen: float
    """Number of models without a vote, which are no part of a ranking, nor of the truth that it is compared with."""
    seconds: float
    """Time of all rankings by all methods, without intervals."""


@click.command()
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Results; goes on there.")
@click.option("--seeds", default=5, show_default=True)
def main(out: Path, seeds: int) -> None:
    """Simulate what is missing in the results, then print the tables."""
    results: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    for layout in LAYOUTS:
        for number, world in enumerate(WORLDS):
            for seed in range(seeds):
                key = f"{layout.name} / {world.name} / {seed}"
                if key not in results:
                    results[key] = asdict(recover(world, layout, np.random.default_rng([seed, number])))
                    out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    click.echo(tables(results))


def recover(world: World, layout: Layout, source: np.random.Generator) -> Recovered:
    """Simulate votes and rank them."""
    truths_RN = source.standard_normal((layout.rankings, MODELS))
    drawn = [vote(world, scores_N, layout.votes, source) for scores_N in truths_RN]
    begin = time.perf_counter()
    found = [rank(one, RankingSettings(resamples=0)) for one in drawn]
    seconds = time.perf_counter() - begin
    true = [_true_ranks(one, scores_N) for one, scores_N in zip(drawn, truths_RN, strict=True)]
    tau: dict[Method, float] = {}
    best: dict[Method, float] = {}
    for method in METHODS:
        pairs = [(one.ranks_N[method], true_N) for one, true_N in zip(found, true, strict=True)]
        tau[method] = statistics.mean(tau_b(ranks_N, true_N) or 0.0 for ranks_N, true_N in pairs)
        best[method] = statistics.mean(_first(ranks_N, true_N) for ranks_N, true_N in pairs)
    return Recovered(
        tau,
        best,
        sum(one.ties for one in drawn) / sum(one.votes for one in drawn),
        statistics.mean(one.graph.cyclic for one in found),
        statistics.mean(one.graph.removed_weight for one in found),
        _covered(drawn[: layout.with_intervals], true),
        {f"{alpha:g}": _with_alpha(alpha, drawn[:WITH_ALPHAS], true) for alpha in ALPHAS},
        MODELS - statistics.mean(len(one.candidates) for one in drawn),
        seconds,
    )


def vote(world: World, scores_N: Floats, votes: int, source: np.random.Generator) -> Comparisons:
    """Simulate votes on the models of one item.

    Args:
        world: the way in which people vote.
        scores_N: true scores.
        votes: number of votes on two.
        source: source of randomness.
    """
    if world.rankings:
        return _rankings(scores_N, votes // PAIRS_OF_4, source)
    n = len(scores_N)
    pair_V = source.choice(n * n, votes, p=_pairs(world, scores_N, source).ravel())
    a_V, b_V = pair_V // n, pair_V % n
    margin_V = scores_N[a_V] - scores_N[b_V]
    if world.wrong is not None:
        margin_V = np.sign(margin_V) * np.log(1 / world.wrong - 1)
    turns_N = source.uniform(0, 2 * np.pi, n)
    margin_V = margin_V + world.cycles * np.sin(turns_N[a_V] - turns_N[b_V])
    seen_V = source.choice(world.reliability, votes) * margin_V + source.logistic(size=votes)
    counts = count_pairs(n, np.where(seen_V > 0, a_V, b_V), np.where(seen_V > 0, b_V, a_V), _tied(world, seen_V))
    met_NN = (counts.wins_RNN + counts.ties_RNN)[0]
    there_M = np.flatnonzero(met_NN.sum(axis=0) + met_NN.sum(axis=1))
    wins_RMM, ties_RMM = (of_all[:, there_M[:, None], there_M] for of_all in (counts.wins_RNN, counts.ties_RNN))
    return Comparisons(None, tuple(map(_name, there_M.tolist())), VoteCounts(wins_RMM, ties_RMM, counts.lists_RB))


def _true_ranks(comparisons: Comparisons, scores_N: Floats) -> NDArray[np.int64]:
    """Ranks by the true scores of the models that have votes."""
    place = {_name(index): index for index in range(len(scores_N))}
    return ranks_of(scores_N[None, [place[name] for name in comparisons.candidates]])[0]


def _pairs(world: World, scores_N: Floats, source: np.random.Generator) -> Floats:
    """Probability that two models are compared, [N, N]."""
    n = len(scores_N)
    weights_NN = 1 - np.eye(n)
    if world.uneven:
        shown_N = 1 / (1 + source.permutation(n))
        near_NN = np.exp(-np.abs(scores_N[:, None] - scores_N[None, :]))
        weights_NN = weights_NN * shown_N[:, None] * shown_N[None, :] * near_NN
    return weights_NN / weights_NN.sum()


def _tied(world: World, seen_V: Floats) -> NDArray[np.bool_]:
    return np.abs(seen_V) < world.threshold


def _rankings(scores_N: Floats, votes: int, source: np.random.Generator) -> Comparisons:
    """Rankings of four by the model of Plackett and Luce."""
    shown_V4 = source.random((votes, len(scores_N))).argsort(axis=1)[:, :4]
    seen_V4 = scores_N[shown_V4] + source.gumbel(size=shown_V4.shape)
    ranked_V4 = np.take_along_axis(shown_V4, (-seen_V4).argsort(axis=1), axis=1)
    return count_votes(None, [Vote(tuple(map(_name, ranked_4))) for ranked_4 in ranked_V4.tolist()])


def _name(index: int) -> str:
    return f"model {index:02}"


def _first(ranks_N: NDArray[np.int64], true_N: NDArray[np.int64]) -> float:
    return float((true_N[ranks_N == 1] == 1).mean())


def _covered(drawn: Sequence[Comparisons], true: Sequence[NDArray[np.int64]]) -> float:
    inside: list[float] = []
    for comparisons, true_N in zip(drawn, true, strict=False):
        own = rank(comparisons, RankingSettings("pl")).intervals
        if own is None:  # too few votes for intervals
            continue
        inside.append(float(((own.rank_low_N <= true_N) & (true_N <= own.rank_high_N)).mean()))
    return statistics.mean(inside) if inside else math.nan


def _with_alpha(alpha: float, drawn: Sequence[Comparisons], true: Sequence[NDArray[np.int64]]) -> float:
    values: list[float] = []
    for comparisons, true_N in zip(drawn, true, strict=False):
        ranks_N = rank(comparisons, RankingSettings(alpha=alpha, resamples=0)).ranks_N["bt"]
        values.append(tau_b(ranks_N, true_N) or 0.0)
    return statistics.mean(values)


def tables(results: dict[str, Any]) -> str:
    """Tables as Markdown: means over seeds with intervals of 95 %."""
    lines: list[str] = []
    for layout in LAYOUTS:
        lines += [
            f"{layout.name}:",
            "",
            "| how people vote | tau-b of bt | pl | ged | ged less bt | pl less bt | best model found by bt | pl | ged "
            "| cyclic | weight removed | true ranks in 95 % intervals | seconds |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for world in WORLDS:
            if found := _of(results, layout, world):
                lines.append(f"| {world.name} | {' | '.join(_cells(found))} |")
        lines.append("")
    lines += [f"tau-b of bt, {LAYOUTS[1].name} (the first {WITH_ALPHAS}), by alpha:", ""]
    lines += [f"| how people vote | {' | '.join(f'{alpha:g}' for alpha in ALPHAS)} |", "|---|" + "---|" * len(ALPHAS)]
    for world in WORLDS:
        if found := _of(results, LAYOUTS[1], world):
            cells = [_mean([one["by_alpha"][f"{alpha:g}"] for one in found]) for alpha in ALPHAS]
            lines.append(f"| {world.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(results: dict[str, Any], layout: Layout, world: World) -> list[dict[str, Any]]:
    prefix = f"{layout.name} / {world.name} / "
    return [value for key, value in results.items() if key.startswith(prefix)]


def _cells(found: Sequence[dict[str, Any]]) -> list[str]:
    tau = [one["tau_b"] for one in found]
    return [
        *(_mean([one[method] for one in tau]) for method in METHODS),
        _mean([one["ged"] - one["bt"] for one in tau], "+"),
        _mean([one["pl"] - one["bt"] for one in tau], "+"),
        *(_mean([one["best"][method] for one in found]) for method in METHODS),
        *(f"{statistics.mean(one[name] for one in found):.2f}" for name in ("cyclic", "removed_weight", "covered")),
        f"{statistics.mean(one['seconds'] for one in found):.1f}",
    ]


def _mean(values: Sequence[float], sign: str = "") -> str:
    half = half_width(values)
    return f"{statistics.mean(values):{sign}.3f}" + ("" if half is None else f" ± {half:.3f}")


if __name__ == "__main__":
    main()
