"""Accuracy of the shipped judges in each precision, measured on the held-out items of their task.

python -m experiments.shipped checkpoints/shapes-qwen3_vl checkpoints/shapes-molmo2 --precision float16
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from yoj.calibration import CalibratedModel, SearchConfig, choose, collect, search
from yoj.export import ExportConfig, build
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.quantisation.config import write_config
from yoj.export.verification.scorer import open_scorer
from yoj.export.verification.stock_model import StockModel
from yoj.runtime import Image, Request
from yoj.runtime.bundle import Bundle
from yoj.runtime.dimensions import pool
from yoj.runtime.families import Arrays
from yoj.runtime.lines import read_requests
from yoj.runtime.machine import instruction_sets
from yoj.runtime.manifest import ValueHead
from yoj.runtime.schemes import SCHEMES
from yoj.training.evaluation import hit
from yoj.training.samples import NumberedSample, read_samples, texts_alone

from .edits.dataset import write_edits
from .shapes import ShapesConfig, write_items
from .shapes.render import SIDE
from .small_judge import HELD_OUT


@dataclass(frozen=True)
class Figures:
    """Figures of one judge."""

    items: int
    best_of_4: float
    """Share of the items whose best answer the exported bundle puts first."""
    blind: dict[str, float]
    """Share of such items without something that has to be known: what the judge would guess."""
    kinds: dict[str, float]
    """Share of such items for each kind of question."""
    agreement: float
    """Share of the items in which the bundle and the stock model in PyTorch float32 put the same answer first."""
    difference: float
    """Largest difference between their scores."""
    megabytes: float
    """Size of the checkpoint: base, adapter, head."""
    instruction_sets: tuple[str, ...]
    """Instruction sets of the CPU of the measurement; products of 8 bits take other kernels by these."""


@dataclass(frozen=True)
class Task:
    """Task that judges of this repository are made for."""

    write: Callable[[Path, str, int, int], None]
    """Function that writes a file of items: its folder, its name, the number of items and the seed."""
    blind: dict[str, Callable[[NumberedSample], Request]]
    """Name of what is left out -> function that gives the request of an item without it."""


def _write_shapes(folder: Path, name: str, items: int, seed: int) -> None:
    write_items(folder, name, ShapesConfig(items, seed), lambda _: None)


def _write_edits(folder: Path, name: str, items: int, seed: int) -> None:
    write_edits(folder, name, items, seed, lambda _: None)


def _changed(change: Callable[[Any], Any]) -> Callable[[NumberedSample], Request]:
    """Request of an item with the parts of its prompt changed; those that become None are left out."""

    def request(numbered: NumberedSample) -> Request:
        whole = numbered.request()
        parts: Any = whole.prompt
        return replace(whole, prompt=[part for part in map(change, parts) if part is not None])

    return request


def _hide(part: Any) -> Any:
    """Grey picture in the place of a picture, and texts as they are."""
    return part if isinstance(part, str) else Image(np.full((SIDE, SIDE, 3), 40, np.uint8))


TASKS = {
    "shapes": Task(_write_shapes, {"text alone": lambda numbered: texts_alone(numbered.request())}),
    "edits": Task(
        _write_edits,
        {
            "source hidden": _changed(_hide),
            "no instruction": _changed(lambda part: None if isinstance(part, str) else part),
        },
    ),
}
"""First word of a checkpoint's name -> the task of its judge."""


class Quiet:
    """Progress of an export that nobody watches."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None:
        """Ignore a new stage."""

    def advance(self, count: int) -> None:
        """Ignore written bytes."""

    def note(self, text: str) -> None:
        """Ignore steps."""


CALIBRATION, CHOICE, CALIBRATION_SEED = 256, 200, 1_000
"""Items for statistics and for the choice of smoothing, from seeds that no other split has."""


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--items", default=HELD_OUT, show_default=True, help="Held-out items, from the first on.")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    default=["float32"],
    type=click.Choice(["float32", "float16", "bfloat16", *SCHEMES]),
    show_default=True,
    help="Precision of the bundle; may be repeated. PyTorch runs bfloat16, which ONNX Runtime's CPU kernels lack.",
)
@click.option("--vision", is_flag=True, help="Quantise the vision tower too, in quantised precisions.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Add the figures to this JSON file.")
def main(
    checkpoints: tuple[Path, ...], items: int, precisions: tuple[Any, ...], vision: bool, out: Path | None
) -> None:
    """Export each judge and compare it with its stock model on the held-out items.

    In the file figures of CPUs without VNNI stand beside those of others.
    """
    vnni = any("vnni" in name for name in instruction_sets())
    kind = f"{' vision' if vision else ''}{'' if vnni else ', no VNNI'}"
    figures = {
        f"{checkpoint.name} {precision}{kind}": measure(checkpoint, items, precision, vision)
        for checkpoint in checkpoints
        for precision in precisions
    }
    if out is not None:
        known = json.loads(out.read_text("utf-8")) if out.is_file() else {}
        known |= {name: asdict(found) for name, found in figures.items()}
        out.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    click.echo(table(figures))


def measure(folder: Path, items: int, precision: str = "float32", vision: bool = False) -> Figures:
    """Export a judge, and score ``items`` held-out items with the bundle and with the stock model in float32.

    For a quantised precision all matrices of the trunk are quantised, and with ``vision`` those of the tower; the
    statistics and the config are from other items.
    """
    checkpoint, task = Checkpoint.open([folder]), TASKS[folder.name.partition("-")[0]]
    family = open_family(checkpoint)
    with tempfile.TemporaryDirectory() as place:
        bundle = Path(place) / "judge.yoj"
        config = quantisation_config(checkpoint, precision, Path(place), vision, task) if precision in SCHEMES else None
        # What eight bits do is measured here, on all items; an export's own comparison would stop the worst of them.
        export = ExportConfig(
            [folder], None, "assistant", bundle, precision=precision, quantisation=config, compare=config is None
        )
        build(export, Quiet())
        task.write(Path(place), "held_out", items, 0)
        samples, _ = read_samples(Path(place) / "held_out.jsonl")
        scorer = open_scorer(Bundle.open(bundle), checkpoint, family)
        seen = [judgement.scores for judgement in scorer.score_batch([s.request() for s in samples])]
        blind = {
            name: [judgement.scores for judgement in scorer.score_batch([asked(s) for s in samples])]
            for name, asked in task.blind.items()
        }
        stock = StockModel(checkpoint, family)
        expected = [
            _ranking(stock.outputs(scorer.prepare(s.request()), scorer.family), scorer.manifest.value_head)
            for s in tqdm(samples, desc=folder.name, disable=None)
        ]
    hits = [hit(scores, numbered) for scores, numbered in zip(seen, samples, strict=True)]
    kinds = sorted({numbered.sample.kind or "" for numbered in samples})
    of = {k: [right for right, s in zip(hits, samples, strict=True) if s.sample.kind == k] for k in kinds}
    pairs = list(zip(seen, expected, strict=True))
    return Figures(
        items=len(samples),
        best_of_4=float(np.mean(hits)),
        blind={
            name: float(np.mean([hit(scores, s) for scores, s in zip(found, samples, strict=True)]))
            for name, found in blind.items()
        },
        kinds={kind: float(np.mean(found)) for kind, found in of.items()},
        agreement=float(np.mean([np.argmax(a) == np.argmax(b) for a, b in pairs])),
        difference=max(float(np.abs(np.array(a) - np.array(b)).max()) for a, b in pairs),
        megabytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6,
        instruction_sets=instruction_sets(),
    )


def _ranking(outputs: Arrays, head: ValueHead) -> tuple[float, ...]:
    """Scores [N] that rank, of the stock model's outputs for one request: pooled where the head has dimensions."""
    if not head.dimensions:
        return tuple(outputs["scores"].tolist())
    each = [{name: of[None, :, place] for name, of in outputs.items()} for place in range(len(head.dimensions))]
    return tuple(pool(each, head.pooling)["scores"][0].tolist())


def quantisation_config(checkpoint: Checkpoint, scheme: Any, place: Path, vision: bool, task: Task) -> Path:
    """Quantisation config for all matrices of a small judge, from items of its task; `place` is a folder for both.

    Static ranges are the plain ones, without smoothing.
    """
    task.write(place, "calibration", CALIBRATION, CALIBRATION_SEED)
    task.write(place, "choice", CHOICE, CALIBRATION_SEED + 1)
    model = CalibratedModel.open(checkpoint, "assistant")
    chosen = choose(place / "calibration.jsonl", (), CALIBRATION, 0, lambda r: model.preparer.prepare(r).tokens)
    known = collect(model, chosen.samples, place / "statistics", lambda _: None)
    wanted = SearchConfig(scheme, max_flips=1.0, smooth=not SCHEMES[scheme].static, vision=vision)
    requests = list(read_requests(place / "choice.jsonl").values())
    write_config(search(model, known, requests, wanted, lambda _: None).config, place / "quantisation")
    return place / "quantisation"


def table(figures: dict[str, Figures]) -> str:
    """Tables as Markdown, one for each task and a row for each judge."""
    tasks = dict.fromkeys(name.partition("-")[0] for name in figures)
    return "\n\n".join(_table({k: f for k, f in figures.items() if k.partition("-")[0] == task}) for task in tasks)


def _table(figures: dict[str, Figures]) -> str:
    first = next(iter(figures.values()))
    names = ["judge", "best of 4", *first.kinds, *first.blind, "same first answer as PyTorch", "scores differ by", "MB"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for name, f in figures.items():
        cells = [f"{share:.1%}" for share in (f.best_of_4, *f.kinds.values(), *f.blind.values())]
        cells += [f"{f.agreement:.2%} of {f.items}", f"{f.difference:.1e}", f"{f.megabytes:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
