"""Rationale: the explanation of one response in words, written token by token by the language graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import BundleError, EngineError, RequestError, ScoreError
from .manifest import EngineEntry, LanguagePath
from .roles import LANGUAGE


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
    """Milliseconds of each phase; ``read`` is the row's run, ``write`` those of all tokens that follow."""

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


def language_path(bundle: Bundle, engine: EngineEntry) -> LanguagePath:
    """Language path of an engine of a bundle.

    Raises:
        BundleError: the bundle was exported without one.
        EngineError: the engine does not execute it.
    """
    language = bundle.manifest.language
    if language is None:
        raise BundleError(
            f"{bundle.path} has no language graph, so that it writes no rationales. Export the checkpoint again with "
            "--language."
        )
    if LANGUAGE not in engine.graphs:
        raise EngineError(
            f"The plans of {engine.engine} in {bundle.path} are of the scorers alone; rationales are written by "
            "engine='onnxruntime' or 'onnxruntime-cuda'."
        )
    return language


def most_tokens(asked: int | None, language: LanguagePath) -> int:
    """Most tokens of a rationale: as many as were asked for, or as the bundle says.

    Raises:
        RequestError: what was asked for is no number from 1.
    """
    most = language.max_tokens if asked is None else asked
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(f"max_tokens is {most!r}; give a number from 1, or None for the bundle's own.")
    return most
