"""Export a judge of this repository and let it rank the answers to a question about a scene. ``make demo`` runs it.

python -m examples.demo
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from experiments.shapes import ShapesConfig, make_item
from yoj.runtime import Scorer

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "checkpoints" / "shapes-qwen3_vl"
FOLDER = ROOT / ".demo"
ITEMS = (0, 6)
"""Of the held-out split, which the judge was not trained on."""


def main() -> None:
    """Two steps: a bundle from the checkpoint, in a process of its own; scores from the bundle, without PyTorch."""
    bundle = FOLDER / "judge.yoj"
    print("1. checkpoint -> bundle")
    export = [Path(sys.executable).with_name("yoj-export"), CHECKPOINT, "--layout", "assistant", "--out", bundle]
    subprocess.run([*map(str, export), "--force"], check=True)

    print("\n2. bundle -> scores")
    scorer = Scorer.load(bundle)
    for index in ITEMS:
        item = make_item("held_out", ShapesConfig(items=1, seed=0), index)
        fields, picture = item.fields(), FOLDER / f"scene-{index}.png"
        Image.fromarray(item.frames[0]).save(picture)
        judgement = scorer.score(fields["prompt"], fields["responses"], images=[picture])
        best = fields["responses"][fields["rankings"].index(1)]
        print(f"\n{picture}: {fields['language']['target']}\n{fields['prompt']}")
        print(judgement.table(fields["responses"]))
        print(f"best by the scene: {best!r}; {sum(judgement.timings_ms.values()):.1f} ms")
        if fields["rankings"][judgement.best] != 1:
            raise SystemExit("The judge put another answer first.")
    assert "torch" not in sys.modules
    print("\nPyTorch was not loaded to score.")


if __name__ == "__main__":
    main()
