"""Cost of the vision graph in float32 and in 8 bits: CPU seconds of one image, in turns on one core.

The tower has the released dimensions and random weights. CPU seconds count no time in which other
processes had the core.

yoj-bench vision-cost checkpoints/shapes-qwen3_vl --side 768 --out bench/results/vision-cost.json
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from yoj.calibration import CalibratedModel
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families import GraphSpec
from yoj.export.graph.write import WeightFile, write_graph
from yoj.export.quantisation.config import RANGE, QuantisationConfig, QuantisationSpec, matrices, quantise_graphs
from yoj.runtime.engines.onnxruntime import opener
from yoj.runtime.families import Arrays
from yoj.runtime.held import HeldFiles
from yoj.runtime.manifest import EngineEntry
from yoj.runtime.roles import VISION
from yoj.runtime.schemes import SCHEMES

from ._environment import describe
from ._errors import BenchError
from ._large_checkpoint import write
from ._make import SOME_RANGE

WHOLE = "float32"
TRUNK, TRUNK_WORDS = 3, 12_800
"""Layers and words of the trunk behind the tower, which does not run; its layers take the deepstack features."""


def open_session(spec: GraphSpec, checkpoint: Checkpoint, precision: Any, folder: Path) -> Any:
    """Session of the vision graph in ONNX Runtime, as the runtime opens it for one thread.

    Args:
        spec: description of the graph.
        checkpoint: checkpoint with its weights.
        precision: name of float32, or of the scheme of all matrices that may be quantised.
        folder: folder to make, for the graph.
    """
    if precision in SCHEMES:
        names = tuple(matrices(spec))
        ranges = {RANGE + name: torch.tensor(SOME_RANGE) for name in names if SCHEMES[precision].static}
        quantised = QuantisationSpec(scheme=precision, layers=names, checkpoint={})
        (spec,) = quantise_graphs([spec], [], QuantisationConfig(quantised, ranges))
    (folder / "onnx").mkdir(parents=True)
    weights = WeightFile(folder / "onnx" / "weights.data", checkpoint.weights, lambda _: None)
    graph = write_graph(spec, folder, weights, torch.float32)
    engine = EngineEntry(engine="onnxruntime", precision=precision, graphs={VISION: graph})
    return opener(onnxruntime, HeldFiles(folder), engine, 1)(graph)


def measure(judge: Path, side: int, schemes: Sequence[str], layers: int, repeats: int) -> dict[str, Any]:
    """CPU seconds of the 4B-sized vision tower of a small judge's family, with the environment.

    Args:
        judge: folder of a small judge.
        side: side of a square image, in pixels.
        schemes: schemes of all matrices that may be quantised, beside float32.
        layers: most layers of the tower; mergers weigh more behind few layers than behind all.
        repeats: number of counted runs of each.

    Raises:
        BenchError: there is no such scheme.
    """
    if unknown := [scheme for scheme in schemes if scheme not in SCHEMES]:
        raise BenchError(f"There is no scheme {unknown[0]!r}. Give one of: {', '.join(SCHEMES)}.")
    with tempfile.TemporaryDirectory() as place:
        folder = write(judge, Path(place) / "checkpoint", TRUNK, TRUNK_WORDS, tower=layers)
        model = CalibratedModel.open(Checkpoint.open([folder]), "assistant")
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        inputs = model.preparer.family.vision_inputs([model.preparer.family.prepare_image(noise)])
        sessions = {
            precision: open_session(model.family.graphs[0], model.checkpoint, precision, Path(place) / precision)
            for precision in (WHOLE, *schemes)
        }
        seconds = cpu_seconds(sessions, inputs, repeats)
    frames, patches = inputs["pixel_values"].shape[:2]
    return {
        "family": model.checkpoint.family,
        "side": side,
        "layers_at_most": layers,
        "parameters": sum(parameter.numel() for parameter in model.family.graphs[0].module.parameters()),
        "patches": frames * patches,
        "cpu_seconds": seconds,
        "speedup": {name: statistics.median(seconds[WHOLE]) / statistics.median(seconds[name]) for name in schemes},
        "environment": describe(1),
    }


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
