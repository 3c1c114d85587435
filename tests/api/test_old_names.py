"""Names of the earlier version: each of the page's table still works, and says the new name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import yoj.bench.cli
import yoj.calibration.cli
import yoj.export.cli
import yoj.runtime
import yoj.training.cli
from yoj.export.quantisation.config import QuantisationConfig, QuantisationSpec, read_config, write_config
from yoj.runtime import Judgement

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs" / "compatibility.md").read_text("utf-8").split("\n## Old names", 1)[1].split("\n## ")[0]
ROWS = dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", SECTION, re.M))


def truncation(_: Path) -> str:
    with pytest.warns(DeprecationWarning, match="yoj.runtime.Cut") as said:
        assert yoj.runtime.Cut is yoj.runtime.Truncation  # pyright: ignore[reportAttributeAccessIssue]
    assert said[0].filename == __file__
    return str(said[0].message)


def sigma(_: Path) -> str:
    judgement = Judgement((1.0,), (1.0,), (1,), 0, None, 0.0, False, sigma=(0.5,))
    with pytest.warns(DeprecationWarning, match="Judgement.spread") as said:
        assert judgement.spread == (0.5,)
    assert said[0].filename == __file__
    return str(said[0].message)


def export_option(name: str) -> Callable[[Path], str]:
    def use(folder: Path) -> str:
        value = str(folder) if name == "--plan" else "float16"
        words = ["build", str(folder / "none"), "--layout", "user", "--out", str(folder / "out"), f"{name}={value}"]
        done = CliRunner().invoke(yoj.export.cli.main, words)
        assert "No such option" not in done.output
        assert str(folder / "none") in done.output  # the option was taken, and the missing checkpoint is what fails
        return done.output

    return use


def calibrate(_: Path) -> str:
    done = CliRunner().invoke(yoj.calibration.cli.main, ["plan", "--help"])
    assert (done.exit_code, "--max-flips" in done.output) == (0, True)
    return done.output


def part(folder: Path) -> str:
    done = CliRunner().invoke(yoj.bench.cli.main, ["run", str(folder), "--part", "contestants"])
    assert "must hold the folder checkpoint" in done.output
    return done.output


def moved(name: str) -> Callable[[Path], str]:
    def use(_: Path) -> str:
        done = CliRunner().invoke(yoj.training.cli.main, [name])
        assert done.exit_code == 1  # moved out of the wheel: it says where it is, and does nothing
        return done.output

    return use


def config_files(old: str) -> Callable[[Path], str]:
    def use(folder: Path) -> str:
        spec = QuantisationSpec(scheme="int8", layers=("trunk.0",), checkpoint={"a/b": "c"})
        write_config(QuantisationConfig(spec, {"trunk.0": torch.ones(2)}), folder)
        for suffix in (".json", ".safetensors"):
            (folder / f"quantisation{suffix}").rename(folder / f"plan{suffix}")
        with pytest.warns(FutureWarning, match=re.escape(old)) as said:
            found = read_config(folder)
        assert found.spec == spec
        assert found.factors.keys() == {"trunk.0"}
        return str(said[0].message)

    return use


USES: dict[str, Callable[[Path], str]] = {
    "yoj.runtime.Cut": truncation,
    "Judgement.spread": sigma,
    "yoj-export --plan": export_option("--plan"),
    "yoj-export --rest": export_option("--rest"),
    "yoj-calibrate plan": calibrate,
    "yoj-bench run --part contestants": part,
    "yoj-train small": moved("small"),
    "yoj-train shapes": moved("shapes"),
    "plan.json": config_files("plan.json"),
    "plan.safetensors": config_files("plan.safetensors"),
}


@pytest.mark.parametrize("old", sorted(USES))
def test_an_old_name_works_and_says_the_new_one(old, tmp_path):
    said = USES[old](tmp_path)
    assert ROWS[old].split()[-1] in said


def test_every_old_name_is_tried():
    assert ROWS.keys() == USES.keys()


def test_the_options_and_commands_that_are_renamed_are_those_of_the_table():
    build = yoj.export.cli.main.commands["build"]
    tables = {"yoj-export": build._renamed, "yoj-calibrate": yoj.calibration.cli.main._renamed}  # pyright: ignore
    renamed = {f"{command} {old}": f"{command} {new}" for command, of in tables.items() for old, new in of.items()}
    assert {old: new for old, new in ROWS.items() if old in renamed} == renamed


@pytest.mark.parametrize("words", [["--help"], ["build", "--help"]])
def test_new_names_are_taken_in_silence(words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = CliRunner().invoke(yoj.export.cli.main, words)
    assert (done.exit_code, "is now" in done.output) == (0, False)
