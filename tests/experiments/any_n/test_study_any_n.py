"""The command, from a bundle to tables."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from experiments.any_n import study
from experiments.any_n.__main__ import main
from experiments.any_n.errors import PROBES


@pytest.mark.export
@pytest.mark.slow
def test_a_run_goes_on_and_is_reported(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SIZES", (2, 4))
    monkeypatch.setattr(study, "PROBES", {name: (probe, (4,)) for name, (probe, _) in PROBES.items()})
    command = ["run", f"tiny={bundle('qwen3_vl', 'assistant')}", "--items", "4", "--results", str(tmp_path)]
    ran = CliRunner().invoke(main, command, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert [line.partition(":")[0] for line in ran.output.splitlines()] == ["tiny"] * (5 + 6)
    found = json.loads((tmp_path / "tiny.json").read_text("utf-8"))
    assert [(one["n"], one.get("method", one.get("probe"))) for one in found["records"]] == [
        (2, "one pack"), (2, "isolated"), (4, "one pack"), (4, "4 orders"), (4, "isolated"),
        *((4, name) for name in PROBES),
    ]  # fmt: skip
    assert (found["about"]["items"], found["about"]["trained_mode"]) == (4, "joint")
    assert CliRunner().invoke(main, command).output == ""
    other = CliRunner().invoke(main, [*command[:2], "--items", "5", "--results", str(tmp_path)])
    assert "items was 4 and is 5" in other.output
    told = CliRunner().invoke(main, ["report", "--results", str(tmp_path), "--plot", str(tmp_path / "n.svg")])
    assert told.exit_code == 0, told.output
    assert "| tiny | 4 orders |" in told.output
    assert (tmp_path / "n.svg").is_file()


@pytest.mark.parametrize(
    ("given", "error"), [(["a"], "a: give NAME=PATH"), (["a=b", "a=c"], "two judges have one name")]
)
def test_judges_have_names(given, error):
    assert error in CliRunner().invoke(main, ["run", *given]).output
