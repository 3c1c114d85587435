"""Results of a bench: the content of ``bench/results/*.json``, of the report, and of the README's table.

Times are milliseconds, sizes bytes, work floating-point operations (8-bit products count as two as well).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from ._errors import BenchError

SCHEMA_VERSION = 1
Strategy: TypeAlias = Literal["packed", "isolated", "separate", "rows", "prefix"]
"""Strategy by which N responses are read: in one sequence, jointly or isolated; in N passes; as N rows of one batch; in
N passes that share the prompt's keys and values."""
Part: TypeAlias = Literal["variants", "savings", "phases", "starts", "profiles", "sweeps", "load"]
PARTS: tuple[Part, ...] = get_args(Part)
"""Parts of a measurement of a model."""
WITHIN = {"tokenise": "pack"}
"""Phase that is contained in another one, and is measured apart."""
YOJO_CODE = (b"as the reference runs it", b"as the YOJO code runs it")
"""Words in the name of a variant up to yoj 0.2, which the committed results hold, and the ones in their place."""
VARIANT = {"variant": "contestant"}
"""Attributes whose JSON keys have older names, which the committed results hold."""
Vendor: TypeAlias = Literal["PyTorch", "yoj"]


class Time(msgspec.Struct, frozen=True, kw_only=True):
    """Median of several runs, with the interval that holds it with 95 % confidence (order statistics)."""

    median: float
    low: float
    high: float
    runs: int


class RequestShape(msgspec.Struct, frozen=True, kw_only=True):
    """Shape of the scored request."""

    B: int
    L: int
    """Tokens of the packed row."""
    N: int
    P: int
    """Tokens before the first response, visual ones included."""
    R: int
    """Tokens of a response with the separator before it."""
    V: int
    threads: int


class VariantResult(msgspec.Struct, frozen=True, kw_only=True, rename={"strategy": "way"}):
    """Variant: one set-up that gives the scores, from prepared arrays, the vision tower included."""

    name: str
    vendor: Vendor
    precision: str
    strategy: Strategy
    time: Time
    difference: float
    """Largest difference of a score, from PyTorch float32 that reads the responses the same way (packed, or each
    alone), over the largest magnitude of those scores, or over 1 where that is less."""
    allowed: float
    """Allowed difference of its precision; see `yoj.bench._workbench.ALLOWED`."""
    agrees: bool
    """Whether the scores agree; a variant whose scores differ is shown but not ranked."""
    work: float
    """Floating-point operations that the strategy takes, by the formula of `yoj.bench._limits`."""
    share: float | None
    """Share of the measured peak of its precision; None where none was measured."""


class Point(msgspec.Struct, frozen=True, kw_only=True, rename=VARIANT):
    """Figures of one variant at one place of a sweep."""

    variant: str
    x: float
    shape: RequestShape
    time: Time
    agrees: bool


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """Sweep: one size varies, the others stay."""

    name: str
    """Name of the varied size: ``N``, ``response tokens``, ``prompt tokens``, ``image side``, ``batch``,
    ``threads``."""
    points: tuple[Point, ...]


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """Saving of one pass over N passes, at one N."""

    N: int
    P: int
    R: int
    predicted: float
    """Predicted saving, N (P + R) / (P + N R)."""
    measured: float
    """Time of N separate PyTorch passes over that of one packed pass of the same precision in the same PyTorch."""
    engine: float
    """Time of N separate PyTorch passes over that of yoj's engine in float32, or the first of its precisions."""
    precision: str = "bfloat16"
    """Precision of PyTorch, its fastest on this machine."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Cold start: a process of its own that loads a bundle and scores once."""

    bundle: str
    precision: str
    import_s: float
    load_s: float
    first_score_s: float
    resident: int
    """Resident bytes after the score."""
    weights: int
    """Bytes of the weights of the graphs that it ran, as they lie in the bundle."""
    bundle_size: int


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of one kind of operator in the profile of an engine."""

    operator: str
    milliseconds: float
    share: float
    tried: str
    """Attempts to make it smaller; empty for those that nothing was tried on."""


class GraphProfile(msgspec.Struct, frozen=True, kw_only=True, rename=VARIANT):
    """Profile of an engine's time, the largest cost first."""

    variant: str
    graph: str
    costs: tuple[Cost, ...]


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """Fastest large matrix product that was found in this run."""

    precision: str
    flops: float
    """Operations a second."""
    by: str
    """Library of the product: PyTorch or ONNX Runtime."""


class MachineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Peaks of the machine."""

    peaks: tuple[Peak, ...]
    copied: float
    """Bytes a second of a large copy, read and written once each."""


class Load(msgspec.Struct, frozen=True, kw_only=True, rename=VARIANT):
    """Figures of requests that arrive at a rate, whether or not earlier ones are done."""

    variant: str
    offered: float
    """Requests a second."""
    served: float
    requests: int
    p50: float
    p95: float
    p99: float
    """Milliseconds from arrival to scores."""


class BenchModel(msgspec.Struct, frozen=True, kw_only=True):
    """Engine and bundle of a variant."""

    name: str
    family: str
    parameters: int
    """Bytes of the graphs."""
    layers: int
    D: int


class JudgeResult(msgspec.Struct, frozen=True, kw_only=True, rename={"variants": "contestants"}):
    """Results of one model; parts that were not measured are empty."""

    model: BenchModel
    shape: RequestShape
    variants: tuple[VariantResult, ...]
    phases: dict[str, dict[str, float]] = {}
    """Variant -> phase -> median milliseconds: decode, preprocess, pack, vision, gather, scorer; and of `WITHIN`."""
    savings: tuple[Saving, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    starts: tuple[Start, ...] = ()
    profiles: tuple[GraphProfile, ...] = ()
    load: tuple[Load, ...] = ()


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one run of ``yoj-bench run``."""

    environment: dict[str, Any]
    limits: MachineLimits
    judges: tuple[JudgeResult, ...]
    schema_version: int = SCHEMA_VERSION


def read_results(file: Path) -> Results:
    """Read the results of a run.

    Raises:
        BenchError: the file is missing, damaged or of another version.
    """
    try:
        results = msgspec.json.decode(file.read_bytes().replace(*YOJO_CODE), type=Results)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BenchError(f"{file} holds no results: {error}. Make them with yoj-bench run.") from error
    if results.schema_version != SCHEMA_VERSION:
        raise BenchError(
            f"{file} has schema version {results.schema_version}, this yoj reads {SCHEMA_VERSION}. Run yoj-bench again."
        )
    return results


def ranked(judge: JudgeResult) -> list[VariantResult]:
    """Variants whose scores agree, the fastest first, without results that have no finite time."""
    return sorted((c for c in judge.variants if c.agrees and 0 < c.time.median < math.inf), key=lambda c: c.time.median)


def baseline(judge: JudgeResult, variant: VariantResult) -> VariantResult | None:
    """Fastest PyTorch of any precision whose scores agree and that reads the responses in the same way.

    The ways are: together in one sequence, or each as if it were alone.
    """
    together = variant.strategy == "packed"
    return next((c for c in ranked(judge) if c.vendor == "PyTorch" and (c.strategy == "packed") == together), None)
