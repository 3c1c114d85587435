"""Agreement of an engine with PyTorch in each precision of trained judges.

yoj-bench parity FOLDER --engine onnxruntime-cuda --out parity.json
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yoj.export import CompileJob, Fidelity, Profile, compile_bundle, parse_profile
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.verification.fidelity import measure
from yoj.runtime import Scorer
from yoj.runtime.engines import plan_engines

from ._make import Stages
from ._workbench import BUNDLE, CHECKPOINT

PROFILE = "B=1:4:16,L=16:128:1024,N=2:4:16,V=1:64:1024,C=1:4:32,F=1:2:16,P=16:64:1024"
"""Optimisation profiles of plans that take the requests of `yoj.export.verification.fidelity.GRID`, in the small
judges."""
FLOAT32 = 1e-4
"""Bound where kernels sum in other orders than those of CPUs; for other precisions the export's own holds."""


def compare_all(folders: Sequence[Path], precisions: Sequence[str], engine: str) -> Iterator[dict[str, Any]]:
    """Compare the bundles ``<precision>.yoj`` of folders with the checkpoints beside them; see `compare`.

    Yields:
        Row for each bundle as it is done. A bundle that fails has the error in its row and does not stop the others.
    """
    for precision in precisions:
        for folder in folders:
            begin = time.perf_counter()
            try:
                row = compare(folder, precision, engine)
            except Exception as error:  # libraries raise anything
                row = {"passed": False, "error": f"{type(error).__name__}: {error}"}
            seconds = round(time.perf_counter() - begin, 1)
            yield {"judge": folder.name, "precision": precision, **row, "seconds": seconds}


def compare(folder: Path, precision: str, engine: str) -> dict[str, Any]:
    """Figures of one bundle with an engine, on the requests that every export is compared on.

    Args:
        folder: folder of the checkpoint and the bundle.
        precision: precision, which names the bundle.
        engine: engine to compare; for TensorRT, plans are built in the bundle first.

    Raises:
        YojError: the engine cannot run the bundle here, or no plan can be built.
    """
    path = folder / f"{precision}{BUNDLE}"
    checkpoint = Checkpoint.open([folder / CHECKPOINT])
    building = compile_for(path, engine, [parse_profile(PROFILE)]) if engine in plan_engines() else None
    with Scorer.load(path, engine=engine) as scorer:
        found = measure(scorer, checkpoint, open_family(checkpoint), lambda _: None)
    return {**figures(found, engine), **({} if building is None else {"build_seconds": building})}


def figures(found: Fidelity, engine: str) -> dict[str, Any]:
    """Worst of all requests, and whether that is within the bound."""
    other_kernels = found.precision == "float32" and engine != "onnxruntime"
    bound = max(found.threshold, FLOAT32) if other_kernels else found.threshold
    return {
        "max_abs_diff": found.max_abs_diff,
        "bound": bound,
        "top1_agreement": found.top1_agreement,
        "kendall_tau": found.kendall_tau,
        "token_ids_equal": found.token_ids_equal,
        "passed": found.token_ids_equal and found.max_abs_diff <= bound,  # false of NaN
    }


def compile_for(path: Path, engine: str, profiles: Sequence[Profile]) -> float:
    """Build a bundle's plans for this GPU; returns the seconds that it took."""
    begin = time.perf_counter()
    compile_bundle(CompileJob(path, engine, profiles=profiles), Stages())
    return round(time.perf_counter() - begin, 1)


def line(row: dict[str, Any]) -> str:
    """Row of one bundle as text."""
    agrees = "differs by {max_abs_diff:.1e} of {bound:g}, same first answer {top1_agreement:.0%}"
    what = row.get("error") or agrees.format(**row)
    return f"{'passed' if row['passed'] else 'FAILED'} {row['judge']} {row['precision']} ({row['seconds']} s): {what}"
