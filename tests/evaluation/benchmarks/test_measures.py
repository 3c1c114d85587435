"""Figures that several benchmarks count."""

from __future__ import annotations

import pytest
from benchmark_files import lines_of, scored

from yoj.evaluation import EvaluationError, Item
from yoj.evaluation.benchmarks._measures import accuracy, figures_of, mean_of, pick, write_lines, write_rewards
from yoj.runtime import Request


def item(category="x", ranks=(1.0, 2.0), **native):
    return Item("k", "i", "k", category, Request("Q", ["a", "b"]), ranks, native)


def test_accuracy_counts_failures_and_ties_as_wrong():
    run = [
        scored(item("b"), 2.0, 1.0),
        scored(item("b"), 1.0, 1.0),
        scored(item("a", (2.0, 1.0)), 1.0, 2.0),
        scored(item("a")),
        scored(item("a"), 1.0, 2.0),
    ]
    figures = accuracy(run, "wrong", "overall")
    assert list(figures.values.items()) == [("overall", 0.4), ("category/a", 1 / 3), ("category/b", 0.5)]
    assert figures.counts == {"overall": 5, "category/a": 3, "category/b": 2}
    assert accuracy(run, "right", "overall").values["category/b"] == 1
    assert accuracy(run, "share", "overall").values["category/b"] == 0.75


def test_a_headline_of_no_items_is_no_figure():
    with pytest.raises(EvaluationError, match="no items for the figure 'overall'"):
        accuracy([], "wrong", "overall")


def test_a_mean_stands_after_the_headline_where_all_its_parts_are_there():
    figures = figures_of("all", {"all": [1, 0, 0, 1], "a": [1], "b": [0, 0, 1], "c": []})
    mean = mean_of(figures, "macro", ["a", "b"])
    assert list(mean.values) == ["all", "macro", "a", "b"]
    assert mean.values["macro"] == pytest.approx(2 / 3)
    assert mean.counts == {"all": 4, "macro": 2, "a": 1, "b": 3}
    assert mean_of(figures, "macro", ["a", "c"]) == figures


def test_of_equal_scores_the_worst_is_picked():
    assert pick(scored(item(), 1.0, 1.0)) == 1
    assert pick(scored(item(ranks=(2.0, 1.0)), 1.0, 1.0)) == 0
    assert pick(scored(item(ranks=(2.0, 1.0)), 0.5, 1.0)) == 1
    assert pick(scored(item())) is None


def test_rewards_stand_beside_the_native_fields_in_the_order_of_the_file(tmp_path):
    run = [scored(item(prompt="Wie?", extra=None), 0.25, -1.0), scored(item(prompt="left out"))]
    files = write_rewards(run, tmp_path / "new" / "r.jsonl")
    assert lines_of(files) == [{"prompt": "Wie?", "extra": None, "rewards": [0.25, -1.0]}]


def test_lines_hold_any_text(tmp_path):
    assert lines_of(write_lines(tmp_path / "r.jsonl", [{"a": "é\n\u2028\ud800"}])) == [{"a": "é\n\u2028\ud800"}]
