"""Ranks of a distributed training get for groups that straddle them what one rank gets, and none waits for ever."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_group import RESPONSES

SCRIPT = Path(__file__).parent / "trainers" / "on_ranks.py"
LONG = "word " * 30_000
"""More than any bundle takes."""

pytestmark = [pytest.mark.export, pytest.mark.slow]


def rows(groups: str, *shares: int, long: Sequence[int] = ()) -> list[list[list]]:
    """Rows of prompts named by letters, split over ranks; those of ``b`` and ``c`` have pictures."""
    colours = {"a": None, "b": "red", "c": "blue"}
    every = [
        [f"What is {name}?", LONG if k in long else f"{RESPONSES[k % 5]} {k}", colours[name]]
        for k, name in enumerate(groups)
    ]
    bounds = [sum(shares[:k]) for k in range(len(shares) + 1)]
    return [every[a:b] for a, b in itertools.pairwise(bounds)]


@pytest.fixture(scope="module")
def found(bundle, tmp_path_factory) -> dict[str, list[dict]]:
    """Name of a case -> what both ranks got, and then what one rank got that had all rows."""
    folder = tmp_path_factory.mktemp("ranks")
    path = str(bundle("qwen3_vl", "assistant"))
    cases = {
        "one group over both": {"rows": rows("bbbb", 2, 2)},
        "one of three over both": {"rows": rows("aaaabbbbcccc", 6, 6)},
        "whole groups": {"rows": rows("aaaabbbbcccc", 4, 8)},
        "asynchronous": {"rows": rows("aaaabbbbcccc", 6, 6), "asynchronous": True},
        "asynchronous and whole": {"rows": rows("aaaabbbb", 4, 4), "asynchronous": True},
        "one fails": {"rows": rows("aaaabbbbcccc", 6, 6, long=[7])},
        "one fails and stops": {"rows": rows("aaaabbbbcccc", 4, 8, long=[6]), "on_error": "raise"},
        "no groups": {"rows": rows("aaaabbbc", 6, 2)},
        "no whole groups": {"rows": rows("aaaabb", 4, 2)},
        "a rank cannot read": {"rows": rows("aaaabbbb", 4, 4), "completions": {"1": 3}},
        "a judge is missing": {"rows": rows("aaaabbbb", 6, 2), "judges": [path, "gone.yoj"]},
        "a judge is missing of whole groups": {"rows": rows("aaaabbbb", 4, 4), "judges": [path, "gone.yoj"]},
        "at last": {"rows": rows("bbbb", 1, 3)},
    }
    cases = {name: {"size": 4, "judges": [path, path]} | case for name, case in cases.items()}
    file, meeting = folder / "cases.json", folder / "meeting"
    file.write_text(json.dumps(cases))

    def start(rank: int, count: int) -> subprocess.Popen:
        command = [sys.executable, str(SCRIPT), str(rank), str(count), str(meeting), str(file)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def results(processes: list[subprocess.Popen]) -> list[dict]:
        said = [process.communicate(timeout=200) for process in processes]
        assert all(process.returncode == 0 for process in processes), [error[-3000:] for _, error in said]
        return [json.loads(out) for out, _ in said]

    of_ranks = results([start(0, 2), start(1, 2)]) + results([start(0, 1)])
    return {name: [one[name] for one in of_ranks] for name in cases}


GOOD = [
    "one group over both",
    "one of three over both",
    "whole groups",
    "asynchronous",
    "asynchronous and whole",
    "one fails",
    "at last",
]


@pytest.mark.parametrize("name", GOOD)
def test_ranks_get_what_one_rank_gets(name, found):
    first, second, alone = found[name]
    assert first["rewards"] + second["rewards"] == alone["rewards"]
    for column in ("yoj_score", "yoj_place"):
        assert first["extra"][column] + second["extra"][column] == alone["extra"][column]


@pytest.mark.parametrize("name", GOOD)
def test_each_group_is_logged_once(name, found):
    first, second, alone = (
        sorted(metric for metric in one["metrics"] if metric[0] != "yoj/milliseconds") for one in found[name]
    )
    assert sorted(first + second) == alone


def test_a_failing_group_is_none_on_both_ranks(found):
    first, second, _ = found["one fails"]
    assert first["rewards"][4:] == [None, None]
    assert second["rewards"][:2] == [None, None]
    assert None not in first["rewards"][:4] + second["rewards"][2:]


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [
        ("one fails and stops", (1, "LengthError: "), (0, "RequestError: Rank 1 failed: LengthError: ")),
        ("a rank cannot read", (1, "RequestError: There are 4 prompts and 3"), (0, "RequestError: Rank 1 failed: ")),
        ("a judge is missing", (1, "BundleError: "), (0, "RequestError: Rank 1 failed: BundleError: ")),
        ("a judge is missing of whole groups", (1, "BundleError: "), (0, "RequestError: Rank 1 failed: BundleError: ")),
    ],
)
def test_what_stops_one_rank_stops_both(name, own, other, found):
    for rank, text in (own, other):
        assert found[name][rank]["error"].startswith(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no groups", "RequestError: Rows 4 and 7 of this call have different prompts"),
        ("no whole groups", "RequestError: This call has 6 rows over all ranks"),
    ],
)
def test_rows_that_are_no_groups_stop_both_ranks(name, text, found):
    for one in found[name]:
        assert one["error"].startswith(text)
