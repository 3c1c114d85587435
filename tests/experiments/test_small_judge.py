"""From nothing to a checkpoint that can be shipped, with few lines and steps."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from quiet import Quiet
from safetensors.torch import load_file
from tiers import with_variants

from experiments import small_judge
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.runtime import Scorer

pytestmark = pytest.mark.export


@pytest.fixture
def brief(monkeypatch, tmp_path):
    """Every stage takes two steps over few lines."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name in ("small-base.yaml", "small-judge.yaml"):
        recipe = yaml.safe_load((small_judge.RECIPES / name).read_text("utf-8"))
        (recipes / name).write_text(yaml.safe_dump(recipe | {"batch_size": 4, "max_steps": 2}), "utf-8")
    monkeypatch.setattr(small_judge, "RECIPES", recipes)
    mixed = {"train": (24, 4), "train-8": (4, 8), "train-16": (4, 16)}
    few = {"TEXTS": 64, "HELD_OUT": 8, "TOKENIZED": 64, "MIXED": mixed}
    for name, value in few.items():
        monkeypatch.setattr(small_judge, name, value)
    brief = {name: tuple(replace(stage, steps=2) for stage in of) for name, of in small_judge.STAGES.items()}
    monkeypatch.setattr(small_judge, "STAGES", brief)
    monkeypatch.setattr(small_judge, "JUDGE_STEPS", dict.fromkeys(brief, 2))
    later = {name: tuple(replace(stage, steps=2) for stage in of) for name, of in small_judge.LATER.items()}
    monkeypatch.setattr(small_judge, "LATER", later)


@pytest.mark.thorough
@pytest.mark.parametrize("family", with_variants(["qwen3_vl", "molmo2"]))
def test_a_judge_is_made_from_nothing_and_exports(family, brief, tmp_path):
    notes = list[str]()
    small_judge.make(family, tmp_path / "made", 0, notes.append)
    shipped = tmp_path / "made" / f"shapes-{family}"
    assert "requests" in notes[-1]
    assert {"optimizer.pt", "training_state.json"}.isdisjoint(path.name for path in shipped.rglob("*"))
    assert json.loads((shipped / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] == "base"
    base = load_file(shipped / "base" / "model.safetensors")
    assert {str(value.dtype) for value in base.values()} == {"torch.bfloat16"}

    out = tmp_path / "judge.yoj"
    _, fidelity = build(ExportConfig([shipped], None, "assistant", out), Quiet())
    assert fidelity is not None
    assert fidelity.passed
    assert fidelity.token_ids_equal
    assert fidelity.reference.startswith(("Molmo2Model", "Qwen3VLModel"))
    assert Scorer.load(out).manifest.trained_n == (2, 16)
    judgement = Scorer.load(out).score("Where is the red shape?", ["In the top left.", "In the top right."])
    assert len(judgement.scores) == 2


@pytest.mark.thorough
def test_what_is_there_is_not_made_again(brief, tmp_path):
    small_judge.make("qwen3_vl", tmp_path, 0, lambda _: None)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}
    base = (tmp_path / "base-qwen3_vl" / "model.safetensors").stat().st_mtime_ns
    small_judge.make("qwen3_vl", tmp_path, 0, lambda _: None)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")} == files
    assert (tmp_path / "base-qwen3_vl" / "model.safetensors").stat().st_mtime_ns == base
