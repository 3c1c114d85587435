"""A run of the experiment with TRL's trainer, of two steps, and the policy's processor beside the official parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("trl")

from experiments.grpo.policy import open_processor
from experiments.grpo.run import RunConfig, run, write
from experiments.grpo.tasks import draw_items, picture

BASE = Path(__file__).parents[3] / "checkpoints" / "shapes-qwen3_vl" / "base"


@pytest.mark.slow
def test_a_run_says_what_happened(tmp_path):
    shutil.copytree(BASE, tmp_path / "start")
    config = RunConfig("truth", group=4, seed=1, steps=2, samples=8)
    notes: list[str] = []
    result = run(config, tmp_path, notes.append)
    write(result, tmp_path / "results" / f"{config.name}.json")
    found = json.loads((tmp_path / "results" / "truth-group-4-seed-1.json").read_text("utf-8"))
    assert found == result
    assert [one["step"] for one in found["held_out"]] == [0]
    assert notes[0].startswith("step 0: truth 0.")
    assert len(found["step_seconds"]) == 2
    assert {len(values) for values in found["steps"].values()} == {2}
    assert found["steps"]["agreement"] == [1.0, 1.0]


def test_the_processor_needs_no_torchvision():
    item = draw_items("processor", 1, 0)[0]
    processor = open_processor(BASE)
    parts = [{"type": "image", "image": picture(item)}, {"type": "text", "text": "What is shown?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=True, return_dict=True, return_tensors="np"
    )
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 4]]
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 4
    # The mean of the pixels, undone by hand.
    mean = (inputs["pixel_values"] * 0.25 + 0.17).mean() * 255
    assert mean == pytest.approx(np.asarray(picture(item)).mean(), abs=0.5)
