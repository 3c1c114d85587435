"""Answer to one request: scores, and everything that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batch import About, Prepared
from .deprecation import warn_renamed
from .dimensions import asks_of, by_dimension, pooled
from .families import Arrays
from .manifest import Manifest, Mode
from .orders import average, by_response
from .packing import Truncation
from .packs import Members
from .request import Method
from .temperature import ScoringConditions, temperature_for, why_uncalibrated


@dataclass(frozen=True)
class TokenCounts:
    """Token counts of a request, in the first of its orders."""

    row: int
    """Tokens of the row, L."""
    prompt: int
    """Tokens before the first response, media included."""
    responses: tuple[int, ...]
    """[N] Tokens of each response, media included and what the judge asks behind it; separators count for none."""
    visual: int
    """Visual tokens, which stand for images and videos."""


@dataclass(frozen=True)
class DimensionScores:
    """Scores of N responses in one named dimension of the judge."""

    name: str
    scores: tuple[float, ...]
    """[N] scores, in the order the responses were given."""
    sigma: tuple[float, ...] | None = None
    """[N] standard deviation that a Gaussian head states for each score, uncalibrated; None for other heads."""


@dataclass(frozen=True)
class Judgement:
    """Scores of N responses, in the order the responses were given.

    Scores compare only within one judgement: the model was trained to rank the responses of one pack.
    """

    scores: tuple[float, ...]
    """[N] float32 outputs of the value head over its divisor, sqrt(hidden size) for heads over several responses; of a
    judge with named dimensions, these pooled, or those of the ``dimension`` that ranks."""
    probabilities: tuple[float, ...]
    """[N] P(best) = softmax(scores / temperature)."""
    ranks: tuple[int, ...]
    """[N] ranks, 1 for the highest score; equal scores share the better rank."""
    best: int
    """Index of the highest score, the first of equals."""
    margin: float | None
    """Highest score minus the second highest; None for one response."""
    entropy: float
    """Entropy of the probabilities, in nats: 0 is certain, log(N) is undecided."""
    calibrated: bool
    """Whether the temperature was fitted on rankings of requests that were read like this one."""
    temperature: float = 1.0
    """Temperature of the probabilities, in units of the score; 1 where none was fitted."""
    uncalibrated: str | None = None
    """Reason why the probabilities are not calibrated; None where they are."""
    sigma: tuple[float, ...] | None = None
    """[N] standard deviation that a Gaussian head states for each score, uncalibrated; None for other heads. With
    several orders the mean over them."""
    dimensions: tuple[DimensionScores, ...] = ()
    """Scores in each named dimension of the judge; empty for a judge of one score."""
    dimension: str | None = None
    """Dimension whose scores rank the responses, as the request asked; None for the pooled score."""
    mode: Mode = "joint"
    """Mode in which the responses were read."""
    trained_mode: Mode = "joint"
    """Mode in which the model was trained; scores of the other mode are an extrapolation."""
    orders: int = 1
    """Number of orders in which the responses were read; with several, scores are centred in each and averaged."""
    method: Method = "pack"
    """Method of the reading: all responses in one pack, or in ``groups`` whose scores were joined on one scale."""
    passes: int = 1
    """Number of packs that were read: one for each order, or all groups. A request's ``passes`` are the most."""
    order_spread: tuple[float, ...] | None = None
    """[N] standard deviation of the centred scores over the orders; in groups, root mean square of what the packs of a
    response differ from its joined score."""
    order_agreement: float | None = None
    """Share of the packs whose best response is, of theirs, the best in the end."""
    frames_given: int | None = None
    """Number of frames of the request's video; None without one."""
    frames_read: int | None = None
    """Number of its frames that the model saw."""
    cuts: tuple[Truncation, ...] = ()
    """Responses that ``overflow="truncate"`` shortened."""
    duplicates: tuple[int, ...] = ()
    """[N] Index of the first response equal to each, whose score it shares; empty where each was read."""
    notices: tuple[str, ...] = ()
    """Notices of what was read differently than it may have been meant, each a full phrase."""
    tokens: TokenCounts | None = None
    """Lengths of the first row, and of the responses."""
    batch: int = 1
    """Number of rows that the engine scored together."""
    timings_ms: dict[str, float] = field(default_factory=dict[str, float])
    """Milliseconds by phase; ``vision``, ``gather`` and ``scorer`` are those of the whole batch."""
    provenance: dict[str, Any] = field(default_factory=dict[str, Any])
    """Engine, precision, layout and bundle that gave the scores."""
    id: str | int | None = None
    """``id`` of the request."""
    metadata: Any = None
    """``metadata`` of the request, passed through."""

    def to_dict(self) -> dict[str, Any]:
        """Judgement as plain Python values that JSON can hold."""
        # `asdict` of the whole would copy number by number, which takes 0.2 ms.
        return vars(self) | {
            "cuts": tuple(asdict(cut) for cut in self.cuts),
            "dimensions": tuple(asdict(one) for one in self.dimensions),
            "tokens": None if self.tokens is None else asdict(self.tokens),
            "timings_ms": dict(self.timings_ms),
            "provenance": dict(self.provenance),
            # The name that `sigma` had in the earlier version: readers of files cannot be warned.
            "spread": self.sigma,
        }

    @property
    def best_first(self) -> list[int]:
        """Indices of the responses, best first; equal ones in the order in which they were given."""
        return sorted(range(len(self.scores)), key=lambda index: (self.ranks[index], index))

    @property
    def spread(self) -> tuple[float, ...] | None:
        """The old name of `sigma`."""
        warn_renamed("Judgement.spread", "Judgement.sigma")
        return self.sigma

    def __str__(self) -> str:
        return self.table()

    def table(self, labels: Sequence[str] | None = None) -> str:
        """The judgement as a small text table, best first.

        Args:
            labels: [N] a short text for each response, such as the response itself.
        """
        heads = "".join(f"  {one.name:>9}" for one in self.dimensions)
        lines = [f"rank  response      score{'' if self.sigma is None else '      sigma'}   P(best){heads}"]
        for index in self.best_first:
            label = f"  {_shorten(labels[index])}" if labels is not None else ""
            sigma = "" if self.sigma is None else f"  {self.sigma[index]:9.4f}"
            score, chance = f"{self.scores[index]:9.4f}", f"{self.probabilities[index]:8.3f}"
            chance += "".join(f"  {one.scores[index]:{max(9, len(one.name))}.4f}" for one in self.dimensions)
            lines.append(f"{self.ranks[index]:4}  {index:8}  {score}{sigma}  {chance}{label}")
        margin = "" if self.margin is None else f"margin {self.margin:.4f}, "
        lines.append(f"{margin}entropy {self.entropy:.3f} nats, probabilities {self.calibration()}")
        return "\n".join([*lines, *self.remarks()])

    def remarks(self) -> list[str]:
        """Phrases on how the request was read, where that is not plain, and its notices."""
        lines: list[str] = []
        if self.dimension is not None:
            lines.append(f"ranked by {self.dimension} alone, as the request asks")
        if self.sigma is not None:
            lines.append("sigma is the standard deviation of each score as the model states it, uncalibrated")
        if self.order_spread is not None:
            read = f"{self.passes} packs of some, joined" if self.method == "groups" else f"{self.orders} orders"
            lines.append(
                f"{read}: same best response in {self.order_agreement:.0%} of them, "
                f"scores moved by {max(self.order_spread):.4f} at most"
            )
        if self.mode != self.trained_mode:
            lines.append(f"read in {self.mode} mode; the model was trained in {self.trained_mode} mode")
        if self.frames_read != self.frames_given:
            lines.append(f"the model saw {self.frames_read} of the {self.frames_given} frames")
        lines += [f"response {c.response} was cut from {c.characters} to {c.kept} characters" for c in self.cuts]
        shared = [f"{k} is the same as {first}" for k, first in enumerate(self.duplicates) if k != first]
        lines += [f"equal responses were read once and share a score: {', '.join(shared)}"] if shared else []
        return [*lines, *(f"note: {notice}" for notice in self.notices)]

    def calibration(self) -> str:
        """Phrase on the temperature of the probabilities and where it comes from."""
        at = f"temperature {self.temperature:.4g}"
        if self.calibrated:
            return f"calibrated, {at}"
        return f"not calibrated, {at}" + (f": {self.uncalibrated}" if self.uncalibrated else "")


def probabilities(scores_N: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Probabilities softmax(scores / temperature), float64 [N]."""
    scaled = scores_N.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


def judge(scores_N: NDArray[np.float32], temperature: float, calibrated: bool, **about: Any) -> Judgement:
    """Build the judgement of one request from its scores.

    Args:
        scores_N: finite float32 [N].
        temperature: temperature of the probabilities, > 0.
        calibrated: whether the temperature was fitted.
        **about: all other fields of `Judgement`.
    """
    chances = probabilities(scores_N, temperature)
    ordered = np.sort(scores_N)[::-1]
    positive = chances[chances > 0]
    return Judgement(
        scores=tuple(scores_N.tolist()),
        probabilities=tuple(chances.tolist()),
        ranks=tuple((1 + (scores_N[None, :] > scores_N[:, None]).sum(axis=1)).tolist()),
        best=int(scores_N.argmax()),
        margin=float(ordered[0] - ordered[1]) if len(ordered) > 1 else None,
        entropy=max(0.0, float(-(positive * np.log(positive)).sum())),
        calibrated=calibrated,
        temperature=temperature,
        **about,
    )


def judge_request(prepared: Prepared, rows: Arrays, manifest: Manifest, precision: str) -> Judgement:
    """Build the judgement of one request from what the scorer graph returned.

    Args:
        prepared: the request.
        rows: outputs of its rows, each float32 [k, N] by place in the order: ``scores``, and ``spread`` of a Gaussian
            head; of a head with named dimensions [k, N, J].
        manifest: the bundle's manifest.
        precision: precision of the engine.
    """
    about, head = prepared.about, manifest.value_head
    orders = prepared.orders[:: len(asks_of(head).rows)]
    named = by_dimension(rows, head)
    outputs = named[about.dimension] if about.dimension is not None else pooled(rows, head)
    averaged = average(outputs["scores"], orders)
    n = len(averaged.scores_N)
    copies = np.array(about.copies or range(n))
    conditions = ScoringConditions(prepared.places, prepared.mode, len(orders), precision)
    wrong = why_uncalibrated(manifest.probabilities, conditions) or _of_another_kind(about)
    given, read = about.frames or (None, None)
    return judge(
        averaged.scores_N[copies],
        temperature_for(manifest.probabilities, prepared.places),
        wrong is None,
        uncalibrated=wrong,
        sigma=_tuple(_sigma(outputs, orders), copies),
        dimensions=tuple(_dimension(name, own, orders, copies) for name, own in named.items()),
        dimension=about.dimension,
        mode=prepared.mode,
        trained_mode=manifest.trained_mode,
        orders=1 if prepared.places < n else len(orders),
        method="groups" if prepared.places < n else "pack",
        passes=len(prepared.packs),
        order_spread=_tuple(averaged.spread_N, copies),
        order_agreement=averaged.agreement,
        frames_given=given,
        frames_read=read,
        cuts=_cuts(prepared, copies),
        duplicates=tuple(about.copies.index(copy) for copy in about.copies),
        notices=(*about.notices, *_outside(prepared, manifest)),
        tokens=_counts(prepared, copies),
        id=about.id,
        metadata=about.metadata,
    )


def _of_another_kind(about: About) -> str | None:
    """Reason why a fit does not hold for a request that was scored under its conditions; None where it holds."""
    if about.copies:
        return "fitted on responses that differ, here some are equal"
    return None if about.dimension is None else f"fitted on the pooled score, here {about.dimension} ranks"


def _sigma(outputs: Arrays, orders: tuple[Members, ...]) -> NDArray[np.float32] | None:
    """Sigma [N] of a Gaussian head, the mean over the rows."""
    return np.nanmean(by_response(outputs["spread"], orders), axis=0) if "spread" in outputs else None


def _dimension(name: str, outputs: Arrays, orders: tuple[Members, ...], copies: NDArray[np.int_]) -> DimensionScores:
    scores_N = average(outputs["scores"], orders).scores_N[copies]
    return DimensionScores(name, tuple(scores_N.tolist()), _tuple(_sigma(outputs, orders), copies))


def _outside(prepared: Prepared, manifest: Manifest) -> tuple[str, ...]:
    """Notice where a row holds fewer or more responses than those of the training did."""
    if manifest.trained_n is None or prepared.mode == "isolated":
        return ()
    (least, most), sizes = manifest.trained_n, {len(order) for order in prepared.orders}
    if least <= min(sizes) and max(sizes) <= most:
        return ()
    if sizes == {1} and prepared.about.copies:
        return ("all responses are equal, so that one was read and there is nothing to compare",)
    advice = ", and ranks of so many are less sure; method='groups' reads them in smaller packs" * (max(sizes) > most)
    trained = f"N={least}" + (f" to {most}" if most > least else "")
    read = "N=" + " and ".join(str(size) for size in sorted(sizes) if not least <= size <= most)
    return (f"read {read} responses together; the model was trained on {trained}{advice}",)


def _cuts(prepared: Prepared, copies: NDArray[np.int_]) -> tuple[Truncation, ...]:
    """Cuts of the responses given; in several packs a response may have been cut to several lengths: the shortest."""
    shortest: dict[int, Truncation] = {}
    for pack in prepared.packs:
        for cut in pack.cuts:
            if cut.response not in shortest or cut.kept < shortest[cut.response].kept:
                shortest[cut.response] = cut
    return tuple(replace(shortest[copy], response=k) for k, copy in enumerate(copies.tolist()) if copy in shortest)


def _tuple(values_N: NDArray[np.float32] | None, copies: NDArray[np.int_]) -> tuple[float, ...] | None:
    return None if values_N is None else tuple(values_N[copies].tolist())


def _counts(prepared: Prepared, copies: NDArray[np.int_]) -> TokenCounts:
    pack = prepared.packs[0]
    tokens_N = np.empty(1 + max(map(max, prepared.orders)), np.int64)
    for row, members in reversed(list(zip(prepared.packs, prepared.orders, strict=True))):
        tokens_N[list(members)] = row.response_end_N - row.response_start_N + 1
    return TokenCounts(
        row=len(pack.input_ids_L),
        prompt=int(pack.response_start_N[0]) if prepared.mode == "joint" else int((pack.segment_L == 0).sum()),
        responses=tuple(tokens_N[copies].tolist()),
        visual=int((pack.media_L > 0).sum()),
    )


def _shorten(text: str, width: int = 60) -> str:
    flat = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return flat if len(flat) <= width else flat[: width - 1] + "…"
