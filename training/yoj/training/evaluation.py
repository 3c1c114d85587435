"""Evaluation of a judge in PyTorch: the share of requests whose best response it ranks first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from yoj.runtime import Prepared
from yoj.runtime.agreement import kendall_tau_b, pairs
from yoj.runtime.batch import batches_by_length
from yoj.runtime.manifest import Mode
from yoj.runtime.orders import Orders, average

from . import _objectives as objectives
from ._batch import collate
from ._feed import Feed
from ._preparer import BudgetedPreparer
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
    """Scores of each request, in the order of its responses; centred where several orders were averaged."""
    hits: list[bool]
    """Whether the highest score of each request is one of the best-ranked, and no worse response has the same score."""

    @property
    def right(self) -> int:
        """Number of requests that were hit."""
        return sum(self.hits)

    @property
    def requests(self) -> int:
        """Number of requests."""
        return len(self.hits)


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


@torch.inference_mode()
def evaluate(
    judge: nn.Module,
    preparer: BudgetedPreparer,
    samples: Sequence[NumberedSample],
    reading: EvaluationMode | None = None,
) -> Report:
    """Score every sample and compare with its rankings.

    Args:
        judge: a `yoj.training._judge.Judge` in evaluation mode, wrapped for several processes or not.
        preparer: preparer of the judge.
        samples: samples with rankings.
        reading: conditions under which the judge reads them.
    """
    reading = reading or EvaluationMode()
    scores: dict[int, list[float]] = {}
    for begin in range(0, len(samples), 256):
        chunk = [_prepare(numbered, preparer, reading) for numbered in samples[begin : begin + 256]]
        sizes = [prepared.tokens for prepared in chunk], [len(prepared.packs) for prepared in chunk]
        for group in batches_by_length(*sizes, BATCH_TOKENS):
            for place, found in zip(group, _score(judge, [chunk[i] for i in group], preparer), strict=True):
                scores[begin + place] = found
    ordered = [scores[index] for index in range(len(samples))]
    return Report(ordered, [hit(found, numbered) for found, numbered in zip(ordered, samples, strict=True)])


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
    ranks = [numbered.sample.rankings or [] for numbered in samples]
    read = [([report.scores[k]], [own]) for k, own in zip(places, ranks, strict=True)]
    right, count = np.array([pairs(*one) for one in read])[:, :, 0].sum(axis=0)
    tau_R = np.concatenate([kendall_tau_b(*one) for one in read])
    return RankingFigures(
        len(samples),
        sum(report.hits[k] for k in places) / len(samples),
        sum(own.count(min(own)) / len(own) for own in ranks) / len(samples),
        float(right / count),
        int(count),
        math.nan if np.isnan(tau_R).all() else float(np.nanmean(tau_R)),
    )


@torch.inference_mode()
def evaluate_language(judge: nn.Module, feed: Feed, samples: Sequence[NumberedSample]) -> tuple[float, int]:
    """Cross-entropy of the language path on samples of the feed's kind: sum in nats, and number of tokens."""
    other = Feed(samples, feed.preparer, feed.recipe)
    loss, tokens, size = 0.0, 0, max(1, feed.recipe.batch_size)
    for begin in range(0, len(samples), size):
        batch = other.collate(range(begin, min(begin + size, len(samples))), 0)
        batch = batch.to(next(judge.parameters()).device)
        outputs = judge(batch)
        loss += float(objectives.language(outputs.logits_TW, batch.labels_T)) * len(batch.labels_T)
        tokens += len(batch.labels_T)
    return loss, tokens


def _prepare(numbered: NumberedSample, preparer: BudgetedPreparer, reading: EvaluationMode) -> Prepared:
    request = numbered.request()
    if not reading.media:
        request = texts_alone(request)
    return preparer.prepare(request, reading.mode, reading.orders)


def _score(judge: nn.Module, group: Sequence[Prepared], preparer: BudgetedPreparer) -> list[list[float]]:
    rows = [(prepared, [0.0] * len(prepared.orders[0])) for prepared in group]
    batch = collate(rows, (), preparer.family, ()).to(next(judge.parameters()).device)
    scores_RN = judge(batch).heads_RNK[..., 0].float().cpu().numpy()
    results: list[list[float]] = []
    begin = 0
    for prepared in group:
        rows_KN = scores_RN[begin : begin + len(prepared.packs), : len(prepared.orders[0])]
        begin += len(prepared.packs)
        results.append(average(rows_KN, prepared.orders).scores_N.tolist())
    return results


def hit(scores: Sequence[float], numbered: NumberedSample) -> bool:
    """Whether the highest of scores [N] is that of a best response, and no worse response has the same."""
    rankings = numbered.sample.rankings
    assert rankings is not None
    highest = max(scores)
    return {rank for score, rank in zip(scores, rankings, strict=True) if score == highest} == {min(rankings)}
