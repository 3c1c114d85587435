"""Rewards for the trainers of TRL: GRPO, RLOO, asynchronous GRPO and Online DPO.

>>> from yoj.integrations.trl import GroupReward
>>> reward = GroupReward("judge.yoj", num_generations=8)
>>> trainer = GRPOTrainer(model, reward_funcs=reward, args=GRPOConfig(num_generations=8), train_dataset=data)
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import warnings
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from yoj.runtime import Request, RequestError, YojError

from ._group import GroupReward as Reward
from ._group import RewardedGroup, rewarded
from ._judge import JudgeLike
from ._kinds import is_list
from ._layout import FIX, Groups, groups_of
from ._messages import NO_PICTURES, NO_VIDEOS, TrainerRow, holds_pictures, read_row
from ._ranks import Ranks, failure_text, raise_first
from ._settings import RewardSettings

__all__ = ["AsyncGroupReward", "GroupReward"]

OnError: TypeAlias = Literal["none", "raise"]
PICTURE_COLUMNS = ("images", "image")
"""Columns that pictures come from, of which the first that is there is read."""
Found: TypeAlias = dict[int, RewardedGroup]
"""Rewards of groups by their number."""


@dataclass(frozen=True)
class _Call:
    """One call of a trainer."""

    ranks: Ranks
    rows: Sequence[TrainerRow]
    """Rows of this rank."""
    first: int
    """Number of this rank's first row; rows and groups are counted over all ranks."""
    groups: Groups
    straddles: bool
    """Whether any rank has a part of a group."""
    key: str
    stops: bool
    """Whether a group that fails stops training."""
    begin: float

    def is_here(self, row: int) -> bool:
        """Whether a row is one of this rank."""
        return self.first <= row < self.first + len(self.rows)

    @property
    def here(self) -> list[int]:
        """Groups of which this rank has a row."""
        return [k for k, group in enumerate(self.groups) if any(map(self.is_here, group))]

    @property
    def owned(self) -> list[int]:
        """Groups whose first row, and with it the pictures, this rank has."""
        return [k for k in self.here if self.is_here(self.groups[k][0])]

    def of_others(self) -> dict[int, Any]:
        """Responses of this rank that groups of other ranks need."""
        owned = {*self.owned}
        rows = [row for k in self.here if k not in owned for row in self.groups[k] if self.is_here(row)]
        return {row: self._response(row) for row in rows}

    def requests(self, others: Mapping[int, Any]) -> dict[int, Request | YojError]:
        """Request of each owned group, or the reason why it has none."""
        found: dict[int, Request | YojError] = {}
        for k in self.owned:
            responses = [self._response(row) if self.is_here(row) else others[row] for row in self.groups[k]]
            head = self.rows[self.groups[k][0] - self.first]
            error = next((one for one in responses if isinstance(one, YojError)), None)
            found[k] = error or Request(head.prompt, responses, head.images, id=f"{self.key}:{k}")
        return found

    def _response(self, row: int) -> Any:
        found = self.rows[row - self.first]
        return found.error or found.response


class _Adapter:
    """Adapter of the reward of groups to the calls of TRL."""

    settles = True
    """Whether ranks tell each other of failures even where no group straddles them."""

    def __init__(
        self,
        judge: str | Path | JudgeLike,
        num_generations: int,
        num_generations_eval: int | None = None,
        settings: RewardSettings | None = None,
        on_error: OnError = "none",
    ):
        """Take a judge, which each process opens when it is first asked.

        Args:
            judge: a bundle, the URL of a ``yoj-serve http``, or an open judge; see `yoj.integrations.GroupReward`.
            num_generations: completions of a prompt in training, as in the trainer's settings; 2 for Online DPO.
            num_generations_eval: completions of a prompt in evaluation; None for as many.
            settings: settings of the reward.
            on_error: ``"none"`` gives all of a group that fails None, with a warning that says why, so that training
                goes on without it, but that of Online DPO, which takes None for 0; ``"raise"`` stops it on all ranks.

        Raises:
            RequestError: a number is below 2, or ``on_error`` is neither.
        """
        if on_error not in get_args(OnError):
            raise RequestError(f"on_error is {on_error!r}; give 'none' or 'raise'.")
        for name, size in (("num_generations", num_generations), ("num_generations_eval", num_generations_eval)):
            if size is not None and (not isinstance(size, int) or size < 2):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise RequestError(f"{name} is {size!r}; give a whole number from 2.")
        self.num_generations = num_generations
        self.num_generations_eval = num_generations if num_generations_eval is None else num_generations_eval
        self.on_error = on_error
        self.__name__ = "yoj"  # under which rewards and metrics are logged; who has two judges names them himself
        self._reward = Reward(judge, settings)
        self._prepare_state()

    def _prepare_state(self) -> None:
        self._lock = threading.Lock()
        self._step: int | None = None
        self._calls = 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_step", "_calls")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare_state()

    def _key(self, state: Any) -> str:
        """Key of a call: the trainer's step, from which a resumed training goes on, and the number of calls in it."""
        step = getattr(state, "global_step", None)
        with self._lock:
            self._calls = self._calls + 1 if step == self._step else 0
            self._step = step
            return f"{'' if step is None else step}:{self._calls}"

    def _begin(self, prompts: Sequence[Any], completions: Sequence[Any], given: Mapping[str, Any]) -> _Call:
        """Read the rows of this rank, and find the groups of all. Every rank gets here, whatever is wrong with it.

        Raises:
            RequestError: the rows of a rank cannot be read, or are no groups.
        """
        begin, key, ranks = time.perf_counter(), self._key(given.get("trainer_state")), Ranks()
        rows, sizes, failure = list[TrainerRow](), (self.num_generations,), None
        try:
            rows, sizes = _rows(prompts, completions, given), self._sizes(given.get("log_metric"))
        except Exception as error:
            failure = error
        told = ranks.gather(([(row.texts_digest, row.pictures_digest) for row in rows], sizes, failure_text(failure)))
        raise_first(failure, [text for _, _, text in told])
        counts = [len(digests) for digests, _, _ in told]
        # The sizes of the first rank are those of all, so that all find the same groups and go on alike.
        groups = groups_of([digests for digests, _, _ in told], told[0][1], halves="log_metric" not in given)
        bounds = [*itertools.accumulate(counts, initial=0)]
        straddles = any(bisect_right(bounds, group[0]) != bisect_right(bounds, group[-1]) for group in groups)
        # Online DPO, which gives the one and not the other, takes None for 0 and would train on a pair of no reward.
        stops = self.on_error == "raise" or ("trainer_state" in given and "log_metric" not in given)
        return _Call(ranks, rows, bounds[ranks.rank], groups, straddles, key, stops, begin)

    def _sizes(self, log_metric: Any) -> tuple[int, ...]:
        """Possible sizes of a group.

        TRL does not say whether it trains or evaluates; but ``log_metric`` is a method of the trainer, which knows.

        Raises:
            RequestError: the trainer's size is another one.
        """
        trainer = getattr(log_metric, "__self__", None)
        training = getattr(getattr(trainer, "model", None), "training", None)
        name = "num_generations" if training else "num_generations_eval"
        size, own = getattr(trainer, name, None), getattr(self, name)
        if not isinstance(training, bool) or not isinstance(size, int):
            return self.num_generations, self.num_generations_eval
        if size != own:
            raise RequestError(f"The trainer's {name} is {size}, and GroupReward has {own}. {FIX}.")
        return (size,)

    def _score(self, call: _Call) -> Found:
        """Rewards of all groups of which this rank has rows.

        Raises:
            YojError: the judge cannot be opened; or a group failed, and that shall stop training.
        """
        others = dict[int, Any]()
        if call.straddles:
            for lent in call.ranks.gather(call.of_others()):
                others |= lent
        found, failure = Found(), None
        try:
            found = rewarded(self._reward, call.requests(others))
            if call.stops:
                failure = next((one.error for one in found.values() if one.error is not None), None)
        except Exception as error:
            failure = error
        if not call.straddles and not self.settles:
            raise_first(failure, [])
            return found
        shared = {k: one for k, one in found.items() if not all(map(call.is_here, call.groups[k]))}
        told = call.ranks.gather((shared, failure_text(failure)))
        raise_first(failure, [text for _, text in told])
        for theirs, _ in told:
            found |= theirs
        return {k: found[k] for k in call.here}

    def _finish(self, call: _Call, found: Found, given: Mapping[str, Any]) -> list[float | None]:
        """Rewards of this rank's rows, once all that is to be known of them is logged."""
        own = [found[k] for k in call.owned]
        failed = [one.error for one in own if one.error is not None]
        if failed:
            warnings.warn(
                f"{len(failed)} of {len(own)} groups have no reward in call {call.key}. The first: {failed[0]}",
                RuntimeWarning,
                stacklevel=3,
            )
        if (log_metric := given.get("log_metric")) is not None:
            for name, values in _metrics(own).items():
                for value in values:
                    log_metric(f"{self.__name__}/{name}", value)
            log_metric(f"{self.__name__}/milliseconds", (time.perf_counter() - call.begin) * 1e3)
        columns: dict[str, list[Any]] = {name: [None] * len(call.rows) for name in ("reward", "score", "place")}
        for k in call.here:
            for place, row in enumerate(call.groups[k]):
                if call.is_here(row) and (rewards := found[k].rewards) is not None:
                    first = found[k].duplicates[place] if found[k].duplicates else place
                    columns["reward"][row - call.first] = rewards[place]
                    columns["score"][row - call.first] = found[k].scores[place]
                    columns["place"][row - call.first] = _place(found[k], first)
        if (log_extra := given.get("log_extra")) is not None:
            for name in ("score", "place"):
                log_extra(f"{self.__name__}_{name}", columns[name])
        return columns["reward"]


class GroupReward(_Adapter):
    """Reward function for TRL that reads all completions of a prompt together. It can be pickled.

    >>> GroupReward("judge.yoj", num_generations=8, num_generations_eval=2, settings=RewardSettings(orders=2))
    """

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any) -> list[float | None]:
        """Reward the completions of one call of a trainer. With several ranks all must call.

        Args:
            prompts: prompt of each row, a text or messages.
            completions: completion of each row, a text or messages.
            **given: whatever else TRL gives; columns ``image`` and ``images``, ``trainer_state``, ``log_metric`` and
                ``log_extra`` are used; columns ``video`` and ``videos`` are refused.

        Returns:
            Reward of each row; None for all rows of a group that failed.

        Raises:
            RequestError: the rows are no groups, and how to mend it; or there are videos.
            YojError: the judge cannot be opened, or a group failed and ``on_error`` is ``"raise"``.
        """
        call = self._begin(prompts, completions, given)
        return self._finish(call, self._score(call), given)


class AsyncGroupReward(_Adapter):
    """`GroupReward` that TRL awaits beside other asynchronous rewards.

    While groups straddle ranks it waits for them without giving way, so that ranks meet in the same order.
    """

    settles = False  # ranks that went on to something else meanwhile would not meet again in the same order

    async def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any) -> list[float | None]:
        """Reward the completions of one call; see `GroupReward`."""
        call = self._begin(prompts, completions, given)
        found = self._score(call) if call.straddles else await asyncio.to_thread(self._score, call)
        return self._finish(call, found, given)


def _rows(prompts: Sequence[Any], completions: Sequence[Any], given: Mapping[str, Any]) -> list[TrainerRow]:
    if len(prompts) != len(completions):
        raise RequestError(f"There are {len(prompts)} prompts and {len(completions)} completions; give one for each.")
    for name in ("video", "videos"):
        if _has_entries(given.get(name)):
            raise RequestError(f"There is a column {name}. {NO_VIDEOS}")
    pictures = _pictures(given, len(prompts))
    rows = [read_row(*row) for row in zip(prompts, completions, pictures, strict=True)]
    if all(row.pictures_digest == NO_PICTURES for row in rows):
        _check_unread(given)
    return rows


def _check_unread(given: Mapping[str, Any]) -> None:
    """Refuse pictures in a column that is not read, where the judge would be shown none at all.

    Raises:
        RequestError: there are such.
    """
    unread = given.keys() - {*PICTURE_COLUMNS}
    names = sorted(name for name in unread if is_list(given[name]) and holds_pictures(given[name]))
    if names:
        raise RequestError(
            f"No prompt has a picture, and the column {names[0]!r} holds some, which are not read. Rename it to "
            "'images' (or 'image', for one each), or remove it where the judge is not to see them."
        )


def _has_entries(column: Any) -> bool:
    """Whether a column has anything in a row; tables and processors have empty ones, too."""
    if not is_list(column):
        return column is not None
    return any(one is not None and not (is_list(one) and not one) for one in column)


def _pictures(given: Mapping[str, Any], count: int) -> list[list[Any]]:
    """Pictures of each row from the column ``images``, or else ``image``."""
    for name in PICTURE_COLUMNS:
        column: Any = given.get(name)
        if column is None:
            continue
        if not is_list(column) or len(column) != count:
            what = f"{len(column)} entries" if is_list(column) else f"the type {type(column).__name__}"
            raise RequestError(f"The column {name} has {what}; there are {count} rows: give a list of one for each.")
        return [list(one) if is_list(one) else [] if one is None else [one] for one in column]
    return [[] for _ in range(count)]


def _metrics(groups: Sequence[RewardedGroup]) -> dict[str, list[float]]:
    """Values of each metric, one for each group of which it is known; TRL averages over all groups of all ranks."""
    good = [one for one in groups if one.rewards is not None]
    return {
        "failed_groups": [float(one.rewards is None) for one in groups],
        "flat_groups": [float(one.flat) for one in good],
        "mean_score": [one.mean for one in good if one.mean is not None],
        "spread": [one.spread for one in good if one.spread is not None],
        "order_spread": [float(np.mean(one.order_spread)) for one in good if one.order_spread is not None],
        "cut_responses": [len(one.cuts) / len(one.scores) for one in good],
        "equal_responses": [_equal(one) for one in good],
    }


def _equal(group: RewardedGroup) -> float:
    """Share of the responses that are copies of an earlier one."""
    return 1 - len(set(group.duplicates)) / len(group.duplicates) if group.duplicates else 0.0


def _place(group: RewardedGroup, response: int) -> int | None:
    """Place of a response in the first pack; None where that left it out."""
    return group.orders[0].index(response) if response in group.orders[0] else None
