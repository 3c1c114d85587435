"""How an engine agrees with the reference, measured on packs that differ from those that were traced."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from yoj.runtime import Request, Scorer
from yoj.runtime.batch import Prepared

from .checkpoint import Checkpoint
from .errors import FidelityError
from .families import ExportFamily
from .layout import ChatTemplate
from .reference import Reference, reference_ids

THRESHOLDS = {"float32": 1e-5}
"""Largest score difference by precision. DESIGN section 8."""
WORDS = "a the red blue small cat dog car tree is are in on under near two three, and not. It shows 42% of".split()  # noqa: SIM905


@dataclass(frozen=True)
class Case:
    """One batch of the grid: for each request its N, words of a response, and image sizes (height, width)."""

    name: str
    requests: tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...]


GRID = (
    Case("text, one response", ((1, 12, ()),)),
    Case("text, N=4", ((4, 20, ()),)),
    Case("image 300x200, N=2", ((2, 9, ((300, 200),)),)),
    Case("image 64x700, N=8", ((8, 5, ((64, 700),)),)),
    Case("two images, N=3", ((3, 15, ((50, 70), (410, 400))),)),
    Case("B=2, text of unequal N", ((2, 30, ()), (5, 6, ()))),
    Case("B=3, text, image, two images", ((4, 11, ()), (1, 3, ((33, 57),)), (3, 8, ((90, 120), (222, 111))))),
    Case("text, N=16", ((16, 10, ()),)),
)


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement on one batch."""

    case: str
    B: int
    N: int
    L: int
    V: int
    max_abs_diff: float
    top1: bool
    """Whether the engine's best response is the reference's best, or within the threshold of it."""
    kendall_tau: float | None
    """Mean over the requests with more than one response."""


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """``fidelity.json``: one engine and precision against the reference."""

    engine: str
    precision: str
    reference: str
    threshold: float
    max_abs_diff: float
    top1_agreement: float
    kendall_tau: float
    token_ids_equal: bool
    """Whether every pack has the ids that the checkpoint's own template and tokenizer give."""
    passed: bool
    cases: tuple[CaseResult, ...]


def measure(scorer: Scorer, checkpoint: Checkpoint, family: ExportFamily, done: Callable[[str], None]) -> Fidelity:
    """Score the grid with the engine, in batches, and with the reference, one request at a time.

    Args:
        scorer: the bundle.
        checkpoint: what it was made from.
        family: of the checkpoint.
        done: called with the name of each finished case.
    """
    reference = Reference(checkpoint, family)
    template = ChatTemplate(checkpoint)
    results: list[CaseResult] = []
    ids_equal = True
    threshold = THRESHOLDS[scorer.engine.precision]
    for case in GRID:
        requests = make_requests(case)
        batch = [scorer.prepare(request) for request in requests]
        for request, prepared in zip(requests, batch, strict=True):
            images = [family.image_text(image.ids.tolist()) for image in prepared.images]
            ids = reference_ids(template, family.markup(), scorer.manifest.layout.name, request, images)
            ids_equal &= ids == prepared.pack.input_ids_L.tolist()
        expected = [reference.score(prepared, scorer.family) for prepared in batch]
        results.append(_compare(case, batch, expected, scorer.forward(batch), threshold))
        done(case.name)
    taus = [r.kendall_tau for r in results if r.kendall_tau is not None]
    worst = max(r.max_abs_diff for r in results)
    return Fidelity(
        engine=scorer.engine.engine,
        precision=scorer.engine.precision,
        reference=reference.name,
        threshold=threshold,
        max_abs_diff=worst,
        top1_agreement=float(np.mean([r.top1 for r in results])),
        kendall_tau=float(np.mean(taus)),
        token_ids_equal=ids_equal,
        passed=ids_equal and worst <= threshold,
        cases=tuple(results),
    )


def require(fidelity: Fidelity) -> None:
    """Refuse a bundle that does not agree.

    Raises:
        FidelityError: with the table of all cases.
    """
    if not fidelity.passed:
        reason = (
            "token ids differ from those of the checkpoint's own template and tokenizer"
            if not fidelity.token_ids_equal
            else f"scores differ by up to {fidelity.max_abs_diff:.2e}, more than {fidelity.threshold:g}"
        )
        raise FidelityError(
            f"{fidelity.engine} {fidelity.precision} does not agree with {fidelity.reference}: {reason}.\n"
            f"{table(fidelity)}\nPlease report this with the versions that yoj-export inspect prints."
        )


def table(fidelity: Fidelity) -> str:
    """The cases as text."""
    lines = [f"{'case':32} {'B':>2} {'N':>3} {'L':>6} {'V':>6} {'max |diff|':>11} {'top-1':>6} {'tau':>6}"]
    for r in fidelity.cases:
        tau = "" if r.kendall_tau is None else f"{r.kendall_tau:.3f}"
        top1 = "yes" if r.top1 else "NO"
        lines.append(f"{r.case:32} {r.B:2} {r.N:3} {r.L:6} {r.V:6} {r.max_abs_diff:11.2e} {top1:>6} {tau:>6}")
    return "\n".join(lines)


def make_requests(case: Case) -> list[Request]:
    """The requests of a case, the same on every machine."""
    draw = random.Random(case.name)

    def text(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words))

    requests: list[Request] = []
    for n, words, sizes in case.requests:
        pixels = np.random.default_rng(len(case.name))
        images = [pixels.integers(0, 256, (height, width, 3), np.uint8) for height, width in sizes]
        responses = [text(words + draw.randrange(4)) for _ in range(n)]
        requests.append(Request(text(8 + draw.randrange(9)) + "?", responses, images))
    return requests


def _compare(
    case: Case, batch: Sequence[Prepared], expected: Sequence[NDArray[np.float32]], scores_BN: NDArray[np.float32],
    threshold: float,
) -> CaseResult:  # fmt: skip
    got = [scores_N[: len(e)] for scores_N, e in zip(scores_BN, expected, strict=True)]
    taus = [kendall_tau(g, e) for g, e in zip(got, expected, strict=True) if len(e) > 1]
    diffs = [float(np.abs(g.astype(np.float64) - e).max()) for g, e in zip(got, expected, strict=True)]
    return CaseResult(
        case=case.name,
        B=len(batch),
        N=max(map(len, expected)),
        L=max(len(prepared.pack.input_ids_L) for prepared in batch),
        V=sum(image.rows for prepared in batch for image in prepared.images),
        max_abs_diff=max(diffs) if np.isfinite(diffs).all() else float("inf"),
        top1=all(e[g.argmax()] >= e.max() - threshold for g, e in zip(got, expected, strict=True)),
        kendall_tau=float(np.mean(taus)) if taus else None,
    )


def kendall_tau(a_N: NDArray[np.float32], b_N: NDArray[np.float32]) -> float:
    """Kendall's tau-a: concordant minus discordant pairs, over all pairs."""
    i, j = np.triu_indices(len(a_N), 1)
    return float(np.mean(np.sign(a_N[i] - a_N[j]) * np.sign(b_N[i] - b_N[j])))
