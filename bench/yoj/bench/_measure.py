"""Measurements of one model: variants, what one pass saves, phases, sweeps, cold starts, profiles and load."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from yoj.runtime import Request, Scorer
from yoj.runtime.batch import scorer_inputs
from yoj.runtime.bundle import TOKENIZER_NAME, Bundle
from yoj.runtime.roles import JOINT, VISION

from ._costs import profile
from ._limits import predicted_saving
from ._load import measure_load
from ._requests import BenchRequest, Size, make_bench_request, save_image
from ._results import BenchModel, GraphProfile, JudgeResult, Load, MachineLimits, Part, Point, Saving, Start, Sweep
from ._start import measure_start
from ._workbench import (
    Workbench,
    all_variants,
    engines,
    fast_precisions,
    open_workbench,
    run_interleaved,
    singles,
    trimmed,
)

SAVED_N = (8,)
SAVED_PROMPT, SAVED_RESPONSE = 600, 60
"""Numbers of responses, tokens of the prompt and tokens of a response for what one pass saves."""
SWEPT: dict[str, tuple[int, ...]] = {
    "N": (1, 4, 16, 64),
    "response tokens": (16, 256),
    "prompt tokens": (256, 1024),
    "image side": (0, 224, 448),
    "batch": (1, 4),
}
SIZES = {"N": "n", "response tokens": "response", "prompt tokens": "prompt", "image side": "side", "batch": "batch"}
"""Name of a sweep -> the field of `Size` that it varies."""
IMAGE_PROMPT = 1280
"""Tokens of the prompt where images vary, so that the largest has room."""
SWEEP_REPEATS, SAVING_REPEATS, PROFILE_RUNS, PHASE_RUNS = 3, 2, 3, 6
LOAD_REQUESTS, LOAD_WORKERS = 40, 2
PYTORCH_PARTS: set[Part] = {"variants", "savings", "sweeps"}
"""Parts that PyTorch runs in."""


@dataclass(frozen=True)
class BenchSettings:
    """Settings of a measurement."""

    threads: int
    repeats: int
    parts: Sequence[Part]
    size: Size
    device: str = "cpu"
    engine: str | None = None


def measure(folder: Path, settings: BenchSettings, limits: MachineLimits) -> JudgeResult:
    """Measure the model and the bundles of a folder; see `open_workbench` for what it holds.

    Progress goes to stderr. Each part that is not asked for is left empty.
    """
    name = folder.resolve().name
    bench = open_workbench(folder, settings.threads, settings.device, settings.engine)
    case = make_bench_request(bench.scorer, settings.size, settings.threads)
    # Cold starts, profiles and load are measured with ONNX Runtime on the CPU.
    elsewhere: set[Part] = {"starts", "profiles", "load"} if settings.engine not in (None, "onnxruntime") else set()

    def say(part: Part) -> bool:
        wanted = part in settings.parts and part not in elsewhere
        if part in settings.parts:
            click.echo(f"{name}: {part}{'' if wanted else ', left out: it is measured on the CPU'}", err=True)
        return wanted

    fast = fast_precisions(bench, case) if PYTORCH_PARTS & set(settings.parts) else []

    return JudgeResult(
        model=describe_model(bench, name),
        shape=case.shape,
        variants=tuple(run_interleaved(bench, case, all_variants(bench, fast), settings.repeats, limits))
        if say("variants")
        else (),
        savings=tuple(savings(bench, settings.threads, fast[0])) if say("savings") else (),
        phases=phases(bench, case) if say("phases") else {},
        starts=tuple(starts(bench, case)) if say("starts") else (),
        profiles=tuple(profiles(bench, case)) if say("profiles") else (),
        sweeps=(*sweeps(bench, settings, fast[0]), threads_sweep(folder, settings, fast[0])) if say("sweeps") else (),
        load=tuple(load(bench, case)) if say("load") else (),
    )


def describe_model(bench: Workbench, name: str) -> BenchModel:
    """Dimensions of the model, from the graphs and the configuration."""
    specs = {spec.role: spec for spec in bench.family.graphs}
    text = bench.checkpoint.config["text_config"]
    return BenchModel(
        name=name,
        family=bench.checkpoint.family,
        parameters=sum(p.numel() for role in (VISION, JOINT) for p in specs[role].module.parameters()),
        layers=int(text["num_hidden_layers"]),
        D=int(text["hidden_size"]),
    )


def savings(bench: Workbench, threads: int, fastest: str) -> Iterator[Saving]:
    """Saving of one pass over N in PyTorch's fastest precision; of the bundles, the one in float32 or the first."""
    precision = "float32" if "float32" in bench.scorers else next(iter(bench.scorers))
    packed, separate = trimmed(bench, fastest), singles(bench, fastest)[0]
    engine = engines(bench, precision)[0]
    for n in SAVED_N:
        case = make_bench_request(bench.scorer, Size(prompt=SAVED_PROMPT, response=SAVED_RESPONSE, n=n), threads)
        ran = run_interleaved(bench, case, [packed, separate, engine], SAVING_REPEATS, None)
        found = {c.name: c.time.median for c in ran if c.agrees}
        if len(found) < len(ran):
            differ = ", ".join(c.name for c in ran if not c.agrees)
            click.echo(f"  N = {n}: left out, as scores differ from PyTorch float32's: {differ}", err=True)
            continue
        P, R = case.shape.P, case.shape.R
        yield Saving(
            N=n,
            P=P,
            R=R,
            predicted=predicted_saving(P, R, n),
            measured=found[separate.name] / found[packed.name],
            engine=found[separate.name] / found[engine.name],
            precision=fastest,
        )


def phases(bench: Workbench, case: BenchRequest) -> dict[str, dict[str, float]]:
    """Median milliseconds of each phase of a request from its text and pixels on, for each engine, in turns.

    Tokenising is part of the runtime's packing, and is measured once more apart. Features are computed each time.
    """
    request, runs = case.request, {precision: list[dict[str, float]]() for precision in bench.scorers}
    tokenizer = Tokenizer.from_file(str(next(iter(bench.bundles.values())) / TOKENIZER_NAME))
    for number in range(1 + PHASE_RUNS):
        # A pixel differs each time, so that features are computed and not remembered.
        images = [_marked(np.asarray(image), number) for image in request.images]
        for precision, scorer in bench.scorers.items():
            timings = scorer.score(request.prompt, request.responses, images=images, mode="joint").timings_ms
            runs[precision].append({**timings, "tokenise": tokenise_ms(tokenizer, request)})
    return {f"yoj {precision}": _medians(found[1:]) for precision, found in runs.items()}


def _medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    order = ("decode", "preprocess", "pack", "tokenise", "vision", "gather", "scorer")
    return {name: statistics.median(run[name] for run in runs) for name in order}


def tokenise_ms(tokenizer: Tokenizer, request: Request) -> float:
    """Milliseconds of the tokenizer alone, for the texts of a request in one call."""
    begin = time.perf_counter()
    tokenizer.encode_batch([request.prompt, *request.responses], add_special_tokens=False)
    return (time.perf_counter() - begin) * 1e3


def starts(bench: Workbench, case: BenchRequest) -> Iterator[Start]:
    """Cold starts, each bundle in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        image = save_image(case, Path(place))
        for path in bench.bundles.values():
            request = case.request
            prompt, responses = cast("str", request.prompt), cast("list[str]", request.responses)
            yield measure_start(path, prompt, responses, image, case.shape.threads)


def profiles(bench: Workbench, case: BenchRequest) -> Iterator[GraphProfile]:
    """Profiles of the joint scorer of each engine, and of the vision graph where there is an image."""
    for precision, path in bench.bundles.items():
        bundle, scorer = Bundle.open(path), bench.scorers[precision]
        name, graphs = f"yoj {precision}", scorer.engine.graphs
        media = case.packed[0].media
        if media:
            given = scorer.family.vision_inputs(media)
            yield profile(name, bundle, VISION, given, case.shape.threads, PROFILE_RUNS)
        rows = max(1, sum(medium.rows for medium in media))
        width = {spec.name: int(spec.shape[-1]) for spec in graphs[VISION].outputs}
        none = {output: np.zeros((rows, size), np.float32) for output, size in width.items()}
        inputs = none | scorer_inputs(case.packed, scorer.family, {})
        yield profile(name, bundle, JOINT, inputs, case.shape.threads, PROFILE_RUNS)


def sweeps(bench: Workbench, settings: BenchSettings, fastest: str) -> Iterator[Sweep]:
    """Sweep of one size at a time, the others as given; the fast variants only."""
    for name, values in SWEPT.items():
        points: list[Point] = []
        for value in values:
            size = replace(settings.size, **{SIZES[name]: value})
            if name == "image side":
                size = replace(size, prompt=IMAGE_PROMPT)
            click.echo(f"  {name} = {value}", err=True)
            points += swept(bench, make_bench_request(bench.scorer, size, settings.threads), value, fastest)
        yield Sweep(name=name, points=tuple(points))


def swept(bench: Workbench, case: BenchRequest, x: float, fastest: str) -> Iterator[Point]:
    """Variants of a sweep at one place, PyTorch in its fastest precision."""
    chosen = [trimmed(bench, fastest), *(engines(bench, precision)[0] for precision in bench.scorers)]
    if case.shape.B == 1:
        chosen.append(singles(bench, fastest)[2])
    for found in run_interleaved(bench, case, chosen, SWEEP_REPEATS, None):
        yield Point(variant=found.name, x=x, shape=case.shape, time=found.time, agrees=found.agrees)


def threads_sweep(folder: Path, settings: BenchSettings, fastest: str) -> Sweep:
    """Sweep of threads: one, and twice as many until all are used."""
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= settings.threads]
    points: list[Point] = []
    for threads in counts:
        click.echo(f"  threads = {threads}", err=True)
        bench = open_workbench(folder, threads, settings.device, settings.engine)
        points += swept(bench, make_bench_request(bench.scorer, settings.size, threads), threads, fastest)
    torch.set_num_threads(settings.threads)
    return Sweep(name="threads", points=tuple(points))


def load(bench: Workbench, case: BenchRequest) -> Iterator[Load]:
    """Load on each engine at rising rates; requests have the case's size, two workers share its threads."""
    for precision, path in bench.bundles.items():
        with Scorer.load(path, threads=max(1, case.shape.threads // LOAD_WORKERS)) as scorer:
            yield from measure_load(f"yoj {precision}", scorer, case.request, LOAD_REQUESTS, LOAD_WORKERS)


def _marked(image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    changed = image.copy()
    changed[0, 0] = number
    return changed
