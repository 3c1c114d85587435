"""Flow-GRPO, and other trainers of image editors and generators with a batch reward function of its form.

Written against its public code, which was never run here, since it needs a diffusion model and a GPU;
``docs/frameworks.md`` says what was read. A function beside those of ``flow_grpo/rewards.py``:

>>> from yoj.integrations.flow_grpo import ImageGroups, ImageReward
>>> def yoj():
...     return ImageReward("judge.yoj", ImageGroups(size=24, source_keys=("image",), source_root="dataset/edits"))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from yoj.runtime import Image, MediaError, Request, RequestError, YojError

from ._figures import report
from ._generated import Generated
from ._group import GroupReward as Reward
from ._group import RewardedGroup, rewarded
from ._image_rows import ImageGroups, ImageRow, read_rows
from ._judge import JudgeLike
from ._parted import PartedGroups
from ._ranks import CallTurns, Ranks, failure_text, raise_first, rank_count
from ._settings import RewardSettings

__all__ = ["ImageGroups", "ImageReward"]

OnFailure: TypeAlias = Literal["raise", "zero"]


class ImageReward:
    """Batch reward function that shows a judge all images of a prompt together. Safe to call from several threads.

    Calls go through one after the other, in the order in which they came: those of all ranks must meet.
    """

    def __init__(
        self,
        judge: str | Path | JudgeLike,
        groups: ImageGroups,
        settings: RewardSettings | None = None,
        on_error: OnFailure = "raise",
    ):
        """Take a judge, which each process opens when it is first asked.

        Args:
            judge: a bundle, the URL of a ``yoj-serve http``, or an open judge; see `yoj.integrations.GroupReward`.
            groups: settings by which rows become groups.
            settings: settings of the rewards.
            on_error: ``"raise"`` stops training on all ranks where a group fails; ``"zero"`` gives all images of the
                group 0, so that it has no advantage, and logs why. NaN would spread through the trainer's means.

        Raises:
            RequestError: the judge, the settings or ``on_error`` are none.
        """
        if on_error not in get_args(OnFailure):
            raise RequestError(f"on_error is {on_error!r}; give 'raise' or 'zero'.")
        if not isinstance(groups, ImageGroups):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RequestError(f"groups is {groups!r}; give ImageGroups(size=24, ...).")
        self.groups = groups
        self.on_error: OnFailure = on_error
        self._reward = Reward(judge, settings)
        self._turns = CallTurns()
        # Made here, in the order of the trainer's own thread: threads of several rewards would make them in any order.
        self._ranks = Ranks("own" if groups.gather else "alone")

    def __call__(
        self, images: Any, prompts: Sequence[str], metadata: Any = None, ref_images: Any = None
    ) -> tuple[list[float], dict[str, Any]]:
        """Reward the images of one call.

        Args:
            images: a tensor [B, 3, H, W] of floats from 0 to 1, an array [B, H, W, 3] of uint8 or such floats, or a
                list of images.
            prompts: prompt of each image.
            metadata: mapping of each image; None or empty where nothing is read from it.
            ref_images: source picture of each image, or a list of them; None for prompts without.

        Returns:
            [B] rewards, and details of the rows: ``group``, number of the row's group over all ranks; ``score``, the
            judge's score; ``margin``, that less the best score of the group's other images, above 0 for the best one
            alone; ``dimensions``, scores of each dimension that the judge names, as ``score``; ``failures``, reason of
            each row without a reward. Scores and margins compare within a group alone; they are NaN where unknown.

        Raises:
            RequestError: the images or what belongs to them cannot be read, or are parts of groups; which row, and how
                to mend it.
            MediaError: an image has numbers that are not finite, and ``on_error`` is ``"raise"``.
            YojError: the judge cannot be opened, or a group failed and ``on_error`` is ``"raise"``.
        """
        if self.groups.gather and self._ranks.count != rank_count():
            raise RequestError(
                f"torch.distributed has {rank_count()} ranks, and had {self._ranks.count} when this ImageReward was "
                "made. Make it after torch.distributed is initialised, on all ranks at the same place."
            )
        with self._turns.take() as call:
            parted, rows = self._begin(lambda: read_rows(images, prompts, metadata, ref_images, self.groups))
            found = self._score(parted, rows, call)
        report([found[k] for k in parted.owned])
        return _answer(parted, found, len(rows))

    def _begin(self, read: Callable[[], list[ImageRow]]) -> tuple[PartedGroups, list[ImageRow]]:
        """Read the rows of this rank, and find the groups of all. Every rank gets here, whatever is wrong with it."""
        rows, failure = list[ImageRow](), None
        try:
            rows = read()
        except Exception as error:
            failure = error
        told = self._ranks.gather(([row.digest for row in rows], failure_text(failure)))
        raise_first(failure, [text for _, text in told])
        parted = PartedGroups([digests for digests, _ in told], self._ranks.rank)
        parted.check(self.groups.size)
        return parted, rows

    def _score(self, parted: PartedGroups, rows: Sequence[ImageRow], call: int) -> dict[int, RewardedGroup]:
        """Groups of which this rank has rows, scored by whom they belong to."""
        others = dict[int, Generated]()
        if parted.straddles:
            for lent in self._ranks.exchange(parted.lent([row.image for row in rows])):
                others |= lent
        found, failure = dict[int, RewardedGroup](), None
        try:
            found = rewarded(self._reward, _requests(parted, rows, others, call))
            if self.on_error == "raise":
                failure = next((one.error for one in found.values() if one.error is not None), None)
        except Exception as error:
            failure = error
        shared = {k: one for k, one in found.items() if not all(map(parted.here, parted.groups[k]))}
        told = self._ranks.gather((shared, failure_text(failure)))
        raise_first(failure, [text for _, text in told])
        for theirs, _ in told:
            found |= theirs
        return found


def _requests(
    parted: PartedGroups, rows: Sequence[ImageRow], others: Mapping[int, Generated], call: int
) -> dict[int, Request | YojError]:
    """Request of each group that this rank scores, or the reason why it has none."""
    found: dict[int, Request | YojError] = {}
    for k in parted.owned:
        group = parted.groups[k]
        images = {row: rows[parted.number(row)].image if parted.here(row) else others[row] for row in group}
        head = rows[next(parted.number(row) for row in group if parted.here(row))]
        failures = [parted.told(row, one) for row, one in images.items() if isinstance(one, MediaError)]
        responses = [Image(one) for one in images.values() if not isinstance(one, MediaError)]
        key = f"{call}:{parted.digests[k].hex()}"
        found[k] = MediaError(failures[0]) if failures else Request(head.prompt, responses, head.sources, id=key)
    return found


def _answer(parted: PartedGroups, found: Mapping[int, RewardedGroup], count: int) -> tuple[list[float], dict[str, Any]]:
    """Rewards of this rank's rows, and what there is to know of them."""
    rewards, groups = [0.0] * count, [0] * count
    scores, margins = [np.nan] * count, [np.nan] * count
    dimensions, failures = dict[str, list[float]](), dict[int, str]()
    for k, group in found.items():
        for place, row in enumerate(parted.groups[k]):
            if not parted.here(row):
                continue
            number = parted.number(row)
            groups[number] = k
            if group.rewards is None:
                failures[number] = str(group.error)
                continue
            rewards[number], scores[number] = group.rewards[place], group.scores[place]
            margins[number] = _margin(group.scores, place)
            for name, values in group.dimensions.items():
                dimensions.setdefault(name, [np.nan] * count)[number] = values[place]
    return rewards, {
        "group": groups,
        "score": scores,
        "margin": margins,
        "dimensions": dimensions,
        "failures": failures,
    }


def _margin(scores: Sequence[float], place: int) -> float:
    """Score less the best of the others; NaN where there is no other."""
    others = [score for k, score in enumerate(scores) if k != place]
    return scores[place] - max(others) if others else float("nan")
