"""Samples -> batches, in an order that the seed, the epoch and the place in it decide, and nothing else."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import DataLoader, Dataset

from yoj.runtime import Prepared

from ._batch import Batch, collate
from ._errors import DataError
from ._preparer import BudgetedPreparer
from ._rankings import Ranks, informs
from ._recipe import Recipe, learns_language, ranks
from ._signals import leave_to_parent
from .samples import NumberedSample


@dataclass(frozen=True)
class ProcessRank:
    """Place of this process among those that train together."""

    rank: int = 0
    processes: int = 1


def steps_in_epoch(samples: int, recipe: Recipe, processes: int) -> int:
    """Number of whole steps that so many samples give.

    Raises:
        DataError: the samples give less than one step.
    """
    step = recipe.batch_size * recipe.accumulation * processes
    if samples < step:
        raise DataError(
            f"{recipe.data}: {samples:,} samples are less than one step of {step:,}, batch_size x accumulation x "
            "processes. Give more, or make the step smaller."
        )
    return samples // (recipe.batch_size * processes) // recipe.accumulation


class Feed:
    """Feed of each process with its batches of an epoch."""

    def __init__(
        self,
        samples: Sequence[NumberedSample],
        preparer: BudgetedPreparer,
        recipe: Recipe,
        place: ProcessRank | None = None,
    ):
        self.samples, self.preparer, self.recipe = samples, preparer, recipe
        self.place = place or ProcessRank()

    @property
    def batches(self) -> int:
        """Number of batches of each process in an epoch.

        Samples that do not fill one on every process are left out of the epoch.
        """
        return len(self.samples) // (self.recipe.batch_size * self.place.processes)

    def epoch(self, epoch: int, begin: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from number ``begin`` on, in random order."""
        order = list(range(len(self.samples)))
        random.Random(f"{self.recipe.seed} {epoch}").shuffle(order)
        size, processes = self.recipe.batch_size, self.place.processes
        starts = range((begin * processes + self.place.rank) * size, self.batches * size * processes, size * processes)
        batches = [order[start : start + size] for start in starts]
        # A step's batches, on all processes, show equally many responses, so that little of them is padding.
        most = [
            self._draw_n(epoch, number // self.recipe.accumulation) for number in range(begin, begin + len(batches))
        ]
        source = _Batches(self, epoch, list(zip(batches, most, strict=True)))
        yield from DataLoader(source, batch_size=None, num_workers=self.recipe.workers, worker_init_fn=leave_to_parent)

    def collate(self, numbers: Sequence[int], epoch: int, most: int | None = None) -> Batch:
        """One batch of these samples, at most so many responses of each, in an order of this epoch."""
        ranked = list[tuple[Prepared, Sequence[Ranks]]]()
        texts = list[Prepared]()
        for number in numbers:
            draw = random.Random(f"{self.recipe.seed} {epoch} {number}")
            if ranks(self.recipe):
                ranked.append(self._rank(self.samples[number], draw, most))
            if learns_language(self.recipe):
                texts += self._text(self.samples[number], draw)
        return collate(ranked, texts, self.preparer.family, [self.samples[number].line for number in numbers])

    def _draw_n(self, epoch: int, step: int) -> int | None:
        """Most responses of a sample that a step of an epoch shows."""
        if self.recipe.n is None:
            return None
        least, most = self.recipe.n
        share = random.Random(f"{self.recipe.seed} {epoch} n {step}").random()
        return min(most, math.floor(least * ((most + 1) / least) ** share))

    def _rank(self, numbered: NumberedSample, draw: random.Random, most: int | None) -> tuple[Prepared, list[Ranks]]:
        responses, given = numbered.sample.responses, numbered.ranks(self.recipe.head.dimensions)
        order = draw.sample(range(len(responses)), len(responses))
        if most is not None:
            order = _shorten(order, given, most)
        prepared = self.preparer.prepare(numbered.request([responses[i] for i in order]))
        return prepared, [[own[i] for i in order] for own in given]

    def _text(self, numbered: NumberedSample, draw: random.Random) -> list[Prepared]:
        """One of the texts that the sample teaches; none where it teaches none."""
        lessons = numbered.lessons(self.recipe.rationale_prompt)
        return [self.preparer.texts.prepare(draw.choice(lessons), "joint")] if lessons else []


class _Batches(Dataset[Batch]):
    """Batches of an epoch: the samples of each, and how many responses of a sample it shows at most."""

    def __init__(self, feed: Feed, epoch: int, batches: Sequence[tuple[Sequence[int], int | None]]):
        self.feed, self.epoch, self.batches = feed, epoch, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        numbers, most = self.batches[index]
        return self.feed.collate(numbers, self.epoch, most)


def _shorten(order: Sequence[int], rankings: Sequence[Ranks], most: int) -> list[int]:
    """First responses of an order, with two of different ranks among them where there are such in any ranking [N]."""
    kept = list(order[:most])

    def tell(chosen: Sequence[int]) -> bool:
        return any(informs(own, chosen) for own in rankings)

    if tell(kept):
        return kept
    pair = next((pair for pair in itertools.combinations(order, 2) if tell(pair)), None)
    if pair is None:
        return kept
    others = [i for i in kept if i not in pair][: most - 2]
    return [i for i in order if i in pair or i in others]
