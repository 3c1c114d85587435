"""Explanations of the shipped judges put to the test: does the region that a question asks about matter most?

A scene has four places, and most questions ask about one. With that place covered the margin of the winner should
change most.

python -m experiments.explained checkpoints/shapes-qwen3_vl checkpoints/shapes-molmo2
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from yoj.export import ExportConfig, build
from yoj.runtime import Explanation, Request, Scorer

from .shapes import Item, ShapesConfig, make_item
from .shapes.answers import find
from .shipped import Quiet
from .small_judge import HELD_OUT

PLACES = (2, 2)
"""Grid whose regions are the four places of a scene."""
FINE = (4, 4)
"""Grid of an explanation of a square picture unless told otherwise."""
ONE_PLACE = ("identify", "where", "front", "specific")
"""Kinds of questions that are about one place of a picture; others count in all places, or are about videos."""


@dataclass(frozen=True)
class Localised:
    """Figures of one judge: shares of the scenes in which the place that is asked about matters most."""

    scenes: int
    places: float
    """Share with the four places covered one by one; 0.25 by chance."""
    fine: float
    """Share with 16 regions covered one by one: the one that matters most lies in that place; 0.25 by chance."""
    right: float
    """Share as ``places``, of the scenes whose best answer the judge puts first."""
    filled: float
    """Share as ``places``, of the scenes where something is in the place: covering an empty one takes nothing away."""
    kinds: dict[str, float]
    """Share as ``places``, for each kind of question."""


def place_asked(item: Item) -> int:
    """Index of the place that a question of `ONE_PLACE` is about, row by row."""
    return find(item.scene, item.question.about) if item.question.kind == "where" else item.question.place


def strongest(explanation: Explanation) -> int:
    """Place of the region of the one picture that changes the winner's margin most."""
    effects_RC = np.abs(explanation.effects(0))
    row, column = np.unravel_index(effects_RC.argmax(), effects_RC.shape)
    rows, columns = effects_RC.shape
    return int(2 * (2 * row // rows) + 2 * column // columns)


def localise(scorer: Scorer, items: Sequence[Item], grid: tuple[int, int]) -> list[bool]:
    """Whether the place that is asked about matters most, for each item."""
    found: list[bool] = []
    for item in tqdm(items, disable=None):
        fields = item.fields()
        request = Request(fields["prompt"], fields["responses"], item.frames)
        found.append(strongest(scorer.explain(request, grid=grid)) == place_asked(item))
    return found


def draw_items(count: int) -> list[Item]:
    """Items of `ONE_PLACE` among the first ``count`` held-out ones."""
    items = (make_item("held_out", ShapesConfig(count, 0), index) for index in range(count))
    return [item for item in items if item.question.kind in ONE_PLACE]


def measure(scorer: Scorer, items: Sequence[Item]) -> Localised:
    """Figures of a judge on items of `ONE_PLACE`."""
    places, fine = (np.array(localise(scorer, items, grid)) for grid in (PLACES, FINE))
    requests = [Request(item.fields()["prompt"], item.fields()["responses"], item.frames) for item in items]
    best = [judgement.best for judgement in scorer.score_batch(requests)]
    right = np.array([item.rankings()[place] == 1 for item, place in zip(items, best, strict=True)])
    filled = np.array([bool(item.scene.places[place_asked(item)]) for item in items])
    kinds = np.array([item.question.kind for item in items])
    return Localised(
        scenes=len(items),
        places=float(places.mean()),
        fine=float(fine.mean()),
        right=float(places[right].mean()),
        filled=float(places[filled].mean()),
        kinds={kind: float(places[kinds == kind].mean()) for kind in ONE_PLACE},
    )


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--items", default=HELD_OUT, show_default=True, help="Held-out items, from the first on.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Add the figures to this JSON file.")
def main(checkpoints: tuple[Path, ...], items: int, out: Path | None) -> None:
    """Export each judge and explain its judgements of held-out scenes."""
    drawn, figures = draw_items(items), dict[str, Localised]()
    for checkpoint in checkpoints:
        with tempfile.TemporaryDirectory() as place:
            build(ExportConfig([checkpoint], None, "assistant", Path(place) / "judge.yoj", compare=False), Quiet())
            with Scorer.load(Path(place) / "judge.yoj") as scorer:
                figures[checkpoint.name] = measure(scorer, drawn)
    if out is not None:
        known = json.loads(out.read_text("utf-8")) if out.is_file() else {}
        known |= {name: asdict(found) for name, found in figures.items()}
        out.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    click.echo(table(figures))


def table(figures: dict[str, Localised]) -> str:
    """Table as Markdown, a row for each judge."""
    heads = ["judge", "scenes", "place asked about matters most", *ONE_PLACE, "right answers", "filled places", "of 16"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, of in figures.items():
        cells = [f"{share:.1%}" for share in (of.places, *of.kinds.values(), of.right, of.filled, of.fine)]
        lines.append(f"| {name} | {of.scenes} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
