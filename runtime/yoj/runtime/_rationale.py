"""Rationale: the explanation of one response in words, written token by token by the language graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError, EngineError, RequestError, ScoreError
from .manifest import EngineEntry, LanguagePath, Manifest
from .roles import LANGUAGE

Explained = Literal["best", "worst", "all"]
"""Responses of a judgement that are explained: the one with the highest score, with the lowest, or all."""


@dataclass(frozen=True)
class Rationale:
    """Explanation of one response."""

    text: str
    """Text without the tokens that end it."""
    tokens: tuple[int, ...]
    """Ids of its tokens, without the one that ends it."""
    stopped: bool
    """Whether the model ended it; False where it was cut at the most tokens that were asked for."""
    timings_ms: Mapping[str, float]
    """Milliseconds of each phase; ``prepare`` until the row's visual features are there, ``read`` its run,
    ``write`` those of the tokens that follow."""

    def __str__(self) -> str:
        return self.text if self.stopped else f"{self.text} [cut after {len(self.tokens)} tokens]"


def greedy(
    logits_W: NDArray[np.float32], next_of: Callable[[int], NDArray[np.float32]], most: int, stop: Sequence[int]
) -> tuple[list[int], bool]:
    """Choose the likeliest token again and again, until one that ends the text or for the most tokens.

    Args:
        logits_W: logits of the first token.
        next_of: function from a chosen token to the logits of the next.
        most: most tokens.
        stop: tokens that end the text.

    Returns:
        Tokens without the one that ends them, and whether there was one.

    Raises:
        ScoreError: logits are not finite.
    """
    tokens: list[int] = []
    while True:
        if not np.isfinite(logits_W).all():
            raise ScoreError(
                f"The language graph returned logits that are not finite after {len(tokens)} tokens of a rationale. "
                "Try another precision, and check the bundle with yoj-export verify."
            )
        chosen = int(logits_W.argmax())
        if chosen in stop:
            return tokens, True
        tokens.append(chosen)
        if len(tokens) == most:
            return tokens, False
        logits_W = next_of(chosen)


def language_path(manifest: Manifest, engine: EngineEntry) -> LanguagePath:
    """Language path of a bundle, for one of its engines.

    Raises:
        BundleError: the bundle was exported without one.
        EngineError: the engine does not execute it.
    """
    if manifest.language is None:
        raise BundleError(
            "This bundle has no language graph, so that it writes no rationales. Export the checkpoint again with "
            "--language."
        )
    if LANGUAGE not in engine.graphs:
        raise EngineError(
            f"The entry of {engine.engine} {engine.precision} has no language graph, of which no plans are built. Load "
            "the bundle with engine='onnxruntime', or 'onnxruntime-cuda' on a GPU, for rationales."
        )
    return manifest.language


def most_tokens(asked: int | None, language: LanguagePath) -> int:
    """Find the most tokens of a rationale: as many as were asked for, or as the bundle says.

    Raises:
        RequestError: the number that was asked for is none from 1.
    """
    most = language.max_tokens if asked is None else asked
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(f"max_tokens is {most!r}; give a whole number from 1, or None for the bundle's own.")
    return most


def explained(scores: Sequence[float], which: Explained) -> list[int]:
    """Indices of the responses that are explained; of equal scores the first."""
    of = {"best": [int(np.argmax(scores))], "worst": [int(np.argmin(scores))], "all": list(range(len(scores)))}
    return of[which]
