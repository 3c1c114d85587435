"""The meeting point against a model of it: any arrivals, losses, repeats, contradictions and restarts."""

from __future__ import annotations

import random
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from meetings import Clock, PaperJudge, paper_reward

from yoj.integrations import GroupSample, MeetingError, MeetingPoint, MeetingSettings
from yoj.runtime import EngineError

KEYS, IDS, TIMEOUT, MOST = ("a", "b", "c", "poison"), (0, 1, 2, 10, "1", "x"), 100.0, 9
SECONDS = 10
keys, names, sizes = st.sampled_from(KEYS), st.sampled_from(IDS), st.sampled_from((2, 2, 3))
texts = st.sampled_from(("", "", "", "other"))


@dataclass
class Model:
    """What is known of one group."""

    size: int
    prompt: str
    opened: float
    responses: dict[int | str, str] = field(default_factory=dict)
    waiting: list[tuple[int | str, Future]] = field(default_factory=list)
    whole: bool = False
    ends: str | None = None
    """Reason of a failure, or ``met``; None while it is here."""

    def reward(self, key: str, name: int | str) -> float:
        numbers = sorted(one for one in self.responses if isinstance(one, int))
        order = [*numbers, *sorted(one for one in self.responses if isinstance(one, str))]
        return paper_reward(key, [self.responses[one] for one in order], order.index(name))


class Meetings(RuleBasedStateMachine):
    """All that callers can do, in any order, while the judge may be held."""

    partial = "fail"

    def __init__(self):
        super().__init__()
        self.clock, self.judge = Clock(), PaperJudge(fails={"poison": EngineError("poisoned")})
        self.ticks = 0
        self.open()

    def open(self) -> None:
        settings = MeetingSettings(timeout=TIMEOUT, partial=self.partial, max_samples=MOST)
        self.meeting = MeetingPoint(self.judge, settings, self.clock)
        self.groups: dict[str, Model] = {}
        self.expected: list[tuple[Future, str, float | None]] = []
        self.held = False

    @rule(key=keys, size=sizes, name=names, text=texts, prompt=st.sampled_from(("p", "p", "p", "q")))
    def arrive(self, key, size, name, text, prompt):
        future = self.meeting.submit(key, size, GroupSample(name, prompt, f"{name}{text}"))
        self.expire()
        group = self.groups.get(key)
        if group is None:
            if sum(one.size for one in self.groups.values() if one.ends is None) + size > MOST:
                self.expected.append((future, "full", None))
                return
            group = self.groups[key] = Model(size, prompt, self.clock.now)
        same = (size, prompt) == (group.size, group.prompt)
        fits = same and group.responses.get(name, f"{name}{text}") == f"{name}{text}"
        if group.ends not in (None, "met"):
            self.expected.append((future, group.ends, None))
        elif not fits or (group.whole and name not in group.responses):
            late = group.ends == "met" and name not in group.responses and len(group.responses) < group.size
            self.expected.append((future, "time" if late else "conflict", None))
            if not group.whole:
                self.end(group, "conflict")
        else:
            group.responses[name] = f"{name}{text}"
            group.waiting.append((name, future))
            group.whole |= len(group.responses) == size

    def expire(self) -> None:
        for group in self.groups.values():
            if group.ends is None and not group.whole and group.opened + TIMEOUT <= self.clock.now:
                if self.partial == "score" and len(group.responses) > 1:
                    group.whole = True
                else:
                    self.end(group, "time")

    def end(self, group: Model, reason: str) -> None:
        group.ends = reason
        self.expected += [(future, reason, None) for _, future in group.waiting]
        group.waiting = []

    @rule(seconds=st.sampled_from((10.0, 60.0, 100.0)))
    def pass_time(self, seconds):
        self.clock.now += seconds
        self.ticks += 1
        self.tick = self.meeting.submit(
            "tick", 2, GroupSample(self.ticks, "p", "")
        )  # so that the thread looks at the clock
        self.tick.cancel()
        self.expire()
        self.count_tick()

    def count_tick(self) -> None:
        """The samples that make it tick are a group of their own, like any other."""
        room = sum(one.size for name, one in self.groups.items() if one.ends is None and name != "tick") + 2 <= MOST
        group = self.groups.get("tick")
        if group is None and room:
            group = self.groups["tick"] = Model(2, "p", self.clock.now)
        if group is not None and group.ends is None and not group.whole:
            group.responses[self.ticks] = ""
            group.whole = len(group.responses) == 2

    @rule(data=st.data())
    def cancel(self, data):
        waiting = [(group, entry) for group in self.groups.values() if group.ends is None for entry in group.waiting]
        if waiting and self.held:  # else it may be answered meanwhile
            group, entry = data.draw(st.sampled_from(waiting))
            if entry[1].cancel():
                group.waiting.remove(entry)

    @rule()
    def hold(self):
        self.settle()
        self.judge.hold()
        self.held = True

    @rule()
    def release(self):
        self.judge.release()
        self.held = False

    @rule()
    def restart(self):
        """The process ends; callers send again what they like to another one."""
        self.release()
        self.meeting.close()
        for group in self.groups.values():
            if group.ends is None and not group.whole:
                self.end(group, "closed")
        self.settle()
        self.open()

    def settle(self) -> None:
        """What is whole is scored, and what is expected has come."""
        if not self.held:
            for key, group in self.groups.items():
                if group.ends is None and group.whole:
                    group.ends = "judge" if key == "poison" else "met"
                    for name, future in group.waiting:
                        met = group.ends == "met"
                        self.expected.append((future, group.ends, group.reward(key, name) if met else None))
                    group.waiting = []
                elif group.ends == "met":
                    for name, future in group.waiting:
                        self.expected.append((future, "met", group.reward(key, name)))
                    group.waiting = []
        for future, reason, reward in self.expected:
            if reward is None:
                error = future.exception(SECONDS)
                assert isinstance(error, MeetingError)
                assert error.reason == reason
            else:
                assert future.result(SECONDS).reward == reward
        self.expected = []
        # Groups of which nobody waits any more take their places until they are scored, too.
        here = sum(len(group.responses) for group in self.groups.values() if group.ends is None)
        end = time.monotonic() + SECONDS
        while not self.held and self.meeting.waiting != here:
            assert time.monotonic() < end
            time.sleep(0)

    @invariant()
    def all_is_as_the_model_says(self):
        self.settle()
        here = [entry for group in self.groups.values() for entry in group.waiting]
        assert not any(future.done() and not future.cancelled() for _, future in here)

    def teardown(self):
        self.restart()
        self.meeting.close()


class ScoringMeetings(Meetings):
    """The same where a group may be scored without those who did not come."""

    partial = "score"


QUICK = settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestMeetings = pytest.mark.slow(Meetings.TestCase)
TestMeetings.settings = QUICK
TestScoringMeetings = pytest.mark.slow(ScoringMeetings.TestCase)
TestScoringMeetings.settings = QUICK


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 5), st.floats(0, 0.3))
def test_callers_who_lose_answers_and_try_again_get_the_rewards_of_a_quiet_run(seed, groups, size, loss):
    """Each caller sends its sample until it has heard its answer; sending and hearing fail by chance."""
    draw = random.Random(seed)
    left = [(f"group {group}", name) for group in range(groups) for name in range(size)]
    heard: dict[tuple[str, int], float] = {}
    pending: list[tuple[tuple[str, int], Future]] = []
    with MeetingPoint(PaperJudge()) as meeting:
        while left or pending:
            if left and (not pending or draw.random() < 0.7):
                one = left.pop(draw.randrange(len(left)))
                if draw.random() < loss:
                    left.append(one)  # lost on its way
                    continue
                pending.append((one, meeting.submit(one[0], size, GroupSample(one[1], "p", f"{one}"))))
                continue
            one, future = pending.pop(draw.randrange(len(pending)))
            if not future.done() and (left or draw.random() < loss):
                left.append(one)  # gave up waiting
            elif draw.random() < loss:
                left.append(one)  # the answer was lost
            else:
                heard[one] = future.result(SECONDS).reward
    responses = {key: [f"{(key, name)}" for name in range(size)] for key, _ in heard}
    assert heard == {(key, name): paper_reward(key, responses[key], name) for key, name in heard}
    assert len(heard) == groups * size
