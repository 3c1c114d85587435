"""Agreement of the language graph with the stock model: logits of rows that are continued token by token."""

from __future__ import annotations

import msgspec
import numpy as np

from yoj.runtime import Image, Request, Scorer

from .stock_model import StockModel

STEPS = 6
"""Tokens that are read after each row."""


class LanguageAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement of the logits of the language graph with the stock model's."""

    rows: int
    """Number of rows that were continued."""
    max_abs_diff: float
    largest: float
    """Largest magnitude of the stock model's logits."""
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether the graph agrees."""
        return self.max_abs_diff <= self.threshold

    @property
    def text(self) -> str:
        """Agreement in words."""
        return (
            f"language: logits of {self.rows} rows differ by up to {self.max_abs_diff:.1e}, allowed "
            f"{self.threshold:.1e}, largest {self.largest:.1f}"
        )


def compare_language(
    scorer: Scorer, reference: StockModel, requests: list[Request], threshold: float
) -> LanguageAgreement | None:
    """Continue the row of the first response of each request, and a text's row also with a picture behind the text.

    The tokens that are read are arbitrary ones, so that the two need not choose the same.

    Args:
        scorer: scorer of a bundle with a language graph.
        reference: stock model of its checkpoint.
        requests: requests with and without media.
        threshold: allowed difference of a logit.

    Returns:
        None where transformers has no stock model to compare with.
    """
    if not reference.stock:
        return None
    shown = [
        Request(request.prompt, [[text, Image(request.images[0])]], request.images)
        for request in requests
        if request.images and isinstance(text := request.responses[0], str)
    ]
    diffs, largest = [0.0], 0.0
    for number, request in enumerate([*requests, *shown]):
        row = scorer.continuation(request, 0, STEPS)
        ids_L = row.prepared.packs[0].input_ids_L
        length = len(ids_L) - STEPS
        texts = ids_L[:length][row.prepared.packs[0].media_L[:length] == 0]
        ids_L[length:] = np.random.default_rng(number).choice(texts, STEPS)
        got = [row.read_row(length), *(row.read_next(int(token)) for token in ids_L[length:])]
        expected_TW = reference.logits(row.prepared, scorer.family)[length - 1 : length + STEPS]
        diffs += [float(np.abs(a_W - b_W).max()) for a_W, b_W in zip(got, expected_TW, strict=True)]
        largest = max(largest, float(np.abs(expected_TW).max()))
    worst = max(diffs) if np.isfinite(diffs).all() else float("inf")
    return LanguageAgreement(rows=len(requests) + len(shown), max_abs_diff=worst, largest=largest, threshold=threshold)
