"""How fast quantised bundles are on this CPU, in turns with float32, at the width of the 4B models.

python -m yoj.bench.quantised_speed --out bench/results/quantised-speed.json

Three layers of the trunk and of the vision tower with random weights (about 300 million in the trunk), an image with N
responses in a row of about L tokens. The time is the scorer graph's; accuracy is measured on trained judges, by
``python -m yoj.training.shipped --precision int8``.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

from yoj.export.build import Recipe, build, checkpoint_hashes, open_family
from yoj.export.checkpoint import Checkpoint
from yoj.export.quantisation import RANGE, Plan, Quantisation, matrices, write_plan
from yoj.runtime import Scorer

from .large_checkpoint import write
from .packed_vs_separate import Stages, request_of

LAYERS, WORDS = 3, 1024
SCHEMES = ("int8", "int8_static", "int8_weights", "int4_weights")
IMAGE = (224, 224)
"""Height and width: small enough that Molmo2's tokens of it leave room for a prompt."""
SOME_RANGE = 8.0
"""Of static activations; the time does not depend on it."""


@click.command()
@click.option("--like", type=click.Path(exists=True, file_okay=False, path_type=Path), multiple=True,
              default=("checkpoints/shapes-qwen3_vl", "checkpoints/shapes-molmo2"), show_default=True,
              help="Judges whose families and tokenizers are taken.")  # fmt: skip
@click.option("--length", default=1024, show_default=True, help="L, about.")
@click.option("--n", default=8, show_default=True)
@click.option("--threads", default=os.cpu_count(), show_default=True)
@click.option("--repeats", default=7, show_default=True, type=click.IntRange(min=1))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures there, as JSON.")
def main(like: tuple[Path, ...], length: int, n: int, threads: int, repeats: int, out: Path | None) -> None:
    """Time the scorer of float32 and quantised bundles in turns."""
    figures = {judge.name: _measure(judge, (length, n), threads, repeats) for judge in like}
    click.echo(f"{'':16} {'precision':14} {'median ms':>10} {'times as fast':>14} {'MB':>8}")
    for name, rows in figures.items():
        for precision, row in rows.items():
            click.echo(f"{name:16} {precision:14} {row['median_ms']:10.0f} {row['speedup']:14.2f} {row['mb']:8.0f}")
    environment = {"machine": platform.machine(), "threads": threads, "onnxruntime": version("onnxruntime")}
    report = {"L": length, "N": n, "layers": LAYERS, "figures": figures, "environment": environment}
    click.echo(json.dumps(report))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def _measure(judge: Path, shape: tuple[int, int], threads: int, repeats: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as place:
        bundles = _export(judge, Path(place))
        scorers = {name: Scorer.load(path, threads=threads) for name, path in bundles.items()}
        length, n = shape
        request = request_of(scorers["float32"], length // 2, length // (2 * n), n, IMAGE)
        times: dict[str, list[float]] = {name: [] for name in scorers}
        for turn in range(repeats + 1):  # in turns, so that a slow moment of the machine hits all alike
            for name, scorer in scorers.items():
                judgement = scorer.score(request.prompt, request.responses, images=request.images, mode="joint")
                if turn:
                    times[name].append(judgement.timings_ms["scorer"])
        medians = {name: statistics.median(of) for name, of in times.items()}
        return {
            name: {
                "L": scorers[name].prepare(request).tokens,
                "median_ms": medians[name],
                "speedup": medians["float32"] / medians[name],
                "mb": (path / "onnx" / "weights.data").stat().st_size / 1e6,
            }
            for name, path in bundles.items()
        }


def _export(judge: Path, place: Path) -> dict[str, Path]:
    """Bundles of one random model: float32, and each scheme with all matrices."""
    checkpoint = write(judge, place / "checkpoint", LAYERS, WORDS)
    opened = Checkpoint.open([checkpoint])
    scorer = next(spec for spec in open_family(opened).graphs() if spec.role == "scorer.joint")
    layers, hashes = tuple(matrices(scorer)), checkpoint_hashes(opened)
    bundles: dict[str, Path] = {}
    for precision in ("float32", *SCHEMES):
        changes: dict[str, Any] = {}
        if precision in SCHEMES:
            ranges = {RANGE + name: torch.tensor(SOME_RANGE) for name in layers if precision == "int8_static"}
            said = Quantisation(scheme=precision, layers=layers, checkpoint=hashes)
            write_plan(Plan(said, ranges), place / f"{precision}.plan")
            changes["plan"] = place / f"{precision}.plan"
        bundles[precision] = place / f"{precision}.yoj"
        recipe = Recipe(
            [checkpoint], None, "assistant", bundles[precision], compare=False, precision=precision, **changes
        )
        build(recipe, Stages())
    return bundles


if __name__ == "__main__":
    main()
