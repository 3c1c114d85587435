"""Files of figures, and names that yoj 0.1 had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from yoj.bench._errors import BenchError
from yoj.bench._records import write_figures
from yoj.bench._results import read_results
from yoj.bench.cli import main

RESULTS = Path(__file__).parents[2] / "bench" / "results"
AVX2 = {"instruction_sets": ["avx2"], "machine": "x86_64"}


def test_figures_go_to_the_folder_of_the_kind_of_cpu(tmp_path):
    write_figures(tmp_path / "{kind}" / "figures.json", {"a": 1.5, "b": float("nan")}, AVX2)
    assert json.loads((tmp_path / "avx2" / "figures.json").read_text("utf-8")) == {"a": 1.5, "b": None}


def test_named_figures_stand_beside_others(tmp_path):
    file = tmp_path / "figures.json"
    for name, value in (("first", 1), ("second", 2), ("first", 3)):
        write_figures(file, {"value": value}, AVX2, name)
    assert json.loads(file.read_text("utf-8")) == {"first": {"value": 3}, "second": {"value": 2}}


@pytest.mark.parametrize("text", ["no json", "[1]"])
def test_a_file_of_something_else_is_kept(text, tmp_path):
    file = tmp_path / "figures.json"
    file.write_text(text, "utf-8")
    with pytest.raises(BenchError, match="Give another --out"):
        write_figures(file, {}, AVX2, "name")
    assert file.read_text("utf-8") == text


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_figures(None, {}, AVX2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "file", [RESULTS / "avx2" / "deep.json", RESULTS / "avx512-vnni" / "sweeps.json"], ids=lambda f: f.stem
)
def test_results_are_written_with_the_keys_that_they_were_read_with(file, tmp_path):
    """Results keep their keys that were written before the variants had their name."""
    results = read_results(file)
    assert any(judge.variants or judge.sweeps for judge in results.judges)
    write_figures(tmp_path / "again.json", results, results.environment)
    again = json.loads((tmp_path / "again.json").read_text("utf-8"))
    before = json.loads(file.read_text("utf-8").replace("as the reference runs it", "as the YOJO code runs it"))
    assert [judge["contestants"] for judge in again["judges"]] == [judge["contestants"] for judge in before["judges"]]
    for part in ("sweeps", "load"):
        assert [judge[part] for judge in again["judges"]] == [judge.get(part, []) for judge in before["judges"]]


def test_the_old_name_of_a_part_works_with_a_warning(tmp_path):
    done = CliRunner().invoke(main, ["run", str(tmp_path), "--part", "contestants", "--threads", "1"])
    assert "--part contestants is now --part variants" in done.output
    assert "must hold the folder checkpoint" in done.output
    other = CliRunner().invoke(main, ["run", str(tmp_path), "--part", "rivals"])
    assert (other.exit_code, "rivals" in other.output) == (2, True)
