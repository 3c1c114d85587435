"""Rank edits of a picture by an instruction, in each dimension of the judge, and explain the best and the worst.

python -m examples.judge_edits .demo/edits.yoj .demo/source-5.png "Swap the blue square and the purple circle." \\
    .demo/edit-5-0.png .demo/edit-5-1.png .demo/edit-5-2.png .demo/edit-5-3.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from yoj.runtime import Image, Judgement, Request, Scorer


def main(judge: str, source: str, instruction: str, *edits: str) -> None:
    """Judge files; all edits of a source are read in one pass, each compared with the source and with the others."""
    request = Request([Image(source), instruction], [[Image(edit)] for edit in edits], id=source)
    with Scorer.load(judge) as scorer:
        (judgement,) = scorer.score_batch([request])
        explain(scorer, request, judgement, [Path(edit).name for edit in edits])


def explain(scorer: Scorer, request: Request, judgement: Judgement, names: Sequence[str]) -> None:
    """Print the ranking, who is ahead in which dimension, and what the judge writes of the best and the worst."""
    print(judgement.table(names))
    for dimension in judgement.dimensions:
        print(f"best in {dimension.name}: {names[max(range(len(names)), key=dimension.scores.__getitem__)]}")
    for word, index in (("best", judgement.best), ("worst", judgement.best_first[-1])):
        print(f"why {names[index]} is the {word}: {scorer.rationale(request, index).text}")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(f"{__doc__}\nmake demo writes these files.")
    main(*sys.argv[1:])
