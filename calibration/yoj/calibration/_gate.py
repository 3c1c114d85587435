"""Losses and gains of a quantised bundle against one in float, on held-out requests and on this machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from yoj.export.bundle.install import install
from yoj.export.bundle.names import QUANTISATION, VISION_PREFIX
from yoj.export.bundle.place import folder_beside
from yoj.export.quantisation.config import QuantisationSpec
from yoj.runtime import Reading, Request, Scorer
from yoj.runtime import manifest as m
from yoj.runtime.bundle import sha256
from yoj.runtime.lines import read_entries
from yoj.runtime.schemes import SCHEMES

from ._content import content_hash
from ._errors import CalibrationError
from ._trial import Damage, damage

REPORT = "calibration/gate-{engine}.json"
TURNS = 5
"""Number of times that both bundles read the timed requests, in turns; the fastest counts."""
TIMED = 32
"""Number of timed requests: the longest, whose time is the engine's."""
FEWEST = 50


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``calibration/gate-onnxruntime.json``, one for each engine that was measured."""

    engine: str
    precision: str
    against: str
    """Engine and precision of the other bundle."""
    requests: int
    data: str
    """SHA-256 of the file of requests."""
    damage: Damage
    accuracy: float | None
    """Share of the ranked requests whose best response is one of the best-ranked; None without rankings."""
    accuracy_against: float | None
    speedup: float
    """Ratio of the other bundle's time to this one's on the timed requests; features of media are remembered."""
    vision_speedup: float | None = None
    """Ratio of the times of the vision graphs, where matrices of it are quantised."""
    bytes: int
    bytes_against: int
    max_flips: float
    passed: bool
    reasons: tuple[str, ...]
    """Reasons why the bundle did not pass."""


@dataclass(frozen=True)
class GateLimits:
    """Requirements of a bundle."""

    max_flips: float = 0.005
    max_loss: float = 0.01
    """Largest loss of accuracy."""
    faster: bool = True


@dataclass(frozen=True)
class GatedPair:
    """Bundles that are compared."""

    bundle: Path
    """Quantised bundle."""
    against: Path
    engine: str | None
    """Engine of both bundles; None for the first that each holds."""


def measure(pair: GatedPair, file: Path, reading: Reading, limits: GateLimits, note: Callable[[str], None]) -> Gate:
    """Score the requests of a file with both bundles, and time them.

    Raises:
        CalibrationError: the bundles are not of one model, or there are too few requests.
        YojError: a bundle, an engine or a request cannot be used.
    """
    bundle, against, engine = pair.bundle, pair.against, pair.engine
    lines = read_requests_with_rankings(file, reading)
    requests = [request for request, _ in lines]
    if len(requests) < FEWEST:
        raise CalibrationError(f"{file} has {len(requests)} requests; give {FEWEST} at least, better 1,000 and more.")
    config = _spec_of(bundle)
    _check_unseen(bundle, config, file, requests)
    with Scorer.load(bundle, engine=engine) as quantised, Scorer.load(against, engine=engine) as whole:
        _check_same_model(quantised, whole, bundle, against)
        note(f"score {len(requests)} requests with both")
        found, expected = (
            [np.array(j.scores, np.float32) for j in s.score_batch(requests)] for s in (quantised, whole)
        )
        many = [index for index, request in enumerate(requests) if len(request.responses) > 1]
        if not many:
            raise CalibrationError(f"{file}: no request has two responses or more, so that no ranking can change.")
        loss = damage([found[i] for i in many], [expected[i] for i in many])
        note("time both in turns")
        speedup = _speedup(quantised, whole, requests)
        tower = any(name.startswith(VISION_PREFIX) for name in config.layers)
        gate = Gate(
            engine=quantised.engine.engine,
            precision=quantised.engine.precision,
            against=f"{whole.engine.engine} {whole.engine.precision}",
            requests=len(requests),
            data=sha256(file),
            damage=loss,
            accuracy=accuracy(found, lines),
            accuracy_against=accuracy(expected, lines),
            speedup=speedup,
            vision_speedup=_vision_speedup(quantised, whole, requests, file) if tower else None,
            bytes=_size(quantised.manifest),
            bytes_against=_size(whole.manifest),
            max_flips=limits.max_flips,
            passed=False,
            reasons=(),
        )
    reasons = _reasons(gate, limits)
    return msgspec.structs.replace(gate, passed=not reasons, reasons=reasons)


def stamp(bundle: Path, gate: Gate, note: Callable[[str], None]) -> None:
    """Write the figures into the bundle."""
    folder = folder_beside(bundle.resolve(), note)
    try:
        file = folder / REPORT.format(engine=gate.engine)
        file.parent.mkdir(parents=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(gate), indent=1) + b"\n")
        install(bundle.resolve(), folder, lambda manifest: manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_requests_with_rankings(file: Path, reading: Reading) -> list[tuple[Request, Sequence[float] | None]]:
    """Requests of a file in its order, each with its rankings where the line has some.

    Raises:
        RequestError: a line is not a request.
    """
    entries = read_entries(file, reading)
    return [(entry.request, entry.rankings) for entry in entries if isinstance(entry.request, Request)]


def accuracy(
    scores: Sequence[NDArray[np.float32]], lines: Sequence[tuple[Request, Sequence[float] | None]]
) -> float | None:
    """Share of the ranked requests whose best response is one of the best-ranked."""
    hits = [
        rankings[int(of.argmax())] == min(rankings) for of, (_, rankings) in zip(scores, lines, strict=True) if rankings
    ]
    return float(np.mean(hits)) if hits else None


def _check_same_model(one: Scorer, other: Scorer, bundle: Path, against: Path) -> None:
    mine, theirs = ({*s.manifest.provenance.checkpoint.values()} for s in (one, other))
    if other.engine.precision in SCHEMES:
        raise CalibrationError(
            f"{against} is quantised itself ({other.engine.precision}). Give a bundle of the same checkpoint in "
            "float32 or float16."
        )
    if mine != theirs or one.manifest.layout != other.manifest.layout:
        raise CalibrationError(
            f"{bundle} and {against} are not made from one checkpoint in one layout, so that their difference is not "
            "what quantisation costs. Export both from the same files."
        )


def _spec_of(bundle: Path) -> QuantisationSpec:
    config = bundle / QUANTISATION
    if not config.is_file():
        raise CalibrationError(f"{bundle} is not quantised: there is no {QUANTISATION} in it.")
    return msgspec.json.decode(config.read_bytes(), type=QuantisationSpec)


def _check_unseen(bundle: Path, config: QuantisationSpec, file: Path, requests: Sequence[Request]) -> None:
    """Refuse requests that the choice of the bundle's quantised matrices was made with."""
    known = {*config.about.get("seen", ())}
    if found := sum(content_hash(request) in known for request in requests):
        raise CalibrationError(
            f"{file}: the quantisation config of {bundle} was made with {found} of its {len(requests)} "
            "requests. Give others, which neither yoj-calibrate statistics nor yoj-calibrate quantisation has seen."
        )


def _speedup(quantised: Scorer, whole: Scorer, requests: Sequence[Request]) -> float:
    lengths = [quantised.prepare(request).tokens for request in requests]
    longest = [requests[i] for i in sorted(range(len(requests)), key=lambda i: -lengths[i])[:TIMED]]
    times: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(TURNS + 1):  # the first is for caches and allocation
        for number, scorer in enumerate((quantised, whole)):
            begin = time.perf_counter()
            scorer.score_batch(longest)
            if turn:
                times[number].append(time.perf_counter() - begin)
    return min(times[1]) / min(times[0])


def _vision_speedup(quantised: Scorer, whole: Scorer, requests: Sequence[Request], file: Path) -> float:
    """Ratio of the vision graphs' times, with media that look new each turn."""
    media = [request for request in requests if quantised.prepare(request).media][:TIMED]
    if not media:
        raise CalibrationError(
            f"{file}: no request has an image or a video, so that nothing shows what the quantised vision tower costs. "
            "Give requests of the kind that will be scored."
        )
    times: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(TURNS + 1):
        for number, scorer in enumerate((quantised, whole)):
            total = 0.0
            for request in media:
                prepared = scorer.prepare(request)
                fresh = replace(prepared, keys=tuple(key + bytes([turn]) for key in prepared.keys))
                total += scorer.score_prepared([fresh])[0].timings_ms["vision"]
            if turn:
                times[number].append(total)
    return min(times[1]) / min(times[0])


def _size(manifest: m.Manifest) -> int:
    return sum(file.bytes for name, file in manifest.files.items() if name.startswith("onnx/"))


def _reasons(gate: Gate, limits: GateLimits) -> tuple[str, ...]:
    reasons: list[str] = []
    if gate.damage.flips > limits.max_flips:
        reasons.append(f"{gate.damage.flips:.2%} of the first places change, {limits.max_flips:.2%} are allowed")
    if gate.accuracy is not None and gate.accuracy_against is not None:
        lost = gate.accuracy_against - gate.accuracy
        if lost > limits.max_loss:
            reasons.append(f"accuracy falls by {lost:.2%}, {limits.max_loss:.2%} are allowed")
    if limits.faster and gate.speedup <= 1:
        reasons.append(f"it is not faster: {gate.speedup:.2f} times as fast as {gate.against}")
    if limits.faster and gate.vision_speedup is not None and gate.vision_speedup <= 1:
        reasons.append(f"its vision tower is not faster: {gate.vision_speedup:.2f} times as fast as {gate.against}")
    return tuple(reasons)
