"""Row of tokens that is continued by the language graph, with the keys and values of what was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .batch import Prepared, scorer_inputs
from .families import Arrays, Family
from .manifest import Graph
from .roles import LANGUAGE

if TYPE_CHECKING:
    from .engines import Session

LOGITS = "logits"
CACHE_INPUTS = ("past_keys", "past_values")
"""Inputs of the graph with the keys and values of earlier runs, float32 [B, S, layers, H, E]; S is 0 at first."""
CACHE_OUTPUTS = ("new_keys", "new_values")
"""Outputs with those of the tokens of a run, float32 [B, L, layers, H, E]."""


@dataclass(frozen=True)
class Features:
    """Visual features of a row."""

    by_key: Mapping[bytes, Arrays]
    """Outputs of the vision graph for each medium, by its key."""
    none: Arrays
    """Features of a row without media: one row of zeros each."""


class Continuation:
    """Row of tokens that is continued; each step reads the tokens that are new and gives the logits of the next."""

    def __init__(self, session: Session, graph: Graph, prepared: Prepared, family: Family, features: Features):
        """Take a row, which nothing was read of yet.

        Args:
            session: loaded graphs of the bundle.
            graph: language graph of the engine.
            prepared: the row, one pack with room for the tokens to come.
            family: backbone family.
            features: features of the row's media.
        """
        self._session, self._none = session, features.none
        self.prepared = prepared
        """The row, with room for the tokens to come."""
        inputs = features.none | scorer_inputs([prepared], family, features.by_key)
        self._row = {spec.name: inputs[spec.name] for spec in graph.inputs if spec.shape[-1] == "L"}
        self._features = {name: inputs[name] for name in features.none}
        length = len(prepared.packs[0].input_ids_L)
        caches = [spec for spec in graph.inputs if spec.name in CACHE_INPUTS]
        self._caches = {
            spec.name: np.empty((1, length, *(int(size) for size in spec.shape[2:])), np.float32) for spec in caches
        }
        self.read = 0
        """Number of tokens that were read."""

    def read_row(self, tokens: int) -> NDArray[np.float32]:
        """Read the row's first tokens, media included, and return the logits of the next one, float32 [W]."""
        return self._run(tokens, self._features)

    def read_next(self, token: int) -> NDArray[np.float32]:
        """Read a token that was chosen, and return the logits of the next one, float32 [W]."""
        self._row["input_ids"][0, self.read] = token
        return self._run(1, self._none)

    def _run(self, tokens: int, features: Arrays) -> NDArray[np.float32]:
        begin, end = self.read, self.read + tokens
        inputs = {name: np.ascontiguousarray(array[..., begin:end]) for name, array in self._row.items()}
        past = {name: cache[:, :begin] for name, cache in self._caches.items()}
        outputs = self._session.run(LANGUAGE, inputs | features | past)
        for cache, name in zip(self._caches.values(), CACHE_OUTPUTS, strict=True):
            cache[:, begin:end] = outputs[name]
        self.read = end
        (logits_W,) = outputs[LOGITS]
        return logits_W
