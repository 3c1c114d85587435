"""Agreement of an engine with the stock model, measured on requests that differ from those that were traced."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from yoj.runtime import Image, Prepared, Request, Scorer
from yoj.runtime.families import Arrays
from yoj.runtime.manifest import Manifest, Mode, ResponseImages, ValueHead
from yoj.runtime.request import Content
from yoj.runtime.schemes import SCHEMES

from .._errors import FidelityError
from ..checkpoint.checkpoint import Checkpoint
from ..families import ExportFamily
from ._language import LanguageAgreement, compare_language
from ._stock_pictures import Pictures, compare_pictures
from ._token_check import TokenCheck
from .stock_model import StockModel, of_one_order

THRESHOLDS = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 2e-1} | {n: s.threshold for n, s in SCHEMES.items()}
"""Largest difference of a score, or of a sigma, by precision, where the head's output is divided by sqrt(hidden size);
others are larger by as much as they are divided by less. DESIGN section 8 has float32; those of 16 bits are about
40 times the unit roundoff, 2**-11 and 2**-8, twice what small judges with scores of magnitude 1 to 5 differ by."""
WORDS = "a the red blue small cat dog car tree is are in on under near two three, and not. It shows 42% of".split()  # noqa: SIM905


@dataclass(frozen=True)
class RequestSpec:
    """Sizes of one request."""

    n: int
    words: int
    """Approximate number of tokens of a response."""
    images: tuple[tuple[int, int], ...] = ()
    """Height and width of each image in pixels."""
    frames: int = 0


@dataclass(frozen=True)
class Case:
    """One batch of the grid."""

    name: str
    requests: tuple[RequestSpec, ...]
    mode: Mode = "joint"


GRID = (
    Case("text, one response", (RequestSpec(1, 12),)),
    Case("text, N=4", (RequestSpec(4, 20),)),
    Case("image 300x200, N=2", (RequestSpec(2, 9, ((300, 200),)),)),
    Case("image 64x700, N=8", (RequestSpec(8, 5, ((64, 700),)),)),
    Case("two images, N=3", (RequestSpec(3, 15, ((50, 70), (410, 400))),)),
    Case("video of 3 frames, N=3", (RequestSpec(3, 7, frames=3),)),
    Case("B=2, text of unequal N", (RequestSpec(2, 30), RequestSpec(5, 6))),
    Case(
        "B=3, text, image, two images",
        (RequestSpec(4, 11), RequestSpec(1, 3, ((33, 57),)), RequestSpec(3, 8, ((90, 120), (222, 111)))),
    ),
    Case("image and video, N=4", (RequestSpec(4, 8, ((70, 50),), frames=4),)),
    Case("B=2, image, video", (RequestSpec(2, 4, ((120, 90),)), RequestSpec(4, 6, frames=2))),
    Case("text, N=16", (RequestSpec(16, 10),)),
    Case("isolated, text, N=5", (RequestSpec(5, 14),), "isolated"),
    Case("isolated, B=2, image, text", (RequestSpec(3, 9, ((130, 210),)), RequestSpec(6, 5)), "isolated"),
)
SMALL = (60, 90)
"""Height and width of the source that is made up where a judge of pictures needs one."""
SAMPLES = ("text, N=4", "two images, N=3", "video of 3 frames, N=3")


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement on one batch."""

    case: str
    B: int
    N: int
    L: int
    V: int
    max_abs_diff: float
    """Largest difference of the scores and, with a Gaussian head, of sigma."""
    top1: bool
    """Whether the engine's best response is the stock model's, or within the threshold of it."""
    kendall_tau: float | None
    """Kendall's tau, mean over the requests with more than one response."""


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``fidelity.json`` for one engine and precision."""

    engine: str
    precision: str
    reference: str
    threshold: float
    max_abs_diff: float
    top1_agreement: float
    kendall_tau: float
    token_ids_equal: bool
    """Whether every row has the ids that the checkpoint's own template and tokenizer give."""
    passed: bool
    cases: tuple[CaseResult, ...]
    pictures: Pictures | None = None
    """Agreement of the runtime's pictures with those of the checkpoint's own image processor; None in older bundles."""
    language: LanguageAgreement | None = None
    """Agreement of the language graph; None where there is none, or no stock model to compare it with."""


def measure(scorer: Scorer, checkpoint: Checkpoint, family: ExportFamily, done: Callable[[str], None]) -> Fidelity:
    """Score the grid with the engine, in batches, and with the stock model, one request at a time.

    Args:
        scorer: scorer of the bundle.
        checkpoint: checkpoint that it was made from.
        family: family of the checkpoint.
        done: function that takes the name of each finished case.

    Raises:
        FidelityError: the two have different outputs, so there is nothing to compare.
    """
    _check_same_head(scorer.manifest.value_head, checkpoint)
    reference, tokens = StockModel(checkpoint, family), TokenCheck(scorer, checkpoint, family.markup())
    results: list[CaseResult] = []
    ids_equal = True
    threshold = THRESHOLDS[scorer.engine.precision] * _unit(scorer.manifest)
    layout = scorer.manifest.layout
    for case in grid(scorer.manifest):
        case = case if layout.separator else replace(case, mode="isolated")
        requests = make_requests(case, scorer.manifest.response_images)
        batch = [scorer.prepare(request, case.mode) for request in requests]
        expected = [_expected(scorer, reference, request, case.mode) for request in requests]
        got = _by_request(scorer.outputs(batch), batch, scorer.manifest.value_head)
        results.append(_compare(case, batch, expected, got, threshold))
        single = requests if case.mode == "joint" else _one_by_one(requests)
        ids_equal &= all(map(tokens.same, single))
        done(case.name)
    images = [np.asarray(image) for case in GRID for request in make_requests(case) for image in request.images]
    pictures = compare_pictures(checkpoint, scorer.family, images, family.stock_image)
    done(pictures.text)
    language = _language(scorer, reference, done)
    worst = max(r.max_abs_diff for r in results)
    return Fidelity(
        engine=scorer.engine.engine,
        precision=scorer.engine.precision,
        reference=reference.name,
        threshold=threshold,
        max_abs_diff=worst,
        top1_agreement=float(np.mean([r.top1 for r in results])),
        kendall_tau=float(np.mean([r.kendall_tau for r in results if r.kendall_tau is not None])),
        token_ids_equal=ids_equal,
        passed=ids_equal and worst <= threshold and pictures.problem is None and (language is None or language.passed),
        cases=tuple(results),
        pictures=pictures,
        language=language,
    )


def _check_same_head(head: ValueHead, checkpoint: Checkpoint) -> None:
    """Refuse a comparison of outputs that are not the same."""
    outputs = head.outputs, checkpoint.head.outputs
    if outputs[0] != outputs[1]:
        raise FidelityError(
            f"The bundle's head has value_head_outputs {outputs[0]}, the checkpoint's has {outputs[1]}."
        )
    names = tuple(dimension.name for dimension in head.dimensions)
    if names != checkpoint.head.dimensions:
        raise FidelityError(
            f"The bundle's head has the dimensions {names or 'none'}, the checkpoint's {checkpoint.head.dimensions}."
        )


def _by_request(outputs: Arrays, batch: Sequence[Prepared], head: ValueHead) -> list[Arrays]:
    """Outputs of each request, [N] or [N, J], from those of a batch of rows."""
    ends = np.cumsum([len(prepared.packs) for prepared in batch]).tolist()
    return [
        of_one_order({name: values[end - len(prepared.packs) : end] for name, values in outputs.items()}, head)
        for prepared, end in zip(batch, ends, strict=True)
    ]


def _language(scorer: Scorer, reference: StockModel, done: Callable[[str], None]) -> LanguageAgreement | None:
    """Agreement of the language graph, where the bundle has one."""
    if scorer.manifest.language is None:
        return None
    # A logit is as a score that nothing divides.
    threshold = THRESHOLDS[scorer.engine.precision] * math.sqrt(scorer.manifest.hidden_size)
    samples = make_samples(scorer.manifest.response_images)
    language = compare_language(scorer, reference, samples, threshold)
    done(language.text if language else "language graph: not compared, transformers has no such model")
    return language


def _expected(scorer: Scorer, reference: StockModel, request: Request, mode: Mode) -> Arrays:
    """Outputs of the stock model, each [N]; in isolated mode from a pass of its own for each response."""
    if mode == "joint":
        return reference.outputs(scorer.prepare(request, "joint"), scorer.family)
    alone = [scorer.prepare(one, "joint") for one in _one_by_one([request])]
    outputs = [reference.outputs(prepared, scorer.family) for prepared in alone]
    return {name: np.concatenate([of[name] for of in outputs]) for name in outputs[0]}


def _unit(manifest: Manifest) -> float:
    """Ratio of the scores' unit to that of a head whose output is divided by sqrt(hidden size); 1 at least."""
    return max(1.0, math.sqrt(manifest.hidden_size) / manifest.value_head.divisor)


def _one_by_one(requests: Sequence[Request]) -> list[Request]:
    """Requests with one response each."""
    return [replace(request, responses=[response]) for request in requests for response in request.responses]


def require(fidelity: Fidelity) -> None:
    """Refuse a bundle that does not agree.

    Raises:
        FidelityError: the bundle does not agree; the text has the table of all cases.
    """
    if fidelity.pictures and fidelity.pictures.problem:
        raise FidelityError(
            f"Images would not be what the checkpoint's own processor makes of them: {fidelity.pictures.text}. Please "
            "report this with the checkpoint's processor files and the versions that yoj-export inspect prints."
        )
    if fidelity.language and not fidelity.language.passed:
        raise FidelityError(
            f"{fidelity.engine} {fidelity.precision} does not agree with {fidelity.reference}: "
            f"{fidelity.language.text}. Export without --language, and please report this with the versions that "
            "yoj-export inspect prints."
        )
    if not fidelity.passed:
        reason = (
            "token ids differ from those of the checkpoint's own template and tokenizer"
            if not fidelity.token_ids_equal
            else f"scores or their sigma differ by up to {fidelity.max_abs_diff:.2e}, more than {fidelity.threshold:g}"
        )
        if not np.isfinite(fidelity.max_abs_diff):
            reason = "scores or their sigma are NaN or infinite. Check the checkpoint's tensors for NaN"
        if fidelity.precision in SCHEMES and fidelity.token_ids_equal and np.isfinite(fidelity.max_abs_diff):
            raise FidelityError(
                f"{table(fidelity)}\n{fidelity.precision} costs this model up to {fidelity.max_abs_diff:.2f} of a "
                f"score on made-up requests, {fidelity.threshold:g} is allowed. Make a config with a smaller "
                "--max-flips or another --scheme; or, where its own figures are good enough, export with --no-compare "
                "and measure with yoj-calibrate gate."
            )
        raise FidelityError(
            f"{fidelity.engine} {fidelity.precision} does not agree with {fidelity.reference}: {reason}.\n"
            f"{table(fidelity)}\nPlease report this with the versions that yoj-export inspect prints."
        )


def table(fidelity: Fidelity) -> str:
    """Table of the cases as text."""
    lines = [f"{'case':32} {'B':>2} {'N':>3} {'L':>6} {'V':>6} {'max |diff|':>11} {'top-1':>6} {'tau':>6}"]
    for r in fidelity.cases:
        tau = "" if r.kendall_tau is None else f"{r.kendall_tau:.3f}"
        top1 = "yes" if r.top1 else "NO"
        lines.append(f"{r.case:32} {r.B:2} {r.N:3} {r.L:6} {r.V:6} {r.max_abs_diff:11.2e} {top1:>6} {tau:>6}")
    return "\n".join(lines)


def grid(manifest: Manifest) -> list[Case]:
    """Cases that a bundle takes."""

    def takes(spec: RequestSpec) -> bool:
        together = manifest.limits.images_with_video or not (spec.images and spec.frames)
        return together and not (manifest.response_images and spec.frames)

    return [case for case in GRID if all(map(takes, case.requests))]


def make_requests(case: Case, pictures: ResponseImages | None = None) -> list[Request]:
    """Requests of a case, the same on every machine.

    Args:
        case: the case.
        pictures: pictures that every response needs: then each is one, as large as the prompt's last.
    """
    draw = random.Random(case.name)

    def text(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words))

    requests: list[Request] = []
    pixels = np.random.default_rng(len(case.name))
    for spec in case.requests:
        images = [pixels.integers(0, 256, (*size, 3), np.uint8) for size in spec.images]
        video = list(pixels.integers(0, 256, (spec.frames, 100, 160, 3), np.uint8)) or None
        responses: list[Content] = [text(spec.words + draw.randrange(4)) for _ in range(spec.n)]
        if pictures is not None:
            images = images or [pixels.integers(0, 256, (*SMALL, 3), np.uint8)]
            responses = [Image(pixels.integers(0, 256, images[-1].shape, np.uint8)) for _ in range(spec.n)]
        requests.append(Request(text(8 + draw.randrange(9)) + "?", responses, images, video))
    return requests


def make_samples(pictures: ResponseImages | None = None) -> list[Request]:
    """Requests of the grid with text, with images and with a video; see `make_requests`."""
    cases = [case for case in GRID if case.name in SAMPLES]
    cases = [case for case in cases if pictures is None or not any(spec.frames for spec in case.requests)]
    return [request for case in cases for request in make_requests(case, pictures)]


def _compare(
    case: Case, batch: Sequence[Prepared], references: Sequence[Arrays], outputs: Sequence[Arrays], threshold: float
) -> CaseResult:
    expected = [column for reference in references for column in _rankings(reference["scores"])]
    got = [
        column[: len(reference["scores"])]
        for own, reference in zip(outputs, references, strict=True)
        for column in _rankings(own["scores"])
    ]
    taus = [kendall_tau(g, e) for g, e in zip(got, expected, strict=True) if len(e) > 1]
    diffs = [
        float(np.abs(own[name][: len(values)].astype(np.float64) - values).max())
        for own, reference in zip(outputs, references, strict=True)
        for name, values in reference.items()
    ]
    return CaseResult(
        case=case.name,
        B=len(batch),
        N=max(map(len, expected)),
        L=max(prepared.tokens for prepared in batch),
        V=sum(medium.rows for prepared in batch for medium in prepared.media),
        max_abs_diff=max(diffs) if np.isfinite(diffs).all() else float("inf"),
        top1=all(e[g.argmax()] >= e.max() - threshold for g, e in zip(got, expected, strict=True)),
        kendall_tau=float(np.mean(taus)) if taus else None,
    )


def _rankings(scores: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Scores [N] that rank the responses: those of each dimension, where they are [N, J]."""
    return [scores] if scores.ndim == 1 else [*scores.T]


def kendall_tau(a_N: NDArray[np.float32], b_N: NDArray[np.float32]) -> float:
    """Kendall's tau-a: concordant minus discordant pairs, over all pairs."""
    i, j = np.triu_indices(len(a_N), 1)
    return float(np.mean(np.sign(a_N[i] - a_N[j]) * np.sign(b_N[i] - b_N[j])))
