"""The meeting point: what each sample of a group gets, and what it is told where it gets nothing."""

from __future__ import annotations

import itertools
import pickle
import random
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
import pytest
from meetings import Clock, PaperJudge, paper_reward

from yoj.integrations import GroupReward, GroupSample, MeetingError, MeetingPoint, MeetingSettings, RewardedGroup
from yoj.runtime import EngineError, Request

SECONDS = 30
"""More than any answer takes; a test that needs them has failed."""


@pytest.fixture
def judge() -> PaperJudge:
    return PaperJudge()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meet(judge, clock):
    """A function that opens a meeting point with these settings; all are closed at the end."""
    opened = []

    def opening(**settings) -> MeetingPoint:
        opened.append(MeetingPoint(judge, MeetingSettings(**settings), clock))
        return opened[-1]

    yield opening
    judge.release()
    for one in opened:
        one.close()


def sample(name: str | int, response: str = "", **fields) -> GroupSample:
    return GroupSample(name, response=response or f"answer {name}", **({"prompt": "Which?"} | fields))


def error_of(future: Future) -> MeetingError:
    error = future.exception(SECONDS)
    assert isinstance(error, MeetingError), error
    return error


def test_a_group_is_scored_when_it_is_whole_and_each_gets_its_own_reward(meet, judge):
    meeting = meet()
    futures = [meeting.submit("a", 3, sample(name)) for name in (2, 0)]
    assert not wait(futures, 0).done
    assert meeting.waiting == 2
    futures.append(meeting.submit("a", 3, sample(1)))
    responses = ["answer 0", "answer 1", "answer 2"]
    assert [one.result(SECONDS).reward for one in futures] == [paper_reward("a", responses, k) for k in (2, 0, 1)]
    assert [one.result().place for one in futures] == [2, 0, 1]
    assert [request.id for request in judge.requests] == ["a"]
    assert meeting.waiting == 0


@pytest.mark.parametrize(
    ("ids", "order"),
    [((10, 9, 2), (2, 9, 10)), (("b", "a", "10", "9"), ("10", "9", "a", "b")), (("1", 2, 1, "0"), (1, 2, "0", "1"))],
)
def test_the_order_of_the_pack_is_that_of_the_ids_whoever_came_first(ids, order, meet, judge):
    for turn, arrivals in enumerate(itertools.permutations(ids)):
        meeting = meet()
        futures = {name: meeting.submit("a", len(ids), sample(name, repr(name))) for name in arrivals}
        met = {name: future.result(SECONDS) for name, future in futures.items()}
        assert judge.requests[turn].responses == [repr(name) for name in order]
        assert sorted(met, key=lambda name: met[name].place) == list(order)


def test_what_groups_have_in_common_reaches_the_judge(meet, judge):
    picture = bytes(range(50))
    fields = {"prompt": "<image> Which?", "images": [picture], "placeholders": "media"}
    wait([meet().submit("a", 1, sample("x", **fields))], SECONDS)
    assert judge.requests == [Request("<image> Which?", ["answer x"], [picture], placeholders="media", id="a")]


def test_a_repeat_shares_the_reward_before_and_after_its_group_is_scored(meet, judge):
    """verl fills the last batch up with samples that it has sent already, which must not open a group of their own."""
    meeting = meet()
    futures = [meeting.submit("a", 2, sample(name)) for name in (0, 0, 1, 1, 0)]
    futures += [meeting.submit("a", 2, sample(0)) for _ in range(2) if wait(futures, SECONDS)]
    rewards = [one.result(SECONDS).reward for one in futures]
    assert rewards[:5] == [rewards[0], rewards[0], rewards[2], rewards[2], rewards[0]]
    assert rewards[5:] == [rewards[0]] * 2
    assert len(judge.requests) == 1


def test_equal_responses_of_two_samples_are_two_samples(meet, judge):
    futures = [meeting.submit("a", 2, sample(name, "same")) for meeting in [meet()] for name in (0, 1)]
    assert [one.result(SECONDS).place for one in futures] == [0, 1]
    assert judge.requests[0].responses == ["same", "same"]


def test_a_group_whose_time_is_over_fails_and_says_who_came(meet, clock, judge):
    meeting = meet(timeout=30)
    futures = [meeting.submit("a", 4, sample(name)) for name in ("x", 7)]
    clock.now = 29.9
    meeting.submit("b", 2, sample(0))
    assert not any(one.done() for one in futures)
    clock.now = 30
    late = meeting.submit("a", 4, sample("y"))
    told = {(error_of(one).reason, str(error_of(one))) for one in (*futures, late)}
    text = (
        "Group 'a' had 2 of its 4 samples after 30 s: 7, 'x'. The others were lost, or take longer: look why, or give "
        "the group more time."
    )
    assert told == {("time", text)}
    assert not judge.requests
    assert meeting.waiting == 1


def test_the_thread_itself_sees_that_time_is_over():
    with MeetingPoint(PaperJudge(), MeetingSettings(timeout=0.01)) as meeting:
        assert error_of(meeting.submit("a", 2, sample(0))).reason == "time"


def test_a_group_may_be_scored_with_those_who_came(meet, clock):
    meeting = meet(timeout=30, partial="score")
    pair = [meeting.submit("a", 4, sample(name)) for name in (3, 1)]
    alone = meeting.submit("b", 4, sample(0))
    clock.now = 30
    meeting.submit("c", 2, sample(0))
    responses = ["answer 1", "answer 3"]
    assert [one.result(SECONDS).reward for one in pair] == [paper_reward("a", responses, k) for k in (1, 0)]
    assert error_of(alone).reason == "time"
    late = error_of(meeting.submit("a", 4, sample(2)))
    assert late.reason == "time"
    assert str(late) == "Sample 2 of group 'a' came after the group was scored with 2 of its 4 samples, 1, 3."
    assert meeting.submit("a", 4, sample(1)).result(SECONDS).reward == pair[1].result().reward


@pytest.mark.parametrize(
    ("size", "second", "words"),
    [
        (3, sample(1), "Sample 1 of group 'a' says that the group has 3 samples; the first said 2."),
        (2, sample(1, prompt="Who?"), "Sample 1 of group 'a' has another prompt or other media than sample 0."),
        (2, sample(1, images=[b"other"]), "Sample 1 of group 'a' has another prompt or other media than sample 0."),
        (2, sample(0, "other"), "Sample 0 of group 'a' came twice, with different responses."),
    ],
)
def test_a_contradiction_fails_the_whole_group_that_waits(size, second, words, meet, judge):
    meeting = meet()
    futures = [meeting.submit("a", 2, sample(0)), meeting.submit("a", size, second), meeting.submit("a", 2, sample(1))]
    for one in futures:
        assert error_of(one).reason == "conflict"
        assert str(error_of(one)).startswith(words + " Give each group a key that no other has")
    assert not judge.requests


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize(
    ("size", "given", "while_full", "after"),
    [
        (2, sample(2), "is one too many: the group has 2 samples, 0, 1. Give", "with 2 of its 2 samples, 0, 1. Give"),
        (3, sample(1), "says that the group has 3 samples", "with other content than was scored. Give"),
        (2, sample(1, "other"), "came twice, with different responses", "with other content than was scored. Give"),
        (2, sample(1, prompt="Who?"), "has another prompt", "with other content than was scored. Give"),
    ],
)
def test_a_contradiction_to_a_whole_group_is_told_to_whoever_brings_it_alone(
    scored, size, given, while_full, after, meet, judge
):
    meeting = meet()
    if not scored:
        judge.hold()
    futures = [meeting.submit("a", 2, sample(name)) for name in (0, 1)]
    if scored:
        wait(futures, SECONDS)
    error = error_of(meeting.submit("a", size, given))
    assert (error.reason, (after if scored else while_full) in str(error)) == ("conflict", True), error
    judge.release()
    assert [one.result(SECONDS).place for one in futures] == [0, 1]


def test_the_judges_error_is_that_of_all_and_of_who_comes_again(meet, judge):
    judge.fails["a"] = EngineError("no memory")
    meeting = meet()
    futures = [meeting.submit("a", 2, sample(name)) for name in (0, 1)]
    wait(futures, SECONDS)
    futures.append(meeting.submit("a", 2, sample(0)))
    for one in futures:
        error = error_of(one)
        assert (error.reason, error.__cause__) == ("judge", judge.fails["a"])
        assert str(error) == "The judge failed for group 'a' of 2 samples: no memory"
    assert len({id(one.exception()) for one in futures}) == 3


class Panic(BaseException):
    """What libraries in Rust raise."""


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (lambda requests: [RewardedGroup("a", (1.0,))], "1 rewards came for 2 samples"),
        (lambda requests: [], "zip() argument 2 is shorter"),
        (lambda requests: [RewardedGroup("a", None)], "no reward and no reason"),
        (lambda requests: [RewardedGroup("b", (1.0, 2.0))], "the answer is that of group 'b'"),
        (lambda requests: (_ for _ in ()).throw(Panic("index out of range")), "index out of range"),
    ],
)
def test_what_is_no_judge_fails_the_group_and_ends_nothing(score, words):
    with MeetingPoint(score) as meeting:
        futures = [meeting.submit("a", 2, sample(name)) for name in (0, 1)]
        assert all(words in str(error_of(one)) for one in futures), error_of(futures[0])
        assert error_of(meeting.submit("a", 2, sample(0))).reason == "judge"
        assert error_of(meeting.submit("c", 1, sample(0))).reason == "judge"


def test_a_future_that_is_cancelled_leaves_its_sample(meet):
    meeting = meet()
    gone = meeting.submit("a", 2, sample(0))
    assert gone.cancel()
    other = meeting.submit("a", 2, sample(1))
    assert other.result(SECONDS).reward == paper_reward("a", ["answer 0", "answer 1"], 1)
    assert meeting.submit("a", 2, sample(0)).result(SECONDS).place == 0


def test_closing_answers_who_waits_and_scores_what_is_whole(meet, judge):
    judge.hold()
    meeting = meet()
    whole = [meeting.submit(key, 2, sample(name)) for key in "ab" for name in (0, 1)]
    waiting = meeting.submit("c", 2, sample(0))
    closing = threading.Thread(target=meeting.close)
    closing.start()
    assert error_of(waiting).reason == "closed"
    assert str(error_of(waiting)) == (
        "The meeting point was closed before the group was whole. Send all samples of the group to another one."
    )
    assert error_of(meeting.submit("c", 2, sample(1))).reason == "closed"
    judge.release()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert [one.result(0).place for one in whole] == [0, 1, 0, 1]


def test_over_its_bounds_new_groups_are_refused_and_the_last_sample_of_one_that_is_here_is_not(meet):
    meeting = meet(max_samples=5)
    first = [meeting.submit("a", 3, sample(0)), meeting.submit("b", 2, sample(0))]
    refused = error_of(meeting.submit("c", 1, sample(0)))
    assert refused.reason == "full"
    assert "no room for group 'c': 2 groups of 5 samples" in str(refused)
    first += [meeting.submit(key, size, sample(name)) for key, size, name in (("a", 3, 1), ("a", 3, 2), ("b", 2, 1))]
    assert all(one.result(SECONDS).reward for one in first)
    assert meeting.submit("c", 1, sample(0)).result(SECONDS).place == 0
    assert "6 samples; 5 are the limit" in str(error_of(meeting.submit("d", 6, sample(0))))


def test_media_are_counted_once_for_a_group(meet):
    meeting = meet(max_bytes=250)
    first = [meeting.submit("a", 3, sample(name, images=[bytes(100)])) for name in (0, 1)]
    second = meeting.submit("b", 2, sample(0, images=[bytes(50)]))
    assert error_of(meeting.submit("c", 2, sample(0, images=[bytes(100)]))).reason == "full"
    first.append(meeting.submit("a", 3, sample(2, images=[bytes(100)])))
    assert all(one.result(SECONDS) for one in first)
    third = meeting.submit("d", 2, sample(0, images=[bytes(100)]))
    assert not second.done()
    assert not third.done()


def test_so_many_groups_are_remembered_and_no_more(meet, clock):
    meeting = meet(remembered=2, timeout=10)
    for key in "abc":
        wait([meeting.submit(key, 2, sample(name)) for name in (0, 1)], SECONDS)
    assert meeting.submit("b", 2, sample(0)).result(SECONDS).place == 0
    forgotten = meeting.submit("a", 2, sample(0))
    clock.now = 10
    assert meeting.submit("c", 2, sample(1)).result(SECONDS).place == 1
    assert error_of(forgotten).reason == "time"


def test_whoever_hears_of_a_reward_may_submit_again(meet):
    meeting, heard = meet(), Future()
    one = meeting.submit("a", 1, sample(0))
    one.add_done_callback(lambda _: heard.set_result(meeting.submit("b", 1, sample(0))))
    assert heard.result(SECONDS).result(SECONDS).place == 0


def test_from_many_threads_all_get_their_reward(meet):
    meeting = meet()
    arrivals = [(f"group {group}", name) for group in range(60) for name in range(8)] * 2
    random.Random(0).shuffle(arrivals)
    with ThreadPoolExecutor(16) as pool:
        found = [pool.submit(meeting.submit, key, 8, sample(name, f"{key} {name}")) for key, name in arrivals]
        for (key, name), one in zip(arrivals, found, strict=True):
            responses = [f"{key} {k}" for k in range(8)]
            assert one.result(SECONDS).result(SECONDS).reward == paper_reward(key, responses, name)


@pytest.mark.parametrize(
    ("size", "name", "words"),
    [
        (0, 0, "size of group 'a' is 0"),
        (True, 0, "size of group 'a' is True"),
        (2.0, 0, "size of group 'a' is 2.0"),
        (2, None, "group 'a' is None; give"),
    ],
)
def test_what_is_no_sample_is_refused_at_once(size, name, words, meet):
    with pytest.raises(MeetingError, match=words):
        meet().submit("a", size, sample(name))


def test_the_key_of_a_group_is_a_text(meet):
    with pytest.raises(MeetingError, match="The key of a group is 7; give a text"):
        meet().submit(7, 2, sample(0))


def test_numbers_of_numpy_are_numbers(meet, judge):
    meeting = meet()
    futures = [meeting.submit("a", np.int64(2), sample(name, f"answer {name}")) for name in (np.int32(10), 9)]
    futures.append(meeting.submit("a", 2, sample(10)))
    assert [one.result(SECONDS).place for one in futures] == [1, 0, 1]
    assert judge.requests[0].responses == ["answer 9", "answer 10"]


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "600", None, True])
def test_the_timeout_is_checked(value):
    with pytest.raises(MeetingError, match=re.escape(f"timeout is {value!r}; give a number of seconds above 0.")):
        MeetingSettings(timeout=value)


@pytest.mark.parametrize("value", [0, -1, 2.0, "7", None, True])
@pytest.mark.parametrize("name", ["remembered", "max_samples", "max_bytes"])
def test_bounds_are_checked(name, value):
    with pytest.raises(MeetingError, match=re.escape(f"{name} is {value!r}; give a whole number from 1.")):
        MeetingSettings(**{name: value})


def test_the_treatment_of_partial_groups_is_checked():
    with pytest.raises(MeetingError, match="partial is 'some'; give 'fail' or 'score'"):
        MeetingSettings(partial="some")


def test_errors_cross_processes():
    error = pickle.loads(pickle.dumps(MeetingError("so", "time")))
    assert (str(error), error.reason) == ("so", "time")


def test_rewards_are_those_of_the_scorer_bit_for_bit(scorer):
    texts = {0: "A cat.", 1: "Two dogs on a red sofa.", 2: "Nothing."}
    reward = GroupReward(scorer("qwen3_vl"))
    with MeetingPoint(reward.rewards) as meeting:
        futures = {name: meeting.submit("a", 3, sample(name, texts[name])) for name in (1, 2, 0)}
        met = {name: one.result(SECONDS) for name, one in futures.items()}
    (order,) = met[0].group.orders
    judgement = scorer("qwen3_vl").score("Which?", [texts[k] for k in order])
    scores = dict(zip(order, judgement.scores, strict=True))
    assert [met[0].group.scores[k] for k in range(3)] == [scores[k] for k in range(3)]
    mean = sum(scores.values()) / 3
    assert [met[k].reward for k in range(3)] == pytest.approx([scores[k] - mean for k in range(3)], abs=1e-6)
    (direct,) = reward.rewards([Request("Which?", list(texts.values()), id="a")])
    assert direct.rewards == met[0].group.rewards
