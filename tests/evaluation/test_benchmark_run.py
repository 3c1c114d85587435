"""Reading a benchmark, the record of a run, and a server that goes away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from tiny_benchmark import TINY, rows, write_rows

from yoj.evaluation import EvaluationError
from yoj.evaluation._benchmark_run import (
    RunSettings,
    Sheet,
    begin,
    differences,
    identity,
    judged,
    read_items,
    read_run,
    score,
    told_refusals,
)
from yoj.evaluation._judges import JudgeAnswer
from yoj.evaluation._predictions import read_predictions
from yoj.integrations import RemoteError
from yoj.runtime import Request, YojError


@dataclass
class Away:
    """Judge that answers so many calls, and is away afterwards."""

    calls: int
    sizes: list[int] = field(default_factory=list)
    about = {"name": "away"}  # noqa: RUF012

    def read(self, requests: Sequence[Request]) -> list[JudgeAnswer | YojError]:
        self.sizes.append(len(requests))
        if len(self.sizes) > self.calls:
            return [RemoteError("http://here: nobody is there.") for _ in requests]
        return [JudgeAnswer(tuple(float(len(str(text))) for text in request.responses)) for request in requests]


def sheet(tmp_path, count: int = 20) -> Sheet:
    return read_items(TINY, write_rows(tmp_path / "tiny.jsonl", rows(count)), RunSettings())


def test_a_server_that_went_away_stops_the_run_and_keeps_what_was_scored(tmp_path):
    items, told = sheet(tmp_path), []
    away = Away(1)
    with pytest.raises(EvaluationError, match=r"scored none of 16 requests: .* repeat the command"):
        score(items, away, RunSettings(), tmp_path, told.append)
    assert away.sizes == [16, 16]
    assert [one.key for one in read_predictions(tmp_path / "predictions.jsonl")] == [f"r{k}" for k in range(8)]
    back = Away(9)
    found = score(items, back, RunSettings(), tmp_path, told.append)
    assert back.sizes == [16, 8]
    assert told == [0, 8, 8, 8, 4]
    assert [one.key for one in found] == [f"r{k}" for k in range(20)]
    first, second = judged(items, found)[0].passes
    assert first.scores == second.scores == (20.0, 11.0)  # by response, in whatever place it stood


def test_predictions_of_other_items_are_refused(tmp_path):
    score(sheet(tmp_path), Away(9), RunSettings(), tmp_path, lambda count: None)
    with pytest.raises(EvaluationError, match="has the item 'r3', which is none of this run"):
        score(sheet(tmp_path, 3), Away(9), RunSettings(), tmp_path, lambda count: None)


def test_refused_rows_are_counted_and_named(tmp_path):
    found = rows(9)
    for number in (1, 2, 3, 4, 5):
        found[number]["responses"][0] = ""
    read = read_items(TINY, write_rows(tmp_path / "tiny.jsonl", [*found, found[0]]), RunSettings())
    assert read.kinds == {"empty response": 5, "duplicate key": 1}
    text = told_refusals(read)
    assert text.startswith("6 of 10 rows cannot be scored:\n  empty response: 5\n    row 2 (r1): responses[0] is empty")
    assert "... and 2 more" in text
    assert "row 10 (r0)" in text


def test_half_a_character_is_found_before_anything_is_scored(tmp_path):
    found = [row | {"kind": "a\ud800"} if number == 1 else row for number, row in enumerate(rows(3))]
    read = read_items(TINY, write_rows(tmp_path / "tiny.jsonl", [*found, rows(1)[0] | {"id": "\udfff"}]), RunSettings())
    assert read.kinds == {"unwritable value": 2}
    assert [item.key for item in read.items] == ["r0", "r2"]
    assert "\\udfff" in told_refusals(read)


def test_pictures_that_are_none_are_found_before_anything_is_scored(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    found = [row | {"image": "a.png"} if number == 1 else row for number, row in enumerate(rows(3))]
    read = read_items(TINY, write_rows(tmp_path / "tiny.jsonl", found), RunSettings())
    assert read.kinds == {"unreadable image": 1}
    assert "a.png) is no picture that can be read: its format is not known" in told_refusals(read)


def test_a_file_without_rows_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="holds no row of tiny"):
        read_items(TINY, write_rows(tmp_path / "tiny.jsonl", []), RunSettings())


def test_differences_are_named():
    one = {"a": {"b": 1, "c": [1, 2]}, "d": 1, "old": 0}
    assert differences(one, {"a": {"b": 1, "c": [1, 2]}, "d": 1}) == []
    assert differences(one, {"a": {"b": 2, "e": None}, "d": "x"}) == [
        "a.b was 1 and is 2",
        "a.c was [1, 2] and is null",
        'd was 1 and is "x"',
    ]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    def accept(earlier: object) -> None: ...

    facts = identity(TINY, {"files": {}}, {"given_by": "bundle"}, RunSettings())
    begin(tmp_path / "run", facts, {"path": "x"}, accept)
    assert read_run(tmp_path / "run") == facts | {"notes": {"path": "x"}}
    begin(tmp_path / "run", facts, {"path": "y"}, accept)
    assert read_run(tmp_path / "run")["notes"] == {"path": "x"}  # that of the first scores
    served = identity(TINY, {"files": {}}, {"given_by": "url"}, RunSettings())
    with pytest.raises(EvaluationError, match='given_by was "bundle" and is "url"'):
        begin(tmp_path / "run", served, {"path": "x"}, accept)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("")
    with pytest.raises(EvaluationError, match=r"holds files and no run\.json"):
        begin(tmp_path / "thesis", facts, {}, accept)
    for text in ("{", "[]"):
        (tmp_path / "run" / "run.json").write_text(text)
        with pytest.raises(EvaluationError, match="Give a folder that yoj-eval run wrote"):
            read_run(tmp_path / "run")
    assert json.loads(json.dumps(facts)) == facts
