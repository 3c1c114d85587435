"""A trained judge to a bundle, and scores of four answers about a picture. Run by ``make demo``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from yoj.runtime import Scorer
from yoj.training.shapes import Recipe, make_item

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "checkpoints" / "shapes-qwen3_vl"
BUNDLE = ROOT / ".demo" / "judge.yoj"
SCENE = ROOT / ".demo" / "scene.png"
ITEM = 3
"""Of the task's demonstration split, which no judge was trained on."""


def main() -> None:
    """Two steps: a bundle from the checkpoint, in a process of its own; scores from the bundle, without PyTorch."""
    print("1. checkpoint -> bundle")
    export = [Path(sys.executable).with_name("yoj-export"), CHECKPOINT, "--layout", "assistant", "--out", BUNDLE]
    subprocess.run([*map(str, export), "--force"], check=True)

    print(f"\n2. bundle -> scores of four answers about {SCENE.relative_to(ROOT)}")
    item = make_item("demo", Recipe(items=ITEM + 1, seed=0, kinds=("specific",)), ITEM)
    fields = item.fields()
    Image.fromarray(item.frames[0]).save(SCENE)
    prompt, answers, rankings = fields["prompt"], fields["responses"], item.rankings()
    print(f"what is in it: {fields['language']['target']}")
    judgement = Scorer.load(BUNDLE).score(prompt, answers, images=[SCENE])
    print(f"\n{prompt}\n{judgement.table(answers)}")
    print(", ".join(f"{phase} {ms:.1f} ms" for phase, ms in judgement.timings_ms.items() if phase != "batch"))
    best = rankings.index(1)
    verdict = "right" if judgement.best == best else "wrong"
    print(f"The best answer is {best}, {answers[best]!r}: the judge is {verdict}.")
    assert "torch" not in sys.modules
    print("PyTorch was not loaded to score.")
    sys.exit(judgement.best != best)


if __name__ == "__main__":
    main()
