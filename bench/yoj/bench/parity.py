"""Whether an engine scores as PyTorch does, in each precision of trained judges.

python -m yoj.bench.parity FOLDER --engine onnxruntime-cuda --out parity.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.options import prepare_libraries
from yoj.export.tensorrt.compile import Order, compile_bundle
from yoj.export.tensorrt.profiles import Profile, parse_profile
from yoj.export.verification.fidelity import Fidelity, measure
from yoj.runtime import Scorer
from yoj.runtime.engines import OPENERS
from yoj.runtime.engines.library import LIBRARIES

from .contestants import BUNDLE, CHECKPOINT
from .errors import BenchError
from .make import Stages

PROFILE = "B=1:4:16,L=16:128:1024,N=2:4:16,V=1:64:1024,C=1:4:32,F=1:2:16,P=16:64:1024"
"""Shapes of plans that take the packs of `yoj.export.verification.fidelity.GRID`, in the small judges."""
FLOAT32 = 1e-4
"""Bound where other kernels than those of CPUs sum in other orders; of other precisions the export's own holds."""


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--engine", required=True, type=click.Choice(list(OPENERS)))
@click.option("--precision", "precisions", multiple=True, required=True, help="Of the bundles; again for several.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there as they come.")
def main(folders: tuple[Path, ...], engine: str, precisions: tuple[str, ...], out: Path | None) -> None:
    """Compare the bundles ``<precision>.yoj`` of FOLDERS with the checkpoints beside them; exit with 1 if one differs.

    Plans of TensorRT are built first, in the bundles. A bundle that fails does not stop the others.
    """
    prepare_libraries()
    rows: list[dict[str, Any]] = []
    for precision in precisions:
        for folder in folders:
            begin = time.perf_counter()
            try:
                row = compare(folder, precision, engine)
            except Exception as error:  # libraries raise anything
                row = {"passed": False, "error": f"{type(error).__name__}: {error}"}
            rows.append({"judge": folder.name, "precision": precision, **row})
            rows[-1]["seconds"] = round(time.perf_counter() - begin, 1)
            click.echo(_line(rows[-1]))
            if out is not None:
                out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    if wrong := [f"{row['judge']} {row['precision']}" for row in rows if not row["passed"]]:
        raise BenchError(f"{engine} does not score as the reference does: {', '.join(wrong)}")


def compare(folder: Path, precision: str, engine: str) -> dict[str, Any]:
    """Figures of one bundle with an engine, on the packs that every export is checked with.

    Args:
        folder: holds the checkpoint and the bundle.
        precision: names the bundle.
        engine: of TensorRT, plans are built in the bundle first.

    Raises:
        YojError: the engine cannot run the bundle here, or no plan can be built.
    """
    path = folder / f"{precision}{BUNDLE}"
    checkpoint = Checkpoint.open([folder / CHECKPOINT])
    building = compile_for(path, engine, [parse_profile(PROFILE)]) if engine in LIBRARIES else None
    with Scorer.load(path, engine=engine) as scorer:
        found = measure(scorer, checkpoint, open_family(checkpoint), lambda _: None)
    return {**figures(found, engine), **({} if building is None else {"build_seconds": building})}


def figures(found: Fidelity, engine: str) -> dict[str, Any]:
    """The worst of all packs, and whether that is within the bound."""
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
    """Build a bundle's plans for this GPU; the seconds that it took."""
    begin = time.perf_counter()
    compile_bundle(Order(path, engine, profiles=profiles), Stages())
    return round(time.perf_counter() - begin, 1)


def _line(row: dict[str, Any]) -> str:
    agrees = "differs by {max_abs_diff:.1e} of {bound:g}, same first answer {top1_agreement:.0%}"
    what = row.get("error") or agrees.format(**row)
    return f"{'passed' if row['passed'] else 'FAILED'} {row['judge']} {row['precision']} ({row['seconds']} s): {what}"


if __name__ == "__main__":
    main()
