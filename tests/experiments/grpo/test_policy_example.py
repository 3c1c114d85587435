"""The example of the README trains, and its policy becomes better."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")

from experiments.grpo.tasks import draw_items, picture

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.export]


def example(*words: str) -> str:
    command = [sys.executable, "-m", "examples.grpo_trl", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> str:
    """The demo's judge, a trained one."""
    out = tmp_path_factory.mktemp("judge") / "judge.yoj"
    words = ["--layout", "assistant", "--no-compare", "--out", str(out)]
    checkpoint = str(ROOT / "checkpoints" / "shapes-qwen3_vl")
    subprocess.run([sys.executable, "-m", "yoj.export", checkpoint, *words], check=True, capture_output=True)
    return str(out)


def test_the_policy_becomes_better(judge):
    said = example(judge, "--steps", "20")
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
    said = example(judge, "--data", str(data), "--steps", "1", "--lora", "4", "--out", str(tmp_path / "policy"))
    assert "Truth" not in said
    assert (tmp_path / "policy" / "adapter_model.safetensors").is_file()
