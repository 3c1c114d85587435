"""Copies of a prompt that are spread over ranks get what one rank gives them, and none waits for ever."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "trainers" / "images_on_ranks.py"

pytestmark = [pytest.mark.export, pytest.mark.slow]


def rows(*shares: str) -> list[list[list]]:
    """Rows of each rank: the letter of a prompt, its source, and the seed of the image."""
    count = [0]

    def row(name: str) -> list:
        count[0] += 1
        return [f"Change {name.lower()}", 100 + name.islower(), count[0]]

    return [[row(name) for name in share] for share in shares]


@pytest.fixture(scope="module")
def found(bundle, tmp_path_factory) -> dict[str, list[dict]]:
    """Name of a case -> what both ranks got, and then what one rank got that had all rows."""
    folder = tmp_path_factory.mktemp("ranks")
    path = str(bundle("qwen3_vl", "assistant"))
    cases = {
        "shuffled": {"rows": rows("abacbc", "cabacb")},
        "unlike shares": {"rows": rows("ab", "abbaab")},
        "whole": {"rows": rows("aaaa", "bbbb")},
        "one prompt of two sources": {"rows": rows("aAaA", "AaAa")},
        "a row was drawn twice": {"rows": rows("aaaab", "aabbbaa")},
        "from threads": {"rows": rows("abab", "baba"), "threads": True},
        "one fails": {"rows": rows("abab", "baba"), "spoilt": [5], "on_error": "zero"},
        "one fails and stops": {"rows": rows("abab", "baba"), "spoilt": [6]},
        "a part": {"rows": rows("aba", "bab")},
        "no gathering": {"rows": rows("abab", "baba"), "gather": False},
        "whole without gathering": {"rows": rows("aaaa", "bbbb"), "gather": False},
        "a rank cannot read": {"rows": rows("abab", "baba"), "prompts": {"1": 3}},
        "a judge is missing": {"rows": rows("aaab", "bbba"), "judges": [path, "gone.yoj"]},
        "made too early": {"rows": rows("aa", "aa")},
        "at last": {"rows": rows("a", "aaa")},
    }
    cases = {name: {"judges": [path, path]} | case for name, case in cases.items()}
    file, meeting = folder / "cases.json", folder / "meeting"
    file.write_text(json.dumps(cases))

    def start(rank: int, count: int) -> subprocess.Popen:
        command = [sys.executable, str(SCRIPT), str(rank), str(count), str(meeting), str(file)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def results(processes: list[subprocess.Popen]) -> list[dict]:
        said = [process.communicate(timeout=400) for process in processes]
        assert all(process.returncode == 0 for process in processes), [error[-3000:] for _, error in said]
        return [json.loads(out) for out, _ in said]

    of_ranks = results([start(0, 2), start(1, 2)]) + results([start(0, 1)])
    return {name: [one[name] for one in of_ranks] for name in cases}


@pytest.mark.parametrize(
    "case",
    [
        "shuffled",
        "unlike shares",
        "whole",
        "one prompt of two sources",
        "a row was drawn twice",
        "one fails",
        "at last",
    ],
)
def test_ranks_get_what_one_rank_gets(found, case):
    first, second, alone = found[case]
    for name in ("rewards", "score", "group"):
        assert first[name] + second[name] == alone[name]
    assert any(alone["rewards"])


def test_calls_from_threads_meet_those_of_the_other_rank(found):
    first, second, alone = found["from threads"]
    for name in ("rewards", "score"):
        assert [a + b for a, b in zip(first[name], second[name], strict=True)] == alone[name]
    assert len({tuple(one) for one in alone["rewards"]}) == 4


def test_a_group_that_fails_gets_zero_on_all_ranks(found):
    first, second, alone = found["one fails"]
    assert (first["failures"].keys(), second["failures"].keys()) == ({"1", "3"}, {"0", "2"})
    assert [reward == 0 for reward in alone["rewards"]] == [False, True] * 2 + [True, False] * 2
    texts = {*first["failures"].values(), *second["failures"].values()}
    assert len(texts) == 1
    assert re.match(r"rank 1, images\[0\] has .* NaN or infinite", texts.pop())
    assert re.match(r"images\[4\] has .* NaN or infinite", alone["failures"]["1"])


@pytest.mark.parametrize(
    ("case", "first", "second"),
    [
        ("one fails and stops", "rank 1, images[1] has 168", "rank 1, images[1] has 168"),
        ("a part", "RequestError: 3 rows", "RequestError: 3 rows"),
        ("no gathering", "RequestError: 2 rows", "RequestError: 2 rows"),
        ("a rank cannot read", "Rank 1 failed: RequestError: There are 4 images", "RequestError: There are 4 images"),
        ("a judge is missing", "Rank 1 failed: ", "gone.yoj"),
        ("made too early", "has 2 ranks, and had 1 when", "has 2 ranks, and had 1 when"),
    ],
)
def test_what_stops_one_rank_stops_all(found, case, first, second):
    assert first in found[case][0]["error"]
    assert second in found[case][1]["error"]


def test_ranks_that_do_not_gather_are_on_their_own(found):
    first, second, alone = found["whole without gathering"]
    assert first["rewards"] + second["rewards"] == alone["rewards"]
    assert second["group"] == [0] * 4
