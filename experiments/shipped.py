"""Accuracy of the shipped judges in each precision, measured on the held-out items of the small task.

python -m experiments.shipped checkpoints/shapes-qwen3_vl checkpoints/shapes-molmo2 --precision float16
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
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
from yoj.runtime.bundle import Bundle
from yoj.runtime.lines import read_requests
from yoj.runtime.machine import instruction_sets
from yoj.runtime.schemes import SCHEMES
from yoj.training.evaluation import hit
from yoj.training.samples import read_samples, texts_alone

from .shapes import ShapesConfig, write_items
from .small_judge import HELD_OUT


@dataclass(frozen=True)
class Figures:
    """Figures of one judge."""

    items: int
    best_of_4: float
    """Share of the items whose best answer the exported bundle puts first."""
    text_alone: float
    """Share of such items without pictures: what the judge would know without looking."""
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

    In the file figures of each kind of CPU stand beside those of others.
    """
    kind = f"{' vision' if vision else ''}, {'VNNI' if any('vnni' in s for s in instruction_sets()) else 'no VNNI'}"
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
    checkpoint = Checkpoint.open([folder])
    family = open_family(checkpoint)
    with tempfile.TemporaryDirectory() as place:
        bundle = Path(place) / "judge.yoj"
        config = quantisation_config(checkpoint, precision, Path(place), vision) if precision in SCHEMES else None
        # What eight bits do is measured here, on all items; an export's own comparison would stop the worst of them.
        export = ExportConfig(
            [folder], None, "assistant", bundle, precision=precision, quantisation=config, compare=config is None
        )
        build(export, Quiet())
        write_items(Path(place), "held_out", ShapesConfig(items, 0), lambda _: None)
        samples, _ = read_samples(Path(place) / "held_out.jsonl")
        scorer = open_scorer(Bundle.open(bundle), checkpoint, family)
        seen = [judgement.scores for judgement in scorer.score_batch([s.request() for s in samples])]
        blind_requests = [texts_alone(s.request()) for s in samples]
        blind = [judgement.scores for judgement in scorer.score_batch(blind_requests)]
        stock = StockModel(checkpoint, family)
        expected = [
            tuple(stock.score(scorer.prepare(s.request()), scorer.family).tolist())
            for s in tqdm(samples, desc=folder.name, disable=None)
        ]
    hits = [hit(scores, numbered) for scores, numbered in zip(seen, samples, strict=True)]
    kinds = sorted({numbered.sample.kind or "" for numbered in samples})
    of = {k: [right for right, s in zip(hits, samples, strict=True) if s.sample.kind == k] for k in kinds}
    pairs = list(zip(seen, expected, strict=True))
    return Figures(
        items=len(samples),
        best_of_4=float(np.mean(hits)),
        text_alone=float(np.mean([hit(scores, s) for scores, s in zip(blind, samples, strict=True)])),
        kinds={kind: float(np.mean(found)) for kind, found in of.items()},
        agreement=float(np.mean([np.argmax(a) == np.argmax(b) for a, b in pairs])),
        difference=max(float(np.abs(np.array(a) - np.array(b)).max()) for a, b in pairs),
        megabytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6,
        instruction_sets=instruction_sets(),
    )


def quantisation_config(checkpoint: Checkpoint, scheme: Any, place: Path, vision: bool) -> Path:
    """Quantisation config for all matrices of a small judge, from items of its task; `place` is a folder for both.

    Static ranges are the plain ones, without smoothing.
    """
    write_items(place, "calibration", ShapesConfig(CALIBRATION, CALIBRATION_SEED), lambda _: None)
    write_items(place, "choice", ShapesConfig(CHOICE, CALIBRATION_SEED + 1), lambda _: None)
    model = CalibratedModel.open(checkpoint, "assistant")
    chosen = choose(place / "calibration.jsonl", (), CALIBRATION, 0, lambda r: model.preparer.prepare(r).tokens)
    known = collect(model, chosen.samples, place / "statistics", lambda _: None)
    wanted = SearchConfig(scheme, max_flips=1.0, smooth=not SCHEMES[scheme].static, vision=vision)
    requests = list(read_requests(place / "choice.jsonl").values())
    write_config(search(model, known, requests, wanted, lambda _: None).config, place / "quantisation")
    return place / "quantisation"


def table(figures: dict[str, Figures]) -> str:
    """Table as Markdown, a row for each judge."""
    kinds = list(next(iter(figures.values())).kinds)
    names = ["judge", "best of 4", *kinds, "text alone", "same first answer as PyTorch", "scores differ by", "MB"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for name, f in figures.items():
        cells = [f"{f.best_of_4:.1%}", *(f"{share:.1%}" for share in f.kinds.values()), f"{f.text_alone:.1%}"]
        cells += [f"{f.agreement:.2%} of {f.items}", f"{f.difference:.1e}", f"{f.megabytes:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
