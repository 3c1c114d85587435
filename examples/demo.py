"""Export two judges of this repository, let one rank answers about a scene and the other edits of a picture.

``make demo`` runs it, and so does this:

python -m examples.demo
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image as Picture

from experiments.edits.dataset import make_item as make_edits
from experiments.edits.dataset import ranks
from experiments.shapes import ShapesConfig, make_item
from yoj.runtime import Image, Judgement, Request, Scorer

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
FOLDER = ROOT / ".demo"
SCENE, EDITED = 0, 5
"""Items of the held-out splits, which the judges were not trained on."""


def main() -> None:
    """A bundle from each checkpoint, in processes of their own; then scores from the bundles, without PyTorch."""
    print("1. checkpoints -> bundles")
    answers = _export("shapes-qwen3_vl", "judge.yoj")
    edits = _export("edits-qwen3_vl", "edits.yoj", "--language")
    print("\n2. bundles -> scores")
    _rank_answers(Scorer.load(answers))
    _rank_edits(Scorer.load(edits))
    assert "torch" not in sys.modules
    print("\nPyTorch was not loaded to score.")


def _export(checkpoint: str, name: str, *options: str) -> Path:
    bundle = FOLDER / name
    command = [Path(sys.executable).with_name("yoj-export"), CHECKPOINTS / checkpoint, "--layout", "assistant"]
    subprocess.run([*map(str, command), "--out", str(bundle), "--force", *options], check=True)
    return bundle


def _rank_answers(scorer: Scorer) -> None:
    """Rank four answers to a question about a scene."""
    item = make_item("held_out", ShapesConfig(items=1, seed=0), SCENE)
    fields, picture = item.fields(), FOLDER / f"scene-{SCENE}.png"
    Picture.fromarray(item.frames[0]).save(picture)
    judgement = scorer.score(fields["prompt"], fields["responses"], images=[picture])
    print(f"\n{picture}: {fields['language']['target']}\n{fields['prompt']}")
    _show(judgement, fields["responses"], fields["rankings"])


def _rank_edits(scorer: Scorer) -> None:
    """Rank four edits of a picture by an instruction, and explain the best and the worst in words."""
    item = make_edits("held_out", 0, EDITED)
    source = FOLDER / f"source-{EDITED}.png"
    edits = [FOLDER / f"edit-{EDITED}-{number}.png" for number in range(len(item.results))]
    for file, drawing in zip([source, *edits], [item.source, *item.results], strict=True):
        Picture.fromarray(drawing.pixels()).save(file)
    request = Request([Image(source), item.instruction], [[Image(edit)] for edit in edits])
    judgement = scorer.score_batch([request])[0]
    print(f"\n{source}\n{item.instruction}")
    _show(judgement, [edit.name for edit in edits], ranks([grade.overall for grade in item.grades()]))
    for name, index in (("best", judgement.best), ("worst", judgement.best_first[-1])):
        print(f"why {edits[index].name} is the {name}: {scorer.rationale(request, index).text}")


def _show(judgement: Judgement, labels: list[str], rankings: list[int]) -> None:
    """Print a judgement beside the truth."""
    print(judgement.table(labels))
    print(f"best by the truth: {labels[rankings.index(1)]!r}; {sum(judgement.timings_ms.values()):.1f} ms")
    if rankings[judgement.best] != 1:
        raise SystemExit("The judge put another response first.")


if __name__ == "__main__":
    main()
