"""File of results: a run goes on where it stopped, and results of another run are not mixed in."""

from __future__ import annotations

import pytest

from experiments.any_n.results import Results, read_results
from yoj.evaluation._errors import EvaluationError

ABOUT = {"items": 2, "manifest_sha256": "0a"}


def test_what_is_there_is_not_made_again(tmp_path):
    file = tmp_path / "results" / "multi.json"
    key = {"method": "one pack", "n": 4}
    assert Results(file, ABOUT).add(key, lambda: {"top1": 0.5})
    again = Results(file, ABOUT)
    assert not again.add(key, lambda: pytest.fail("it is there"))
    assert again.add({"method": "one pack", "n": 8}, lambda: {"top1": 0.25})
    assert read_results(file.parent) == {
        "multi": {
            "about": ABOUT,
            "records": [
                {"method": "one pack", "n": 4, "top1": 0.5},
                {"method": "one pack", "n": 8, "top1": 0.25},
            ],
        }
    }
    assert [path.name for path in file.parent.iterdir()] == ["multi.json"]


def test_results_of_another_run_are_refused(tmp_path):
    Results(tmp_path / "multi.json", ABOUT).add({"n": 4}, dict)
    with pytest.raises(EvaluationError, match=r"multi\.json has results of another run: items was 2 and is 3\."):
        Results(tmp_path / "multi.json", ABOUT | {"items": 3})


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(EvaluationError, match="has no results; run"):
        read_results(tmp_path)
