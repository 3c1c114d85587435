"""Samples -> batches, in an order that the seed, the epoch and the place in it decide, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import DataLoader, Dataset

from yoj.runtime import Prepared

from ._batch import Batch, collate
from ._errors import DataError
from ._preparer import BudgetedPreparer
from ._recipe import Recipe
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
        source = _Batches(self, epoch, [order[start : start + size] for start in starts])
        yield from DataLoader(source, batch_size=None, num_workers=self.recipe.workers, worker_init_fn=leave_to_parent)

    def collate(self, numbers: Sequence[int], epoch: int) -> Batch:
        """One batch of these samples, responses in an order of this epoch."""
        ranked = list[tuple[Prepared, Sequence[float]]]()
        texts = list[Prepared]()
        for number in numbers:
            draw = random.Random(f"{self.recipe.seed} {epoch} {number}")
            if self.recipe.objective != "language":
                ranked.append(self._rank(self.samples[number], draw))
            if self.recipe.objective in ("joint", "language"):
                texts.append(self._text(self.samples[number], draw))
        return collate(ranked, texts, self.preparer.family, [self.samples[number].line for number in numbers])

    def _rank(self, numbered: NumberedSample, draw: random.Random) -> tuple[Prepared, list[float]]:
        sample = numbered.sample
        assert sample.rankings is not None
        order = draw.sample(range(len(sample.responses)), len(sample.responses))
        prepared = self.preparer.prepare(numbered.request([sample.responses[i] for i in order]))
        return prepared, [sample.rankings[i] for i in order]

    def _text(self, numbered: NumberedSample, draw: random.Random) -> Prepared:
        return self.preparer.prepare(draw.choice(numbered.lessons()), "joint")


class _Batches(Dataset[Batch]):
    def __init__(self, feed: Feed, epoch: int, numbers: Sequence[Sequence[int]]):
        self.feed, self.epoch, self.numbers = feed, epoch, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Batch:
        return self.feed.collate(self.numbers[index], self.epoch)
