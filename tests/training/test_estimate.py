"""The estimate of a run, over a clock that is turned by hand."""

from __future__ import annotations

import pytest

from yoj.training._estimate import PATIENCE_S, STEPS, Estimate, RunSize, duration

HOW = "float32 on CPU (avx2)"


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(work: RunSize, seconds: list[float], samples: int = 2, tokens: int = 300) -> list[str | None]:
    """What is said after each batch that took so long."""
    clock, said = Clock(), list[str | None]()
    estimate = Estimate(work, clock)
    for one in seconds:
        clock.now += one
        said.append(estimate.add(samples, tokens))
    return said


def test_a_few_steps_without_the_first_batch_give_the_estimate():
    said = told(RunSize(1000, 1, 1, ", nothing is evaluated", HOW), [9.0, 2.0, 4.0, 50.0])
    assert said[: STEPS - 1] == [None] * (STEPS - 1)
    assert said[STEPS:] == [None]
    # 3 s a step, 997 to come: 2,991 s; 4 samples and 600 tokens in 6 s.
    assert said[STEPS - 1] == (
        "About 3 s a step, 50 min for the 997 steps to come, nothing is evaluated; 0.667 samples/s, 100 tokens/s "
        "in float32 on CPU (avx2); from 2 batches after the first."
    )


def test_a_step_of_many_slow_batches_is_not_waited_for():
    said = told(RunSize(10, 64, 1, "", HOW), [6.0, 8.0, 10.0, 10.0])
    assert [one is not None for one in said] == [False, False, True, False]
    # (8 + 10) / 2 s a batch, 64 of them a step.
    assert "About 5.8e+02 s a step" in (said[2] or "")
    assert "1 h 36 min for the 10 steps to come" in (said[2] or "")
    assert "; from 2 batches after the first." in (said[2] or "")


def test_one_batch_is_all_there_is_where_it_takes_long():
    said = told(RunSize(3, 2, 1, "", HOW), [PATIENCE_S + 10, 1.0])
    assert "About 60 s a step, 3 min for the 3 steps to come" in (said[0] or "")
    assert "; from the first batch." in (said[0] or "")
    assert said[1] is None


def test_processes_read_samples_side_by_side():
    said = told(RunSize(1000, 1, 4, "", HOW), [1.0, 2.0, 2.0])
    assert "4 samples/s, 600 tokens/s" in (said[2] or "")


def test_what_goes_into_evaluations_is_left_out():
    clock = Clock()
    estimate = Estimate(RunSize(100, 1, 1, "", HOW), clock)
    for _ in range(STEPS):
        clock.now += 1.0
        said = estimate.add(1, 10)
        clock.now += 500.0
        estimate.go_on()
    assert said is not None
    assert said.startswith("About 1 s a step, 2 min for the 97 steps to come")


def test_short_runs_are_estimated_half_way_and_not_at_their_end():
    assert [one is not None for one in told(RunSize(4, 1, 1, "", HOW), [1.0] * 4)] == [False, True, False, False]
    assert told(RunSize(1, 1, 1, "", HOW), [PATIENCE_S * 2]) == [None]
    assert told(RunSize(2, 1, 1, "", HOW), [1.0, 1.0]) == [None, None]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5000, "83 min"), (12_000, "3 h 20 min"), (187_300, "2 d 4 h")],
)
def test_durations_are_in_units_that_a_person_would_choose(seconds, expected):
    assert duration(seconds) == expected
