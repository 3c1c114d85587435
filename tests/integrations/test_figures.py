"""Figures of groups in the logs of trainers."""

from __future__ import annotations

from yoj.integrations import RewardedGroup
from yoj.integrations._figures import figures, report
from yoj.runtime import RequestError, Truncation

GROUP = RewardedGroup(
    "a",
    (-1.0, 1.0),
    scores=(2.0, 4.0),
    mean=3.0,
    spread=1.0,
    flat=True,
    order_spread=(0.25, 0.75),
    cuts=(Truncation(0, 9, 3),),
    milliseconds=8.0,
)


def test_each_group_has_the_same_figures():
    assert figures(GROUP) == {
        "yoj/mean": 3.0,
        "yoj/spread": 1.0,
        "yoj/flat": 1.0,
        "yoj/order_spread": 0.5,
        "yoj/cuts": 1.0,
        "yoj/milliseconds": 8.0,
    }
    assert figures(RewardedGroup("b", (0.0,), mean=-2.0, spread=0.0)).keys() == figures(GROUP).keys()


def test_means_and_failures_are_logged(caplog):
    caplog.set_level("INFO", "yoj.integrations")
    other = RewardedGroup("b", (0.0, 0.0), scores=(1.0, 1.0), mean=1.0, spread=0.0)
    report([GROUP, other, RewardedGroup("c", None, RequestError("It is no prompt."))])
    means, failure = (record.getMessage() for record in caplog.records)
    assert means.startswith("2 groups: yoj/mean 2, yoj/spread 0.5, yoj/flat 0.5, yoj/order_spread 0.25, yoj/cuts 0.5")
    assert failure == "group 'c' has no rewards: It is no prompt."


def test_nothing_is_said_of_no_groups(caplog):
    caplog.set_level("INFO", "yoj.integrations")
    report([])
    assert caplog.records == []
