"""One file of JSON lines to another: few requests in this process, many by the pipeline, with the same results."""

from __future__ import annotations

import pytest
from commands import run_here
from shard_files import read_shard, requests, write_shard

from yoj.runtime.bulk._file import FEW

MANY = FEW + 10


@pytest.fixture
def judge(bundle):
    return bundle("merged", "assistant")


@pytest.fixture
def expected(scorer):
    return [scorer("merged", "assistant").score(row["prompt"], row["responses"]).scores for row in requests(MANY)]


def check(rows: list[dict], expected: list[tuple[float, ...]]) -> None:
    assert [row["line"] for row in rows] == list(range(1, len(expected) + 1))
    assert [row["scores"] for row in rows] == [pytest.approx(scores, abs=1e-4) for scores in expected]


def test_many_requests_have_the_scores_of_a_plain_loop_and_a_run_goes_on(judge, expected, tmp_path):
    lines = write_shard(tmp_path / "in.jsonl", requests(MANY))
    out = tmp_path / "out.jsonl"
    done = run_here("yoj-score", judge, lines, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"{MANY} of {MANY} requests scored, 0 failed" in done.stderr
    check(read_shard(out), expected)
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:5]) + b'{"line":6,')
    again = run_here("yoj-score", judge, lines, "--out", out)
    assert f"{MANY} of {MANY} requests scored, 0 failed, 5 of them in an earlier run" in again.stderr
    check(read_shard(out), expected)


def test_few_requests_with_workers_are_scored_by_processes(judge, expected, tmp_path):
    lines = write_shard(tmp_path / "in.jsonl", requests(6))
    done = run_here("yoj-score", judge, lines, "--workers", 2, "--out", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    check(read_shard(tmp_path / "out.jsonl"), expected[:6])


@pytest.mark.parametrize("count", [6, MANY])
def test_the_share_of_right_answers_is_told(count, judge, expected, tmp_path):
    rows = requests(count)
    for row, scores in zip(rows, expected, strict=False):
        row["rankings"] = [1 + sum(other > score for other in scores) for score in scores]
    rows[0]["rankings"] = rows[0]["rankings"][::-1]  # of two responses
    rows[1]["rankings"] = [1] * len(rows[1]["responses"])  # all tie, so that no answer is wrong
    lines = write_shard(tmp_path / "in.jsonl", rows)
    done = run_here("yoj-score", judge, lines, "--out", tmp_path / "out.jsonl")
    assert f"best response right in {(count - 2) / (count - 1):.1%} of {count - 1} requests" in done.stderr, done.stderr
    assert [row.get("right") for row in read_shard(tmp_path / "out.jsonl")] == [False, None] + [True] * (count - 2)


def test_a_dimension_that_the_judge_has_not_is_an_error_before_anything_is_scored(judge, tmp_path):
    for count in (6, MANY):
        lines = write_shard(tmp_path / f"{count}.jsonl", requests(count))
        done = run_here("yoj-score", judge, lines, "--out", tmp_path / f"{count}.out", "--dimension", "style")
        assert done.returncode == 1
        assert "style" in done.stderr
        assert not (tmp_path / f"{count}.out").read_bytes()
