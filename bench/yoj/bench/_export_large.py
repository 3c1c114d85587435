"""Cost of the export of a 4B checkpoint and of a score with its bundle: seconds, memory and disk.

yoj-bench export-large FOLDER --image photo.jpg --out bench/results/export-large.json
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.quantisation.config import QuantisationConfig, QuantisationSpec, matrices, write_config
from yoj.runtime.roles import JOINT
from yoj.runtime.schemes import SCHEMES

from ._environment import describe
from ._errors import BenchError

PROMPT = "What does the picture show, and what is it doing?"
RESPONSES = ("A cat looks into the camera.", "A dog sleeps on a sofa.", "Two people ride bicycles.", "An empty street.")


def measure(checkpoint: Path, image: Path, precision: str) -> dict[str, Any]:
    """Export a checkpoint beside itself and score a picture with 4 answers, each in a process of its own.

    Args:
        checkpoint: checkpoint in the adapter layout, as `yoj.bench._large_checkpoint.write` makes them.
        image: image that the question is about.
        precision: precision of the bundle; in a quantised one all matrices and rows are.

    Returns:
        Seconds and peak GB of both, GB of the checkpoint and of the bundle, and the environment.

    Raises:
        BenchError: one of the processes failed.
    """
    bundle = checkpoint.parent / f"{checkpoint.name}.yoj"
    shutil.rmtree(bundle, ignore_errors=True)
    export = ["yoj.export.cli", str(checkpoint), "--layout", "assistant", "--out", str(bundle), "--no-compare"]
    figures: dict[str, Any] = {"precision": precision, "checkpoint_gb": _size(checkpoint)}
    if precision in SCHEMES:
        # The base precision stays float32, as a CPU wants it.
        export += ["--quantisation", str(_write_quantisation(checkpoint, precision))]
    figures["export"] = _measure([*export, "--precision", precision])
    figures["bundle_gb"] = _size(bundle)
    score = ["yoj.runtime.cli", str(bundle), "--image", str(image), "--prompt", PROMPT]
    figures["score"] = _measure([*score, *(part for text in RESPONSES for part in ("--response", text))])
    return figures | {"environment": describe(os.cpu_count() or 1)}


def _write_quantisation(folder: Path, scheme: Any) -> Path:
    """Quantisation config for all matrices and the embedding table, without statistics, as the size needs none."""
    checkpoint = Checkpoint.open([folder])
    scorer = next(spec for spec in open_family(checkpoint).graphs if spec.role == JOINT)
    spec = QuantisationSpec(
        scheme=scheme, layers=tuple(matrices(scorer)), embeddings=True, checkpoint=checkpoint_hashes(checkpoint)
    )
    place = folder.parent / f"{folder.name}.quantisation"
    write_config(QuantisationConfig(spec, {}), place)
    return place


def _measure(arguments: list[str]) -> dict[str, float]:
    """Seconds and largest resident memory of one command, given as module and arguments, in a process of its own."""
    begin = time.perf_counter()
    module, *rest = arguments
    run = [sys.executable, "-c", f"from {module} import main; main()", *rest]
    child = os.posix_spawn(sys.executable, run, os.environ)
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise BenchError(f"{' '.join(arguments)} failed; its message is above.")
    seconds = time.perf_counter() - begin
    return {"seconds": round(seconds, 1), "peak_gb": round(_peak(usage) / 1e9, 2)}


def _peak(usage: resource.struct_rusage) -> float:
    """Resident memory in bytes; Linux counts in KiB, macOS in bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _size(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9, 2)
