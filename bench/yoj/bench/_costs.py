"""Cost of each operator of an engine: ONNX Runtime's own profile of a graph, summed by operator."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import onnxruntime

from yoj.runtime.bundle import Bundle
from yoj.runtime.engines.onnxruntime import opener
from yoj.runtime.families import Arrays

from ._results import Cost, GraphProfile

TRIED: dict[str, str] = {
    "MatMul": "rows that no score needs left out of the last layer; fused matrices stored apart, so that no product is "
    "split by a copy; threads that spin (no gain).",
    "MatMulIntegerToFloat": "unsigned activations (signed ones are 15 times slower), rows left out as in float32, wide "
    "products in 2, 4 and 8 parts (no gain).",
    "Attention": "all queries of the last layer but the scored ones left out; in float32 arithmetic the others in 8 "
    "blocks that end at the last key that the mask shows; inputs as [B, L, D] (no gain); ONNX Runtime's "
    "GroupQueryAttention (no faster, and without Molmo2's mask).",
}
"""Operator -> attempts to make it faster."""
KERNEL = "_kernel_time"
"""Suffix of the names of events that are the run of one operator."""


def profile(variant: str, bundle: Bundle, role: str, inputs: Arrays, threads: int, runs: int) -> GraphProfile:
    """Mean milliseconds of a run in each kind of operator, the largest first.

    The first run, which allocates, is left out. What ONNX Runtime does between operators is not part of it.

    Args:
        variant: name of the engine's variant.
        bundle: opened bundle; its first engine ``onnxruntime`` is profiled.
        role: role of the graph, such as ``scorer.joint``.
        inputs: inputs of the graph by name; others are ignored.
        threads: number of threads.
        runs: number of counted runs.

    Raises:
        EngineError: the bundle has no engine ``onnxruntime``.
    """
    engine = bundle.engine("onnxruntime")
    graph = engine.graphs[role]
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "profile")

        def watched(options: Any) -> None:
            options.enable_profiling, options.profile_file_prefix = True, prefix

        session = opener(onnxruntime, bundle.files, engine, threads, watched)(graph)
        taken = {spec.name: inputs[spec.name] for spec in graph.inputs}
        for _ in range(1 + runs):
            session.run(None, taken)
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return GraphProfile(variant=variant, graph=role, costs=_sum(events, runs))


def _sum(events: list[dict[str, Any]], runs: int) -> tuple[Cost, ...]:
    whole = [event for event in events if event["name"] == "model_run"]
    first_end = whole[0]["ts"] + whole[0]["dur"]
    spent: defaultdict[str, int] = defaultdict(int)
    for event in events:
        if event["name"].endswith(KERNEL) and event["ts"] >= first_end:
            spent[event["args"]["op_name"]] += event["dur"]
    total = sum(spent.values())
    return tuple(
        Cost(
            operator=operator,
            milliseconds=microseconds / 1e3 / runs,
            share=microseconds / total,
            tried=TRIED.get(operator, ""),
        )
        for operator, microseconds in sorted(spent.items(), key=lambda item: -item[1])
    )
