"""Export the small checkpoint of this repository and score a photograph with four answers. Run by ``make demo``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from yoj.runtime import Scorer

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "tests" / "golden" / "data" / "checkpoint-merged"
BUNDLE = ROOT / ".demo" / "judge.yoj"
PROMPT = "What animal is in the picture?"
ANSWERS = ["A tabby cat that looks at the camera.", "A dog.", "Two parrots on a branch.", "There is no animal."]


def photograph() -> Path:
    """Chelsea the cat, by Stefan van der Walt, CC0; it comes inside the wheel of scikit-image."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "chelsea.png"


def main() -> None:
    """Two steps: a bundle from the checkpoint, in a process of its own; scores from the bundle, without PyTorch."""
    print("1. checkpoint -> bundle")
    export = [Path(sys.executable).with_name("yoj-export"), CHECKPOINT, "--layout", "assistant", "--out", BUNDLE]
    subprocess.run([*map(str, export), "--force"], check=True)

    print("\n2. bundle -> scores of four answers about a photograph (chelsea.png of scikit-image, CC0)")
    judgement = Scorer.load(BUNDLE).score(PROMPT, ANSWERS, images=[photograph()])
    print(f"\n{PROMPT}\n{judgement.table(ANSWERS)}")
    print(", ".join(f"{phase} {ms:.1f} ms" for phase, ms in judgement.timings_ms.items() if phase != "batch"))
    assert "torch" not in sys.modules
    print("\nPyTorch was not loaded to score.")
    print("This checkpoint has random weights, so the ranking means nothing; the figures above it are real.")


if __name__ == "__main__":
    main()
