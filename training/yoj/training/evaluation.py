"""Evaluation of a judge in PyTorch: best of N, pairs in all and in each dimension, and the language path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from yoj.runtime import Prepared
from yoj.runtime.agreement import kendall_tau_b, pairs
from yoj.runtime.batch import batches_by_length
from yoj.runtime.dimensions import pool
from yoj.runtime.manifest import Mode
from yoj.runtime.orders import Orders, average

from ._batch import collate
from ._feed import Feed
from ._preparer import BudgetedPreparer
from ._rankings import Ranks, best_of, informs, judged
from ._recipe import Head
from .samples import NumberedSample, texts_alone

BATCH_TOKENS = 8192


@dataclass(frozen=True)
class EvaluationMode:
    """Conditions under which the judge reads requests."""

    mode: Mode | None = None
    """Mode; None for the one that the judge was trained in."""
    orders: Orders = 1
    media: bool = True
    """Whether media are shown; without them, scores owe nothing to the picture."""


@dataclass(frozen=True)
class Report:
    """Results for a set of requests, in their order."""

    scores: list[list[float]]
    """Scores of each request, in the order of its responses, pooled where the head has dimensions; centred where
    several orders were averaged."""
    hits: list[float]
    """Whether the highest score of each request is one of the best-ranked, and no worse response has the same score;
    of a request that is ranked by dimension alone, the share of its dimensions for which that is so."""
    dimensions: dict[str, list[list[float]]] = field(default_factory=dict[str, list[list[float]]])
    """Dimension -> its scores of each request, like ``scores``."""
    losses: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """Loss of the language path on a text of each request: nats, and number of tokens; empty where it has no such
    path."""

    @classmethod
    def joined(cls, reports: Sequence[Report]) -> Report:
        """Results of several sets of requests by one judge, one after the other."""
        return cls(
            [one for report in reports for one in report.scores],
            [one for report in reports for one in report.hits],
            {name: [one for report in reports for one in report.dimensions[name]] for name in reports[0].dimensions},
            [one for report in reports for one in report.losses],
        )

    @property
    def right(self) -> float:
        """Number of requests that were hit."""
        return sum(self.hits)

    @property
    def requests(self) -> int:
        """Number of requests."""
        return len(self.hits)

    def pairs(self, samples: Sequence[NumberedSample], dimension: str) -> tuple[float, float]:
        """Number of pairs that a dimension's scores order rightly, equal scores half, and number of pairs.

        Pairs of equal ranks, or with a response that was not judged in the dimension, are left out.

        Args:
            samples: the samples, in the order of the scores.
            dimension: name of the dimension.
        """
        ranked = [(numbered.sample.dimension_rankings or {}).get(dimension, []) for numbered in samples]
        return _pairs(zip(self.dimensions[dimension], ranked, strict=True))


@dataclass(frozen=True)
class DimensionFigures:
    """Figures of one dimension."""

    pairwise: float
    """Share of the pairs with different ranks in the dimension that its scores order rightly; equal scores count
    half."""
    pairs: int


@dataclass(frozen=True)
class RankingFigures:
    """Figures of some requests."""

    requests: int
    best_of_n: float
    """Share of the requests whose highest score is that of a best-ranked response, and of no worse one."""
    chance: float
    """Share that would be hit by chance."""
    pairwise: float
    """Share of the pairs of responses with different ranks that are ordered rightly; equal scores count half."""
    pairs: int
    tau: float
    """Mean of Kendall's tau-b over the requests in which neither ranks nor scores are all equal."""
    dimensions: dict[str, DimensionFigures] = field(default_factory=dict[str, DimensionFigures])
    """Figures of each dimension in which there are pairs."""
    language_loss: float | None = None
    """Mean loss of the language path over tokens, in nats; None where it learnt nothing, or there were no texts."""


@torch.inference_mode()
def evaluate(
    judge: nn.Module,
    preparer: BudgetedPreparer,
    samples: Sequence[NumberedSample],
    reading: EvaluationMode | None = None,
    head: Head | None = None,
) -> Report:
    """Score every sample and compare with its rankings.

    Args:
        judge: a `yoj.training._judge.Judge` in evaluation mode, wrapped for several processes or not.
        preparer: preparer of the judge.
        samples: samples with rankings.
        reading: conditions under which the judge reads them.
        head: settings of its value head, for the dimensions; None for one score.

    Raises:
        ValueError: the judge has other dimensions.
    """
    reading, head = reading or EvaluationMode(), head or Head()
    scores: dict[int, NDArray[np.float32]] = {}
    for begin in range(0, len(samples), 256):
        chunk = [_prepare(numbered, preparer, reading) for numbered in samples[begin : begin + 256]]
        sizes = [prepared.tokens for prepared in chunk], [len(prepared.packs) for prepared in chunk]
        for group in batches_by_length(*sizes, BATCH_TOKENS):
            for place, found in zip(group, _score(judge, [chunk[i] for i in group], preparer, head), strict=True):
                scores[begin + place] = found
    ordered = [scores[index] for index in range(len(samples))]
    pooled = [found[0].tolist() for found in ordered]
    hits = [hit(found, numbered) for found, numbered in zip(pooled, samples, strict=True)]
    own = {name: [found[k].tolist() for found in ordered] for k, name in enumerate(head.dimensions, 1)}
    return Report(pooled, hits, own)


def figures_by_kind(report: Report, samples: Sequence[NumberedSample]) -> dict[str, RankingFigures]:
    """Figures of all requests, as ``all``, and of each kind of sample.

    Args:
        report: results of the samples.
        samples: the samples, in the same order.
    """
    places: dict[str, list[int]] = {"all": list(range(len(samples)))}
    for place, numbered in enumerate(samples):
        if numbered.sample.kind is not None:
            places.setdefault(numbered.sample.kind, []).append(place)
    return {kind: _figures(report, [samples[k] for k in own], own) for kind, own in sorted(places.items())}


def _figures(report: Report, samples: Sequence[NumberedSample], places: Sequence[int]) -> RankingFigures:
    compared = [numbered.compared() for numbered in samples]
    read = [(report.scores[k], own) for k, rankings in zip(places, compared, strict=True) for own in rankings]
    right, count = _pairs(read)
    tau_R = np.concatenate([kendall_tau_b(*_one_request(*one)) for one in read])
    of = _part(report, places)
    by_dimension = {name: of.pairs(samples, name) for name in report.dimensions}
    tokens = sum(number for _, number in of.losses)
    return RankingFigures(
        len(samples),
        of.right / len(samples),
        float(np.mean([np.mean([_chance(own) for own in rankings]) for rankings in compared])),
        right / count if count else math.nan,
        int(count),
        math.nan if np.isnan(tau_R).all() else float(np.nanmean(tau_R)),
        {name: DimensionFigures(own / n, int(n)) for name, (own, n) in by_dimension.items() if n},
        sum(loss for loss, _ in of.losses) / tokens if tokens else None,
    )


def _part(report: Report, places: Sequence[int]) -> Report:
    """Results of some of the requests."""
    return Report(
        [report.scores[k] for k in places],
        [report.hits[k] for k in places],
        {name: [scores[k] for k in places] for name, scores in report.dimensions.items()},
        [report.losses[k] for k in places] if report.losses else [],
    )


def _one_request(scores: Sequence[float], ranks: Ranks) -> tuple[list[list[float]], list[list[float]]]:
    """Scores and ranks of the responses that were judged, [1, N] each."""
    own = judged(ranks)
    return [[scores[k] for k in own]], [list(own.values())]


def _pairs(read: Iterable[tuple[Sequence[float], Ranks]]) -> tuple[float, float]:
    """Credit for the pairs of scores [N] with different ranks [N], and number of such pairs."""
    counts = [pairs(*_one_request(scores, ranks)) for scores, ranks in read if informs(ranks)]
    return float(sum(right[0] for right, _ in counts)), float(sum(count[0] for _, count in counts))


def _chance(ranks: Ranks) -> float:
    return len(best_of(ranks)) / len(judged(ranks))


@torch.inference_mode()
def evaluate_language(judge: nn.Module, feed: Feed, samples: Sequence[NumberedSample]) -> list[tuple[float, int]]:
    """Cross-entropy of the language path on a text of each sample: sum in nats, and number of tokens.

    A sample without a text has no tokens.
    """
    other = Feed(samples, feed.preparer, msgspec.structs.replace(feed.recipe, objective="language"))
    losses = [(0.0, 0)] * len(samples)
    taught = [place for place, numbered in enumerate(samples) if numbered.has_text]
    for begin in range(0, len(taught), feed.recipe.batch_size):
        places = taught[begin : begin + feed.recipe.batch_size]
        batch = other.collate(places, 0).to(next(judge.parameters()).device)
        nats_T = F.cross_entropy(judge(batch).logits_TW.float(), batch.labels_T, reduction="none")
        row_T = batch.label_place_T // batch.tokens["input_ids"].shape[1]
        for row, place in enumerate(places):
            own = nats_T[row_T == row]
            losses[place] = float(own.sum()), len(own)
    return losses


def _prepare(numbered: NumberedSample, preparer: BudgetedPreparer, reading: EvaluationMode) -> Prepared:
    request = numbered.request()
    if not reading.media:
        request = texts_alone(request)
    return preparer.prepare(request, reading.mode, reading.orders)


def _score(
    judge: nn.Module, group: Sequence[Prepared], preparer: BudgetedPreparer, head: Head
) -> list[NDArray[np.float32]]:
    """Scores [1 + J, N] of each request: pooled, and of each of the head's J dimensions, or of its one score."""
    rows = [(prepared, [[0.0] * len(prepared.orders[0])]) for prepared in group]
    batch = collate(rows, (), preparer.family, ()).to(next(judge.parameters()).device)
    scores_RNJ: NDArray[np.float32] = judge(batch).heads_RNJK[..., 0].float().cpu().numpy()
    if scores_RNJ.shape[2] != max(1, len(head.dimensions)):
        raise ValueError(f"The judge has {scores_RNJ.shape[2]} dimensions, its settings name {len(head.dimensions)}.")
    named = list(np.moveaxis(scores_RNJ, 2, 0))
    each = [pool([{"scores": scores_RN} for scores_RN in named], head.pooling)["scores"], *named]
    results: list[NDArray[np.float32]] = []
    begin = 0
    for prepared in group:
        own, n = slice(begin, begin + len(prepared.packs)), len(prepared.orders[0])
        begin += len(prepared.packs)
        results.append(np.stack([average(rows_RN[own, :n], prepared.orders).scores_N for rows_RN in each]))
    return results


def hit(scores: Sequence[float], numbered: NumberedSample) -> float:
    """Whether the highest of scores [N] is that of a best response, and no worse response has the same.

    Returns:
        1 or 0; of a sample that is ranked by dimension alone, the share of the dimensions for which it is so.
    """
    found = [_hits(scores, ranks) for ranks in numbered.compared()]
    return sum(found) / len(found)


def _hits(scores: Sequence[float], ranks: Ranks) -> bool:
    own = judged(ranks)
    highest = max(scores[k] for k in own)
    return {rank for k, rank in own.items() if scores[k] == highest} == {min(own.values())}
