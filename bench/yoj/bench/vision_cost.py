"""What the vision graph costs in float32 and in 8 bits: CPU seconds of one image, in turns on one core.

The tower has the released dimensions and random weights. CPU seconds count no time in which other
processes had the core.

python -m yoj.bench.vision_cost checkpoints/shapes-qwen3_vl --side 768 --out bench/results/vision-cost.json
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
import torch

from yoj.calibration.collect import Model
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families import GraphSpec
from yoj.export.graph.write import WeightFile, write_graph
from yoj.export.quantisation.config import RANGE, Plan, Quantisation, matrices, quantise_graphs
from yoj.export.quantisation.schemes import STORED
from yoj.runtime.engines.onnxruntime import opener
from yoj.runtime.families import Arrays
from yoj.runtime.held import HeldFiles
from yoj.runtime.manifest import Engine

from .environment import describe
from .large_checkpoint import LAYERS, write
from .make import SOME_RANGE

WHOLE = "float32"
TRUNK, TRUNK_WORDS = 3, 12_800
"""Layers and words of the trunk behind the tower, which does not run; its layers take the deepstack features."""


def open_session(spec: GraphSpec, checkpoint: Checkpoint, precision: Any, folder: Path) -> Any:
    """The vision graph in ONNX Runtime, as the runtime opens it for one thread.

    Args:
        spec: of the graph, fresh.
        checkpoint: its weights.
        precision: float32, or the scheme of all matrices that may be quantised.
        folder: is made, for the graph.
    """
    if precision in STORED:
        names = tuple(matrices(spec))
        ranges = {RANGE + name: torch.tensor(SOME_RANGE) for name in names if precision == "int8_static"}
        said = Quantisation(scheme=precision, layers=names, checkpoint={})
        (spec,) = quantise_graphs([spec], [], Plan(said, ranges))
    (folder / "onnx").mkdir(parents=True)
    weights = WeightFile(folder / "onnx" / "weights.data", checkpoint.weights, lambda _: None)
    graph = write_graph(spec, folder, weights, torch.float32)
    engine = Engine(engine="onnxruntime", precision=precision, graphs={"vision": graph})
    return opener(onnxruntime, HeldFiles(folder), engine, 1)(graph)


@click.command()
@click.argument("judge", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--side", default=768, show_default=True, type=click.IntRange(min=28), help="Of the image, in pixels.")
@click.option("--scheme", "schemes", multiple=True, default=["int8"], type=click.Choice(list(STORED)),
              show_default=True, help="Of all matrices that may be quantised.")  # fmt: skip
@click.option("--layers", default=LAYERS, show_default=True, type=click.IntRange(min=2),
              help="At most, of the tower; mergers weigh more behind few layers than behind all.")  # fmt: skip
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Counted turns.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Add the figures to this JSON file.")
def main(judge: Path, side: int, schemes: tuple[Any, ...], layers: int, repeats: int, out: Path | None) -> None:
    """Measure the tower of the 4B model that JUDGE is a small one of."""
    with tempfile.TemporaryDirectory() as place:
        folder = write(judge, Path(place) / "checkpoint", TRUNK, TRUNK_WORDS, tower=layers)
        model = Model.open(Checkpoint.open([folder]), "assistant")
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        inputs = model.preparer.family.vision_inputs([model.preparer.family.prepare_image(noise)])
        sessions = {
            precision: open_session(model.family.graphs()[0], model.checkpoint, precision, Path(place) / precision)
            for precision in (WHOLE, *schemes)
        }
        seconds = cpu_seconds(sessions, inputs, repeats)
    frames, patches = inputs["pixel_values"].shape[:2]
    figures = {
        "family": model.checkpoint.family,
        "side": side,
        "layers_at_most": layers,
        "parameters": sum(parameter.numel() for parameter in model.family.graphs()[0].module.parameters()),
        "patches": frames * patches,
        "cpu_seconds": seconds,
        "speedup": {name: statistics.median(seconds[WHOLE]) / statistics.median(seconds[name]) for name in schemes},
        "environment": describe(1),
    }
    click.echo(json.dumps(figures, indent=1))
    if out is not None:
        known = json.loads(out.read_text("utf-8")) if out.is_file() else {}
        out.write_text(json.dumps(known | {f"{judge.name} {side}": figures}, indent=1) + "\n", "utf-8")


def cpu_seconds(sessions: Mapping[str, Any], inputs: Arrays, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each run, by the name of its session; the first run of each is not counted."""
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(repeats + 1):
        for name, session in sessions.items():
            begin = time.process_time()
            session.run(None, inputs)
            if turn:
                found[name].append(time.process_time() - begin)
    return found


if __name__ == "__main__":
    main()
