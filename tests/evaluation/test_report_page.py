"""The worst failures of a report."""

from __future__ import annotations

from tiny_benchmark import scored

from yoj.evaluation._report_page import FAILURES, worst_failures


def test_failures_are_sorted_by_the_lead_of_a_worse_response():
    items = [
        scored([1, 2], ((0, 1), (1.0, 0.0)), key="right"),
        scored([1, 2], ((0, 1), (0.0, 1.0)), key="by 1"),
        scored([2, 1, 1], ((0, 1, 2), (5.0, -9.0, 2.0)), key="by 3"),
        scored([1, 2], ((0, 1), (1.0, 1.0)), key="tie"),
        scored([1, 2], key="failed"),
    ]
    assert [one.item.key for one in worst_failures(items, "wrong")] == ["by 3", "by 1", "tie"]
    assert [one.item.key for one in worst_failures(items, "right")] == ["by 3", "by 1"]
    many = [scored([1, 2], ((0, 1), (0.0, float(k))), key=str(k)) for k in range(1, 40)]
    assert [one.item.key for one in worst_failures(many, "wrong")] == [str(k) for k in range(39, 39 - FAILURES, -1)]
