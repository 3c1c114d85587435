"""Comparison of two runs: figures by hand, and runs that do not compare."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_benchmark import TINY, rows, write_rows

from yoj.evaluation import EvaluationError
from yoj.evaluation._benchmark_run import RunSettings, begin, identity, read_items, score
from yoj.evaluation._comparison import compare, comparison_table, open_run
from yoj.evaluation._finish import finish
from yoj.evaluation._judges import JudgeAnswer
from yoj.evaluation._source import open_source
from yoj.evaluation.benchmarks._base import TieRule
from yoj.evaluation.benchmarks._table import BENCHMARKS
from yoj.evaluation.cli import main
from yoj.runtime import Request, RequestError, YojError


@dataclass(frozen=True)
class ByText:
    """Judge whose score of a response is a function of its text and the prompt's number."""

    name: str
    of: Callable[[int, str], float]

    @property
    def about(self) -> dict[str, str]:
        return {"name": self.name}

    def read(self, requests: Sequence[Request]) -> list[JudgeAnswer | YojError]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> JudgeAnswer | YojError:
        number = int(re.findall(r"\d+", str(request.prompt))[0])
        scores = tuple(self.of(number, str(text)) for text in request.responses)
        return RequestError("too much") if scores[0] != scores[0] else JudgeAnswer(scores)


def large(number: int, text: str) -> float:
    """The best response of each row is the large one."""
    return float("large" in text)


GOOD = ByText("good", large)
# Of 12 rows 3 are wrong, in 3 groups of 6.
WORSE = ByText("worse", lambda number, text: (-3.0 if number in (0, 5, 8) else 1.0) * large(number, text))
FAILING = ByText("failing", lambda number, text: float("nan") if number == 4 else large(number, text))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "tiny", TINY)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "tiny.jsonl", rows(12))


def run(out: Path, file: Path, judge: ByText, settings: RunSettings | None = None, ties: TieRule = "wrong") -> Path:
    settings, source = settings or RunSettings(), open_source(str(file), TINY)
    sheet = read_items(TINY, source.path, settings)
    begin(out, identity(TINY, source.record, judge.about, settings), {}, source.check_same)
    finish(out, TINY, sheet, score(sheet, judge, settings, out, lambda count: None), settings, ties)
    return out


@pytest.fixture(scope="module")
def good(file, tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("good") / "run", file, GOOD)


@pytest.fixture(scope="module")
def worse(file, tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("worse") / "run", file, WORSE)


def edited(folder: Path, name: str, out: Path, **fields: object) -> Path:
    """A copy of a run in which a JSON file has other fields."""
    out = shutil.copytree(folder, out)
    content = json.loads((out / name).read_text("utf-8"))
    (out / name).write_text(json.dumps(content | fields), "utf-8")
    return out


def test_figures_of_two_judges(good, worse):
    found = compare(open_run(good), open_run(worse))
    head = found.differences["accuracy"]
    assert (head.first, head.second, head.difference, head.count) == (1.0, 0.75, -0.25, 12)
    assert head.low is not None
    assert head.low < -0.25 < head.high <= 0
    groups = found.differences["groups"]
    assert (groups.first, groups.second, groups.count) == (1.0, 0.5, 6)
    assert {name: one.difference for name, one in found.differences.items() if "category" in name} == {
        "category/form": pytest.approx(-2 / 6),
        "category/colour": pytest.approx(-1 / 6),
    }
    assert (found.mcnemar.only_first, found.mcnemar.only_second, found.mcnemar.p) == (3, 0, 0.25)
    assert (found.answers_differ, found.both_scored) == (3, 12)
    # Of four responses (rows 5 and 8) the scores 1, 0, 0, 0 and -3, 0, 0, 0 begin with 3/4 and -9/4 when centred.
    assert found.score_difference == pytest.approx(3)
    assert found.unlike == ('judge.name was "good" and is "worse"',)
    text = comparison_table(found).text()
    assert "accuracy (headline)" in text
    assert "McNemar, exact, of 12 items: 3 right in the first alone, 0 in the second alone, p = 0.25." in text


def test_the_same_judge_does_not_differ_from_itself(worse):
    found = compare(open_run(worse), open_run(worse))
    assert all((one.difference, one.low, one.high) == (0, 0, 0) for one in found.differences.values())
    assert (found.mcnemar.p, found.answers_differ, found.score_difference, found.unlike) == (1.0, 0, 0.0, ())


def test_items_that_one_judge_failed_on_count_as_wrong(file, good, tmp_path):
    found = compare(open_run(good), open_run(run(tmp_path / "b", file, FAILING)))
    assert found.failed == (0, 1)
    assert (found.both_scored, found.answers_differ, found.mcnemar.only_first) == (11, 0, 1)
    assert found.differences["accuracy"].second == pytest.approx(11 / 12)


def test_runs_that_do_not_compare(file, good, tmp_path):
    first = open_run(good)
    files = {"files": {"tiny.jsonl": {"sha256": "0" * 64}}}
    cases = {
        "tiny.jsonl has the SHA-256": open_run(edited(good, "run.json", tmp_path / "a", source=files)),
        "count as wrong in one and as share in the other": open_run(
            edited(good, "results.json", tmp_path / "b", ties="share")
        ),
        "12 and 5 items, and the item 'r10' is in one alone": open_run(
            run(tmp_path / "c", file, GOOD, RunSettings(limit=5))
        ),
        "one is of tiny, the other of small": replace(first, benchmark=replace(TINY, name="small")),
    }
    for told, second in cases.items():
        with pytest.raises(EvaluationError, match=re.escape(told)):
            compare(first, second)


def test_a_seed_that_differs_is_said(file, good, tmp_path):
    other = run(tmp_path / "b", file, GOOD, RunSettings(seed=3))
    assert compare(open_run(good), open_run(other)).unlike == ("settings.seed was 0 and is 3",)


def test_figures_that_the_predictions_do_not_give_are_refused(good, tmp_path):
    folder = edited(good, "results.json", tmp_path / "a", figures={"accuracy": {"value": 0.5}})
    with pytest.raises(EvaluationError, match=r"give accuracy = 1\.0, its results\.json says 0\.5"):
        open_run(folder)
    (folder / "results.json").unlink()
    with pytest.raises(EvaluationError, match="may not have come to its end"):
        open_run(folder)
    with pytest.raises(EvaluationError, match="is no run of a benchmark that this yoj knows"):
        open_run(edited(good, "run.json", tmp_path / "b", benchmark="old"))


def test_the_command(good, worse, tmp_path):
    file = tmp_path / "comparison.json"
    result = CliRunner().invoke(main, ["compare", str(good), str(worse), "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "Comparison on tiny" in result.output
    assert json.loads(file.read_text("utf-8"))["mcnemar"] == {"only_first": 3, "only_second": 0, "p": 0.25}
    nothing = CliRunner().invoke(main, ["compare", str(good), str(tmp_path)])
    assert nothing.exit_code == 1
    assert "Give a folder that yoj-eval run wrote" in nothing.output
