"""The actor of Ray: samples of a group that several workers hold meet in it, also where its process dies meanwhile."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from yoj.integrations import GroupReward, GroupSample, MeetingError, MeetingSettings, RewardSettings
from yoj.integrations.ray import meeting_actor
from yoj.runtime import Request

ray = pytest.importorskip("ray")

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
TEXTS = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A cat and a dog."]
SECONDS = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200_000_000,
        logging_level="warning",
        runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


def expected(judge: str, key: str, prompt: str) -> list[float]:
    (group,) = GroupReward(judge).rewards([Request(prompt, TEXTS, id=key)])
    assert group.rewards is not None
    return list(group.rewards)


def test_samples_of_several_workers_meet(cluster, bundle):
    judge, groups = str(bundle("qwen3_vl", "assistant")), 5
    arrivals = [
        (f"g{g}", GroupSample(k, f"Which of {g}?", text)) for g in range(groups) for k, text in enumerate(TEXTS)
    ]
    random.Random(1).shuffle(arrivals)
    shares = [arrivals[:7], arrivals[7:15], [*arrivals[15:], arrivals[0]]]  # the last as verl fills up a batch

    @ray.remote(num_cpus=0)
    def work(share: list[tuple[str, GroupSample]]) -> list[float]:
        actor = meeting_actor("meeting", judge)
        return [met.reward for met in ray.get([actor.reward.remote(key, len(TEXTS), one) for key, one in share])]

    found = ray.get([work.remote(share) for share in shares], timeout=SECONDS)
    right = {f"g{g}": expected(judge, f"g{g}", f"Which of {g}?") for g in range(groups)}
    for share, rewards in zip(shares, found, strict=True):
        assert rewards == [right[key][one.id] for key, one in share]


def test_an_actor_with_other_settings_is_no_such_actor(cluster, bundle):
    judge = str(bundle("qwen3_vl", "assistant"))
    there = meeting_actor("other", judge, RewardSettings(seed=1))
    with pytest.raises(MeetingError, match=r"The actor 'other' is there with .*seed=1.*asked for was .*seed=2"):
        meeting_actor("other", judge, RewardSettings(seed=2))
    assert meeting_actor("other", judge, RewardSettings(seed=1)) == there


def test_the_same_judge_and_settings_may_be_written_in_several_ways(cluster, bundle):
    judge = bundle("qwen3_vl", "assistant")
    there = meeting_actor("same", str(judge))
    assert meeting_actor("same", Path(judge), RewardSettings(), MeetingSettings()) == there
    assert meeting_actor("same", f"{judge}/", RewardSettings(spread_floor=0.02), MeetingSettings(timeout=600)) == there


def test_a_judge_that_cannot_be_opened_is_told_to_who_starts_the_actor(cluster, bundle):
    missing = f"{bundle('qwen3_vl', 'assistant')}/missing.yoj"
    with pytest.raises(ray.exceptions.RayActorError, match=r"missing\.yoj"):
        meeting_actor("wrong", missing)


def test_the_reason_crosses_processes(cluster, bundle):
    actor = meeting_actor("short", str(bundle("qwen3_vl", "assistant")), meeting=MeetingSettings(timeout=0.1))
    with pytest.raises(MeetingError, match=r"had 1 of its 2 samples after 0\.1 s: 0") as caught:
        ray.get(actor.reward.remote("a", 2, GroupSample(0, "Which?", "A cat.")), timeout=SECONDS)
    assert caught.value.reason == "time"


def test_many_more_samples_may_wait_than_ray_takes_by_itself(cluster, bundle):
    judge = str(bundle("qwen3_vl", "assistant"))
    actor = meeting_actor("many", judge)
    firsts = [actor.reward.remote(f"g{g}", 2, GroupSample(0, "Which?", TEXTS[0])) for g in range(2500)]
    last = actor.reward.remote("g7", 2, GroupSample(1, "Which?", TEXTS[1]))
    reward, other = (met.reward for met in ray.get([firsts[7], last], timeout=SECONDS))
    (group,) = GroupReward(judge).rewards([Request("Which?", TEXTS[:2], id="g7")])
    assert (reward, other) == group.rewards
    ray.kill(actor)


def test_what_waited_in_a_process_that_died_is_sent_again(cluster, bundle):
    judge = str(bundle("qwen3_vl", "assistant"))
    actor = meeting_actor("dying", judge)
    first = [actor.reward.remote("a", 4, GroupSample(k, "Which?", TEXTS[k])) for k in (2, 0)]
    while ray.get(actor.waiting.remote(), timeout=SECONDS) < 2:
        pass
    ray.kill(actor, no_restart=False)
    rest = [actor.reward.remote("a", 4, GroupSample(k, "Which?", TEXTS[k])) for k in (3, 1)]
    rewards = {met.place: met.reward for met in ray.get([*first, *rest], timeout=SECONDS)}
    assert rewards == dict(enumerate(expected(judge, "a", "Which?")))
