"""End of a run: its predictions become results, official files and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ._benchmark_run import RunSettings, Sheet, judged, read_run
from ._predictions import Prediction
from ._report_page import write_page
from ._results import RESULTS, RunResults, results_of
from .benchmarks._base import Benchmark, TieRule

REPORT, OFFICIAL = "report.html", "official"


def finish(
    folder: Path,
    benchmark: Benchmark,
    sheet: Sheet,
    predictions: Sequence[Prediction],
    settings: RunSettings,
    ties: TieRule,
) -> RunResults:
    """Compute the results of a run and write them into its folder, in the place of earlier ones.

    Args:
        folder: folder of the run.
        benchmark: record of the benchmark.
        sheet: its items.
        predictions: a prediction for each, in their order.
        settings: settings of the run.
        ties: rule for ties.
    """
    results, scored = results_of(benchmark, sheet, predictions, settings, ties), judged(sheet, predictions)
    text = msgspec.json.format(msgspec.json.encode(results.to_dict()), indent=1)
    (folder / RESULTS).write_bytes(text + b"\n")
    (folder / OFFICIAL).mkdir(exist_ok=True)
    benchmark.write_official(scored, folder / OFFICIAL)
    write_page(folder / REPORT, results, scored, read_run(folder))
    return results
