"""From nothing to a judge of edits that can be shipped, and an arm of the study, with few items and steps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from quiet import Quiet

from experiments import small_judge
from experiments.edits import judges
from experiments.edits.__main__ import main
from experiments.edits.dataset import make_item
from experiments.edits.loop import request_of
from experiments.edits.study import effective_rank
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.runtime import Scorer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder in which every run takes two steps over few items."""
    place = tmp_path_factory.mktemp("edits")
    recipes = place / "recipes"
    recipes.mkdir()
    for name in ("edits-base.yaml", "edits-judge.yaml"):
        recipe = yaml.safe_load((small_judge.RECIPES / name).read_text("utf-8"))
        (recipes / name).write_text(yaml.safe_dump(recipe | {"batch_size": 2, "max_steps": 2}), "utf-8")
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(small_judge, "RECIPES", recipes)
        few = {"ITEMS": 8, "HELD_OUT": 4, "LESSONS": 8, "STEPS": 2, "SETTLED": 2}
        for name, value in few.items():
            changed.setattr(judges, name, value)
        yield place / "made"


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.thorough
def test_a_judge_is_made_from_nothing_scores_edits_and_explains_them(folder: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["judge", str(folder)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    shipped = folder / judges.SHIPPED
    assert {"model.safetensors", "value_head.safetensors", "tokenizer.json"} <= {
        file.name for file in shipped.iterdir()
    }
    bundle = tmp_path / "judge.yoj"
    _, fidelity = build(ExportConfig([shipped], None, "assistant", bundle, language=True), Quiet())
    assert fidelity is not None
    assert fidelity.passed
    with Scorer.load(bundle) as scorer:
        assert scorer.manifest.trained_n == (2, 8)
        item = make_item("held_out", 0, 0)
        request = request_of(item, item.results)
        judgement = scorer.score_batch([request])[0]
        assert [one.name for one in judgement.dimensions] == ["instruction", "quality"]
        assert scorer.rationale(request, 0, max_tokens=4).tokens


@pytest.mark.slow
def test_an_arm_is_measured_once_and_reported(folder: Path, tmp_path: Path) -> None:
    arm = ["study", str(folder), "--share", "0.5", "--seed", "1", "--steps", "2", "--results", str(tmp_path)]
    ran = CliRunner().invoke(main, arm, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    found = json.loads((tmp_path / "share-0.5-seed-1.json").read_text("utf-8"))
    (record,) = found["records"]
    assert (record["share"], record["seed"], found["about"]["steps"]) == (0.5, 1, 2)
    assert set(record["pairwise"]) == {"instruction", "quality"}
    assert 1 <= record["effective_rank"] <= record["width"]
    assert "step" not in CliRunner().invoke(main, arm).output
    told = CliRunner().invoke(main, ["report", "--results", str(tmp_path)])
    assert told.output.startswith("| share of language |")


@pytest.mark.parametrize(
    ("states", "rank"),
    [
        (np.eye(5), 5.0),
        (np.outer(np.arange(1, 7), np.arange(1, 5)), 1.0),
        # Squared singular values 9 and 1: the shares are 0.9 and 0.1.
        (np.diag([3.0, 1.0]), math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))),
    ],
)
def test_the_effective_rank_counts_directions_by_their_share(states: np.ndarray, rank: float) -> None:
    assert effective_rank(states.astype(np.float32)) == pytest.approx(rank, abs=1e-4)
