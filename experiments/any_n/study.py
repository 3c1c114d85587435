"""Run of the study with one judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from yoj.runtime.machine import instruction_sets

from .data import SEED, SIZES, draw_items
from .errors import PROBES
from .judges import Judge
from .methods import measure, methods_for
from .results import Results


def study(bundle: Path, count: int, file: Path, note: Callable[[str], None]) -> None:
    """Make the records that a judge's file of results lacks.

    Args:
        bundle: the judge.
        count: number of items.
        file: file of its results.
        note: function that takes lines for a person.

    Raises:
        EvaluationError: the file has results of another judge, or of other items.
        YojError: the bundle cannot be opened, or the engine failed.
    """
    judge = Judge(bundle)
    about = judge.about() | {"items": count, "seed": SEED, "instruction_sets": [*instruction_sets()]}
    results = Results(file, about)
    items = draw_items(count)
    for n in SIZES:
        for method in methods_for(judge.manifest.trained_mode, n):
            begin = time.perf_counter()
            if results.add({"method": method.name, "n": n}, lambda m=method, n=n: measure(judge, items, m, n)):
                note(f"N={n}, {method.name}: {time.perf_counter() - begin:.0f} s")
    for name, (probe, sizes) in PROBES.items():
        for n in sizes:
            begin = time.perf_counter()
            if results.add({"probe": name, "n": n}, lambda p=probe, n=n: p(judge, items, n)):
                note(f"N={n}, {name}: {time.perf_counter() - begin:.0f} s")
