"""Reward of groups: the responses of one prompt are read together, and their scores become rewards."""

from __future__ import annotations

import hashlib
import logging
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yoj.runtime import Image, Judgement, Request, RequestError, ScoreError, Scorer, Truncation, Video, YojError
from yoj.runtime.error_texts import retold, shorten
from yoj.runtime.orders import draw_orders
from yoj.runtime.packs import ROUNDS, Members, draw_order, draw_packs, join
from yoj.runtime.script import Parts, Script, script_of

from ._judge import JudgeLike
from ._remote import RemoteJudge
from ._rewards import reward_of
from ._settings import RewardSettings

log = logging.getLogger("yoj.integrations")


@dataclass(frozen=True)
class RewardedGroup:
    """Rewards of the responses of one group, in the order in which they were given, or why there are none."""

    id: str | int | None
    """``id`` of the group's request."""
    rewards: tuple[float, ...] | None
    """[N] rewards; None where the group failed."""
    error: YojError | None = None
    """Reason for which the group failed; None where it did not."""
    scores: tuple[float, ...] = ()
    """[N] scores: of one pack as the judge gave them; of several, those joined on one scale, with their mean."""
    mean: float | None = None
    """Mean of the scores. Over many groups it tells progress, which rewards relative to the group cannot."""
    spread: float | None = None
    """Standard deviation of the scores over all N, copies included."""
    flat: bool = False
    """Whether the spread is below the floor, so that the responses count as equal."""
    dimensions: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """[N] scores of each dimension that the judge names, joined as ``scores``, whose pooled value those are."""
    order_spread: tuple[float, ...] | None = None
    """[N] root mean square of what the readings of a response differ from its score; None where it was read once."""
    orders: tuple[tuple[int, ...], ...] = ()
    """Packs that were read: for each, the index of the response in each place. Of equal responses the first alone."""
    duplicates: tuple[int, ...] = ()
    """[N] index of the first response equal to each, whose score it shares; empty where all differ."""
    cuts: tuple[Truncation, ...] = ()
    """Responses of which the judge saw the beginning alone."""
    notices: tuple[str, ...] = ()
    """Notices of the judge about what it read otherwise than it may have been meant."""
    milliseconds: float = 0.0
    """Wall time of the call of the judge that scored the group, and perhaps others with it."""


@dataclass(frozen=True)
class _Plan:
    """Readings of one group."""

    group: Request
    contents: tuple[Any, ...]
    """[N] responses as they are shown to the judge."""
    copies: tuple[int, ...]
    """[N] index of the first response equal to each."""
    packs: tuple[Members, ...]
    cuts: tuple[Truncation, ...]
    """Cuts of the length cap."""

    def requests(self, settings: RewardSettings) -> list[Request]:
        """Requests for the judge, one for each pack."""
        whole = replace(
            self.group,
            overflow=settings.overflow,
            orders=1,
            duplicates="share",
            dimension=settings.dimension or self.group.dimension,
            metadata=None,
        )
        return [replace(whole, responses=[self.contents[k] for k in pack]) for pack in self.packs]


@dataclass(frozen=True)
class _Scored:
    """Scores of the N responses of one group, in float64."""

    scores_N: NDArray[np.float64]
    order_spread: tuple[float, ...] | None


class GroupReward:
    """Reward of groups by one judge. Safe to use from several threads; can be pickled.

    A group is a `yoj.runtime.Request`, whose ``id`` is the group's key: the same seed, key and responses are read in
    the same order everywhere. Groups without an id draw another order in each call, by its number in this process: give
    ids where several processes share a judge, which else all draw the same orders.

    >>> reward = GroupReward("judge.yoj", RewardSettings(orders=2))
    >>> reward.rewards([Request("What is shown?", ["A cat.", "A bus."], images=["photo.jpg"], id="step 7: 0")])
    """

    def __init__(self, judge: str | Path | JudgeLike, settings: RewardSettings | None = None):
        """Take a judge, which is opened when it is first used.

        Args:
            judge: a bundle as `yoj.runtime.Scorer.load` takes it; the URL of a ``yoj-serve http``; or an open judge,
                such as a `yoj.runtime.Scorer` that was loaded with settings of its own.
            settings: settings of the reward; None for the default ones.

        Raises:
            RequestError: they are of another type, or the judge is neither a path nor the URL of a server.
        """
        _check_judge(judge)
        if settings is not None and not isinstance(settings, RewardSettings):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RequestError(f"settings is {shorten(repr(settings), 80)}; give RewardSettings(orders=2, ...).")
        self.settings = settings or RewardSettings()
        self._source = judge
        self._prepare_state()

    def _prepare_state(self) -> None:
        self._judge: JudgeLike | None = None
        self._calls = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings, "_source": self._source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare_state()

    def __repr__(self) -> str:
        return f"GroupReward({self._source!r}, {self.settings!r})"

    @property
    def judge(self) -> JudgeLike:
        """The judge, opened.

        Raises:
            YojError: it cannot be; see `yoj.runtime.Scorer.load`.
        """
        with self._lock:
            if self._judge is None:
                self._judge = _open(self._source)
            return self._judge

    def rewards(self, groups: Sequence[Request]) -> list[RewardedGroup]:
        """Score groups, and turn the scores of each into rewards.

        A bundle scores one group at a time: together with others a score may differ in its last bit, and the rewards
        of a group would depend on its neighbours. A server is sent all groups at once.

        Args:
            groups: requests, whose ``orders``, ``overflow`` and ``duplicates`` the settings stand for.

        Returns:
            One entry for each group, in the given order. One that fails has its error and no rewards.

        Raises:
            YojError: the judge cannot be opened.
        """
        judge = self.judge
        with self._lock:
            self._calls += 1
            call = self._calls
        plans = [self._plan(group, f"call {call}: {place}") for place, group in enumerate(groups)]
        good = [plan for plan in plans if isinstance(plan, _Plan)]
        together = [good] if isinstance(judge, RemoteJudge) else [[plan] for plan in good]
        answers = iter([answer for some in together if some for answer in self._judged(judge, some)])
        return [
            next(answers) if isinstance(plan, _Plan) else RewardedGroup(_id(group), None, plan)
            for group, plan in zip(groups, plans, strict=True)
        ]

    def _plan(self, group: Request, key: str) -> _Plan | YojError:
        try:
            if isinstance(group, Request) and group.placeholders == "error":  # pyright: ignore[reportUnnecessaryIsInstance]
                group = replace(group, placeholders=self.settings.placeholders)
            script = script_of(group)
            _check_unset(group)
        except YojError as error:
            return error
        kept, cuts = _capped(script.responses, self.settings.max_response_characters)
        contents = [tuple(part if isinstance(part, str) else script.media[part] for part in parts) for parts in kept]
        keys = [_key(parts, script) for parts in kept]
        copies = tuple(keys.index(one) for one in keys)
        distinct = sorted(set(copies))
        source = _random(self.settings.seed, key if group.id is None else str(group.id))
        packs = tuple(tuple(distinct[k] for k in pack) for pack in _packs(len(distinct), self.settings, source))
        return _Plan(group, tuple(map(_plain, contents)), copies, packs, cuts)

    def _judged(self, judge: JudgeLike, plans: Sequence[_Plan]) -> list[RewardedGroup]:
        requests = [request for plan in plans for request in plan.requests(self.settings)]
        begin = time.perf_counter()
        results = judge.score_batch(requests, on_error="return")
        milliseconds = (time.perf_counter() - begin) * 1e3
        if len(results) != len(requests):
            raise RequestError(f"The judge gave {len(results)} results for {len(requests)} requests; it is no judge.")
        answers: list[RewardedGroup] = []
        for plan in plans:
            own, results = results[: len(plan.packs)], results[len(plan.packs) :]
            answers.append(replace(self._answer(plan, own), milliseconds=milliseconds))
        return answers

    def _answer(self, plan: _Plan, results: Sequence[Judgement | YojError]) -> RewardedGroup:
        judged = [one for one in results if isinstance(one, Judgement)]
        for pack, one in zip(plan.packs, results, strict=True):
            if isinstance(one, YojError):
                return RewardedGroup(plan.group.id, None, _of_pack(one, pack))
        try:
            scored = self._scored(plan, judged)
        except YojError as error:
            return RewardedGroup(plan.group.id, None, error)
        spread = float(scored.scores_N.std())
        log.debug("group %r was read as %s", plan.group.id, plan.packs)
        distinct = len(set(plan.copies)) == len(plan.copies)
        return RewardedGroup(
            plan.group.id,
            tuple(reward_of(scored.scores_N, judged[0].temperature, self.settings).tolist()),
            scores=tuple(scored.scores_N.tolist()),
            mean=float(scored.scores_N.mean()),
            spread=spread,
            flat=spread < self.settings.spread_floor,
            dimensions=_dimensions(plan, judged),
            order_spread=scored.order_spread,
            orders=plan.packs,
            duplicates=() if distinct else plan.copies,
            cuts=_cuts(plan, judged),
            notices=tuple(dict.fromkeys(notice for one in judged for notice in one.notices)),
        )

    def _scored(self, plan: _Plan, judged: Sequence[Judgement]) -> _Scored:
        """Scores of all N responses from those of the packs.

        Raises:
            RequestError: the judge gave another number of scores than it was given responses, or reads in a mode in
                which several orders are the same.
            ScoreError: a score is no finite number, or the temperature is not above 0.
        """
        for pack, one in zip(plan.packs, judged, strict=True):
            if len(one.scores) != len(pack):
                raise RequestError(
                    f"The judge gave {len(one.scores)} scores for {len(pack)} responses; it is no judge."
                )
            if not np.isfinite(one.scores).all():
                raise ScoreError(
                    f"The judge gave the scores {shorten(repr(tuple(one.scores)), 200)}, not all of which are finite "
                    "numbers, so that the group has no reward. Look at what the judge computes for it."
                )
            if not 0 < one.temperature < np.inf:
                raise ScoreError(f"The judge gave the temperature {one.temperature!r}; it must be above 0.")
        if self.settings.orders > 1 and judged[0].mode == "isolated":
            raise RequestError(
                f"The judge reads responses in isolation, where their order says nothing, and orders is "
                f"{self.settings.orders}. Leave RewardSettings.orders at 1."
            )
        return _on_one_scale(plan, [one.scores for one in judged])


def rewarded(reward: GroupReward, requests: Mapping[int, Request | YojError]) -> dict[int, RewardedGroup]:
    """Rewards of groups by their numbers, of which some cannot be read.

    Args:
        reward: the reward.
        requests: request of each group, or the reason why it has none.

    Raises:
        YojError: the judge cannot be opened.
    """
    good = {k: one for k, one in requests.items() if isinstance(one, Request)}
    bad = {k: RewardedGroup(None, None, one) for k, one in requests.items() if isinstance(one, YojError)}
    return dict(zip(good, reward.rewards(list(good.values())), strict=True)) | bad


def _of_pack(error: YojError, pack: Members) -> YojError:
    """Error of a pack; one of the request says which responses stood where, since it numbers those of the pack."""
    if not isinstance(error, RequestError) or pack == tuple(range(len(pack))):
        return error
    read = f"Responses are numbered as the judge read them, which were {list(pack)} of the group."
    return retold(error, f"{error} ({read})")


def _check_judge(judge: object) -> None:
    """Check what can be known of a judge before it is opened.

    Raises:
        RequestError: it is none.
    """
    if isinstance(judge, str):
        if _is_url(judge):
            RemoteJudge(judge)
        elif re.match(r"[a-z][\w+.-]*://|[\w.-]+:\d+(/|$)", judge, re.IGNORECASE) and not Path(judge).exists():
            raise RequestError(
                f"{judge!r} is no bundle here, and no URL: that of a server begins with http:// or https://, such as "
                "http://HOST:PORT."
            )
    elif not isinstance(judge, Path) and not callable(getattr(judge, "score_batch", None)):
        raise RequestError(
            f"judge is {shorten(repr(judge), 80)}; give the path of a bundle, the URL of a yoj-serve http, or an open "
            "judge such as Scorer.load gives."
        )


def _is_url(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def _open(source: str | Path | JudgeLike) -> JudgeLike:
    if isinstance(source, str) and _is_url(source):
        return RemoteJudge(source)
    return Scorer.load(source) if isinstance(source, str | Path) else source


def _id(group: object) -> str | int | None:
    return group.id if isinstance(group, Request) else None


def _check_unset(group: Request) -> None:
    """Refuse what the settings decide."""
    if group.orders is not None or group.duplicates != "share":
        raise RequestError(
            f"The group's request has orders={group.orders!r} and duplicates={group.duplicates!r}. Leave them out: "
            "RewardSettings.orders says how a group is read, and equal responses share one score."
        )


def _random(seed: int, key: str) -> random.Random:
    return random.Random(int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode(errors="surrogatepass")).digest()))


def _packs(n: int, settings: RewardSettings, source: random.Random) -> tuple[Members, ...]:
    """Packs of n different responses: all of them in several orders, or random packs in several rounds."""
    size = settings.max_responses
    if size is not None and n > size:
        return draw_packs(n, size, max(settings.orders, ROUNDS), source)
    order = draw_order(n, source)
    turns = draw_orders(n, min(settings.orders, n))
    return tuple(tuple(order[place] for place in turn) for turn in turns)


def _capped(responses: Sequence[Parts], limit: int | None) -> tuple[list[Parts], tuple[Truncation, ...]]:
    """Responses of which at most so many characters are left, and what was cut."""
    if limit is None:
        return list(responses), ()
    kept: list[Parts] = []
    cuts: list[Truncation] = []
    for index, parts in enumerate(responses):
        length = sum(len(part) for part in parts if isinstance(part, str))
        if length <= limit:
            kept.append(parts)
            continue
        room, left = limit, list[str | int]()
        for part in parts:
            if not room:
                break
            left.append(part if isinstance(part, int) else part[:room])
            room -= 0 if isinstance(part, int) else len(part[:room])
        kept.append(tuple(left))
        cuts.append(Truncation(index, length, limit))
    return kept, tuple(cuts)


def _key(parts: Parts, script: Script) -> tuple[object, ...]:
    """Content by which responses are equal: their texts, and their media as they were given.

    Of media that are equal and not given as the same path or object the judge itself finds out within one pack.
    """
    return tuple(part if isinstance(part, str) else _medium(script.media[part]) for part in parts)


def _medium(medium: Image | Video) -> tuple[object, ...]:
    source = medium.source
    return type(medium), str(source) if isinstance(source, str | Path) else id(source)


def _plain(parts: tuple[str | Image | Video, ...]) -> Any:
    return parts[0] if len(parts) == 1 else list(parts)


def _on_one_scale(plan: _Plan, scores: Sequence[Sequence[float]]) -> _Scored:
    """Scores of all N responses from those of each pack."""
    distinct = sorted(set(plan.copies))
    place = {index: k for k, index in enumerate(distinct)}
    back = [place[index] for index in plan.copies]
    packs = [tuple(place[index] for index in pack) for pack in plan.packs]
    if len(packs) == 1:  # the judge's scores themselves, to the last bit
        scores_M = np.empty(len(distinct))
        scores_M[list(packs[0])] = scores[0]
        return _Scored(scores_M[back], None)
    joined = join(len(distinct), packs, scores)
    spread_N = joined.spread_N[back]
    scores_N = (joined.scores_N + joined.offsets_P.mean())[back]
    return _Scored(scores_N, tuple(spread_N.tolist()))


def _dimensions(plan: _Plan, judged: Sequence[Judgement]) -> dict[str, tuple[float, ...]]:
    """Scores of all N responses in each dimension."""
    read = [{one.name: one.scores for one in judgement.dimensions} for judgement in judged]
    return {name: tuple(_on_one_scale(plan, [scores[name] for scores in read]).scores_N.tolist()) for name in read[0]}


def _cuts(plan: _Plan, judged: Sequence[Judgement]) -> tuple[Truncation, ...]:
    """Cuts of the length cap and of the judge by response; of several of one response the shortest that was read."""
    found = {cut.response: cut for cut in plan.cuts}
    for pack, one in zip(plan.packs, judged, strict=True):
        for cut in one.cuts:
            for index in (k for k, first in enumerate(plan.copies) if first == pack[cut.response]):
                before = found.get(index)
                characters = before.characters if before else cut.characters
                kept = min(cut.kept, before.kept) if before else cut.kept
                found[index] = Truncation(index, characters, kept)
    return tuple(found[index] for index in sorted(found))
