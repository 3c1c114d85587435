"""Rankings -> temperatures in a bundle: scored, fitted, measured, and put in place at once or not at all."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from yoj.export import OutputError
from yoj.export.bundle.install import check_rewritable, install
from yoj.export.bundle.place import folder_beside
from yoj.runtime import Reading, Request, Scorer
from yoj.runtime import manifest as m
from yoj.runtime.lines import read_entries

from ._by_n import TemperatureRow, Temperatures, fit_by_n
from ._errors import CalibrationError
from ._reliability import BINS, bins, draw
from .temperature import MIN_SAMPLES, Samples, samples_of

REPORT = "calibration/probabilities.json"
DIAGRAM = "calibration/reliability.svg"
CHUNK = 16
"""Number of requests that are scored together."""


@dataclass(frozen=True)
class Ranked:
    """One line of the file of rankings."""

    number: int
    digest: str
    request: Request
    rankings: Sequence[float]
    """[N] ranks, smallest = best."""


@dataclass(frozen=True)
class CalibrationJob:
    """Files and settings of a calibration."""

    bundle: Path
    rankings: Path
    """File of JSON lines as `yoj-score` reads them, each with ``rankings``; none of them seen in training."""
    engine: str | None = None
    mode: m.Mode | None = None
    """Mode in which the responses are read; None for the one that the model was trained in."""
    reading: Reading | None = None
    """Settings for reading the rankings; None for media in their folder."""


@dataclass(frozen=True)
class Outcome:
    """Result of a calibration: temperatures that were fitted and written."""

    manifest: m.Manifest
    temperatures: Temperatures


def calibrate(order: CalibrationJob, advance: Callable[[int, int], None]) -> Outcome:
    """Score the rankings, fit temperatures, and put them with a report and a diagram into the bundle.

    Args:
        order: files and settings.
        advance: function that takes the number of requests scored and their total.

    Raises:
        CalibrationError: the rankings cannot be used, or the bundle was changed meanwhile.
        BundleError: there is no bundle, or it is damaged, or only a newer yoj can change it.
        EngineError: the engine cannot be opened.
        OutputError: the bundle cannot be written to.
    """
    text = order.rankings.read_bytes()
    with Scorer.load(order.bundle, engine=order.engine) as scorer:
        check_rewritable(order.bundle)
        before, engine = scorer.manifest, scorer.engine
        mode = order.mode or before.trained_mode
        lines = read_rankings(order.rankings, mode, order.reading)
        scores = _score(scorer, lines, mode, order.rankings, advance)
    samples = samples_of(scores, [line.rankings for line in lines])
    found = fit_by_n(samples)
    fitted = m.ProbabilityFit(
        samples=len(samples),
        data=hashlib.sha256(text).hexdigest(),
        mode=mode,
        engine=engine.engine,
        precision=engine.precision,
        before=found.pooled.before,
        after=found.pooled.after,
    )
    changed = msgspec.structs.replace(before, probabilities=_probabilities(found, fitted))
    return Outcome(_put_in_place(order.bundle.resolve(), samples, found, changed), found)


def _probabilities(found: Temperatures, fitted: m.ProbabilityFit) -> m.Probabilities:
    by_n = [(row.n, row) for row in found.by_n if row.n is not None]
    return m.Probabilities(
        temperature=found.pooled.fit.temperature,
        calibrated=True,
        by_n=tuple(m.TemperatureOfN(N=n, temperature=row.fit.temperature, samples=row.samples) for n, row in by_n),
        fit=fitted,
    )


def read_rankings(file: Path, mode: m.Mode, reading: Reading | None = None) -> list[Ranked]:
    """Read the requests of a file of rankings, in the order of their hashes.

    That order has nothing to do with their content.

    Args:
        file: file of JSON lines.
        mode: mode in which the responses will be read.
        reading: settings for reading the lines; None for media in the folder of the file.

    Raises:
        RequestError: a line is no request.
        CalibrationError: a line has no rankings or one response, or asks for another mode or order; or there are too
            few lines.
    """
    found: list[Ranked] = []
    for entry in read_entries(file, reading):
        where, request, rankings = f"{file}, line {entry.number}", entry.request, entry.rankings
        assert isinstance(request, Request)
        if rankings is None:
            raise CalibrationError(f"{where} has no rankings. Give one for each response, 1 = best, or leave it out.")
        if request.mode not in (None, mode) or request.orders not in (None, 1):
            raise CalibrationError(
                f"{where} has mode {request.mode or mode} and orders {request.orders or 1}; probabilities are "
                f"calibrated for {mode} mode and one order. Leave the fields out."
            )
        if len(rankings) < 2:
            raise CalibrationError(
                f"{where} has {len(rankings)} responses, which says nothing of probabilities. Leave it out."
            )
        found.append(Ranked(entry.number, entry.digest, request, rankings))
    if len(found) < MIN_SAMPLES:
        raise CalibrationError(
            f"{file} has {len(found)} requests, at least {MIN_SAMPLES} are needed: a temperature fitted on fewer may "
            "be worse than none. Add requests."
        )
    return sorted(found, key=lambda line: (line.digest, line.number))


def _score(
    scorer: Scorer, lines: Sequence[Ranked], mode: m.Mode, file: Path, advance: Callable[[int, int], None]
) -> list[tuple[float, ...]]:
    scores: list[tuple[float, ...]] = []
    for begin in range(0, len(lines), CHUNK):
        chunk = lines[begin : begin + CHUNK]
        judgements = scorer.score_batch([line.request for line in chunk], mode=mode, on_error="return")
        for line, judgement in zip(chunk, judgements, strict=True):
            if isinstance(judgement, Exception):
                raise CalibrationError(f"{file}, line {line.number}: {judgement}") from judgement
            scores.append(judgement.scores)
        advance(len(scores), len(lines))
    return scores


def _put_in_place(path: Path, samples: Samples, found: Temperatures, changed: m.Manifest) -> m.Manifest:
    """Write the files beside the bundle and install them with the changed manifest, whose digest is still old."""
    folder = folder_beside(path, lambda _: None)

    def change(now: m.Manifest) -> m.Manifest:
        if now.digest != changed.digest:
            raise CalibrationError(
                f"{path} was changed while its scores were computed: the digest of its manifest is {now.digest[:16]} "
                f"instead of {changed.digest[:16]}. Run the command again."
            )
        return changed

    try:
        (folder / REPORT).parent.mkdir(parents=True)
        _write(folder, samples, found, changed)
        (folder / "README.md").write_text(_card(path, changed), "utf-8")
        return install(path, folder, change)
    except OSError as error:
        raise OutputError(f"{path} cannot be written to: {error}. The bundle is as it was.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, samples: Samples, found: Temperatures, changed: m.Manifest) -> None:
    """Write the report and the diagram."""
    before, after = bins(samples, 1.0), bins(samples, found.crossed_S)
    report = {
        **msgspec.to_builtins(changed.probabilities.fit),
        "bundle": changed.digest,
        "min_samples": MIN_SAMPLES,
        "notes": notes(found),
        "all": _row(found.pooled),
        "by_n": [_row(row) for row in found.by_n],
        "bins_of_equal_width": BINS,
        "reliability": {"before": [asdict(one) for one in before], "after": [asdict(one) for one in after]},
    }
    (folder / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    titles = f"temperature 1: ECE {found.pooled.before.ece:.3f}", f"fitted, held out: ECE {found.pooled.after.ece:.3f}"
    draw(folder / DIAGRAM, dict(zip(titles, (before, after), strict=True)))


def _row(row: TemperatureRow) -> dict[str, Any]:
    # JSON has no infinity; no error is known where the likelihood is flat.
    error = row.fit.relative_error if math.isfinite(row.fit.relative_error) else None
    qualities = {"before": msgspec.to_builtins(row.before), "after": msgspec.to_builtins(row.after)}
    return {"N": row.n, "samples": row.samples, "own": row.own, **asdict(row.fit), "relative_error": error, **qualities}


def _card(path: Path, changed: m.Manifest) -> str:
    """README of the bundle, which names the temperatures."""
    from yoj.export import Fidelity
    from yoj.export.bundle.card import model_card  # loads PyTorch

    file = path / "fidelity.json"
    compared = msgspec.json.decode(file.read_bytes(), type=list[Fidelity]) if file.is_file() else []
    return model_card(changed, compared[0] if compared else None)


def notes(found: Temperatures) -> list[str]:
    """Notes on the fit beside its numbers, a sentence each."""
    said: list[str] = []
    if len(found.by_n) == 1:
        said.append(f"All requests have N={found.by_n[0].n}: probabilities of other N will not be called calibrated.")
    for row in found.by_n:
        if not row.own:
            few = f"fewer than {MIN_SAMPLES}" if row.samples < MIN_SAMPLES else "with equal scores"
            said.append(f"N={row.n}: {row.samples} requests, {few}; it takes the temperature of all N.")
    fitted = [row for row in found.by_n if row.own] + [found.pooled] * any(not row.own for row in found.by_n)
    return said + [note for row in fitted for note in _notes_of(row)]


def _notes_of(row: TemperatureRow) -> list[str]:
    said: list[str] = []
    name = "All N" if row.n is None else f"N={row.n}"
    if row.fit.bound == "perfect":
        said.append(
            f"{name}: next to no mistake in {row.samples} requests, so a still lower temperature would fit better; "
            f"it is bounded where 1 mistake in {row.samples + 2} is expected."
        )
    if row.fit.bound == "random":
        said.append(
            f"{name}: no better than chance in {row.samples} requests, so a higher temperature would always fit "
            f"better; it is bounded at {row.fit.temperature:.4g}, where probabilities are nearly even."
        )
    if row.after.nll > row.before.nll:
        said.append(
            f"{name}: held out, the fitted temperature is no better than 1 (NLL {row.after.nll:.4f} against "
            f"{row.before.nll:.4f})."
        )
    return said
