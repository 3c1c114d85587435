"""Starting points of the experiment, at a hundredth of their size."""

from __future__ import annotations

import pytest

from experiments.grpo import prepare
from yoj.runtime import Scorer

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.export]


def test_everything_is_made_once(tmp_path, monkeypatch):
    small = {"JUDGE_STEPS": {"qwen3_vl": 3}, "ITEMS": 100, "HELD_OUT": 10, "START_STEPS": 2, "START_TEXTS": 64}
    for name, value in small.items():
        monkeypatch.setattr(prepare, name, value)
    notes: list[str] = []
    prepare.prepare(tmp_path, notes.append)
    modes = {name: Scorer.load(tmp_path / f"{name}.yoj").manifest.trained_mode for name in ("multi", "single")}
    assert modes == {"multi": "joint", "single": "isolated"}
    assert Scorer.load(tmp_path / "multi-int8.yoj").engine.precision == "int8"
    assert (tmp_path / "start" / "model.safetensors").is_file()
    said = len(notes)
    prepare.prepare(tmp_path, notes.append)
    assert len(notes) == said
