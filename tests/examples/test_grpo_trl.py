"""The example trains, and its policy becomes better."""

from __future__ import annotations

import json
import re

import pytest
from run_examples import run_example

pytest.importorskip("trl")

from experiments.grpo.tasks import draw_items, picture

pytestmark = [pytest.mark.slow, pytest.mark.export]


@pytest.mark.thorough
def test_the_policy_becomes_better(judge):
    said = run_example("grpo_trl", judge, "--steps", 20)
    before, after = map(float, re.findall(r"(0\.\d+) (?:before|after training)", said))
    assert before == pytest.approx(0.33, abs=0.02)
    assert after > before + 0.1


def test_questions_of_a_file_and_adapters(judge, tmp_path):
    lines = []
    for k, item in enumerate(draw_items("example", 8, 0)):
        picture(item).save(tmp_path / f"{k}.png")
        lines.append(json.dumps({"prompt": item.fields()["prompt"], "image": str(tmp_path / f"{k}.png")}))
    data = tmp_path / "prompts.jsonl"
    data.write_text("\n".join(lines), "utf-8")
    said = run_example("grpo_trl", judge, "--data", data, "--steps", 1, "--lora", 4, "--out", tmp_path / "policy")
    assert "Truth" not in said
    assert (tmp_path / "policy" / "adapter_model.safetensors").is_file()
