"""Export two judges of this repository, let one rank answers about scenes and the other edits of pictures, and show it.

``make demo`` runs it, and so does this:

python -m examples.demo
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image as Picture

from examples.judge_edits import explain
from experiments.edits.dataset import make_item as make_edits
from experiments.edits.dataset import ranks, write_edits
from experiments.shapes import ShapesConfig, make_item, write_items
from yoj.runtime import Image, Judgement, Request, Scorer

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "checkpoints"
FOLDER = ROOT / ".demo"
SCENE, EDITED = 0, 5
"""Items of the held-out splits, which the judges were not trained on."""
SHOWN = 12
"""Items on each page, from the first."""


def main() -> None:
    """A bundle from each checkpoint, in processes of their own; then scores from the bundles, without PyTorch."""
    print("1. checkpoints -> bundles")
    answers = _export("shapes-qwen3_vl", "judge.yoj")
    edits = _export("edits-qwen3_vl", "edits.yoj", "--language")
    print("\n2. bundles -> scores")
    with Scorer.load(answers) as scorer:
        rank_answers(scorer, FOLDER)
    with Scorer.load(edits) as scorer:
        rank_edits(scorer, FOLDER)
    assert "torch" not in sys.modules
    print("\nPyTorch was not loaded to score.\n\n3. scores -> pages to look at")
    for page in write_pages(answers, edits, FOLDER):
        print(page.as_uri())


def rank_answers(scorer: Scorer, folder: Path) -> None:
    """Rank four answers to a question about a scene."""
    item = make_item("held_out", ShapesConfig(items=1, seed=0), SCENE)
    fields, picture = item.fields(), folder / f"scene-{SCENE}.png"
    Picture.fromarray(item.frames[0]).save(picture)
    judgement = scorer.score(fields["prompt"], fields["responses"], images=[picture])
    print(f"\n{picture}: {fields['language']['target']}\n{fields['prompt']}\n{judgement.table(fields['responses'])}")
    _check(judgement, fields["responses"], fields["rankings"])


def rank_edits(scorer: Scorer, folder: Path) -> None:
    """Rank four edits of a picture by an instruction, and explain the best and the worst in words."""
    item = make_edits("held_out", 0, EDITED)
    source = folder / f"source-{EDITED}.png"
    edits = [folder / f"edit-{EDITED}-{number}.png" for number in range(len(item.results))]
    for file, drawing in zip([source, *edits], [item.source, *item.results], strict=True):
        Picture.fromarray(drawing.pixels()).save(file)
    request = Request([Image(source), item.instruction], [[Image(edit)] for edit in edits])
    judgement, names = scorer.score_batch([request])[0], [edit.name for edit in edits]
    print(f"\n{source}\n{item.instruction}")
    explain(scorer, request, judgement, names)
    _check(judgement, names, ranks([grade.overall for grade in item.grades()]))


def write_pages(answers: Path, edits: Path, folder: Path) -> list[Path]:
    """Let the command write a page for each judge: held-out items, what was judged of them, and why."""
    write_items(folder / "scenes", "held_out", ShapesConfig(SHOWN, seed=0), lambda _: None)
    write_edits(folder / "edits", "held_out", SHOWN, 0, lambda _: None)
    scenes = _page(answers, folder / "scenes" / "held_out.jsonl", folder / "scenes.html")
    return [scenes, _page(edits, folder / "edits" / "held_out.jsonl", folder / "edits.html", "--rationale", "best")]


def _page(bundle: Path, requests: Path, page: Path, *options: str) -> Path:
    command = [_program("yoj-score"), bundle, requests, "--explain", "--html", page, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # where the scores go, as lines of JSON
    return page


def _export(checkpoint: str, name: str, *options: str) -> Path:
    bundle = FOLDER / name
    command = [_program("yoj-export"), CHECKPOINTS / checkpoint, "--layout", "assistant", "--out", bundle, "--force"]
    subprocess.run([*command, *options], check=True)
    return bundle


def _program(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def _check(judgement: Judgement, labels: list[str], rankings: list[int]) -> None:
    """Compare a judgement with the truth."""
    print(f"best by the truth: {labels[rankings.index(1)]!r}; {sum(judgement.timings_ms.values()):.1f} ms")
    if rankings[judgement.best] != 1:
        raise SystemExit("The judge put another response first.")


if __name__ == "__main__":
    main()
