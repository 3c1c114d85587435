"""Packed requests -> the inputs of the graphs. All index and position arithmetic happens here, in NumPy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import RequestError
from .families import Arrays, Family, PreparedMedia
from .manifest import Mode
from .packing import Pack

BATCH_TOKENS = 4096
"""Most tokens of one batch with its padding. On a CPU larger batches gain nothing, and attention needs L x L memory."""
SHORTEST_ROW = 8
"""Tokens to which shorter rows are padded, because graphs for CPUs cut the queries of a row into a fixed number of
blocks."""


@dataclass(frozen=True)
class Prepared:
    """Request that is ready for the graphs. It can be pickled, and scored in another thread or process."""

    packs: tuple[Pack, ...]
    """One packed row for each order in which the responses are read; where the judge asks several questions, one for
    each of them in each order."""
    orders: tuple[tuple[int, ...], ...]
    """Index of the distinct response that stands in each place, for each row, which holds all of them or some."""
    media: tuple[PreparedMedia, ...]
    keys: tuple[bytes, ...]
    """Content hash of each medium: equal keys have equal features."""
    mode: Mode
    about: About = field(default_factory=lambda: About())
    bundle: str = ""
    """Digest of the manifest that the request was prepared for; empty where there is no bundle."""

    @property
    def tokens(self) -> int:
        """Number of tokens of the longest row."""
        return max(len(pack.input_ids_L) for pack in self.packs)

    @property
    def places(self) -> int:
        """Number of responses of the row that has most."""
        return max(map(len, self.orders))

    def check_bundle(self, digest: str, path: Path, name: str) -> None:
        """Refuse a request that was prepared for another bundle than the one at ``path``.

        Raises:
            RequestError: the digests differ.
        """
        if self.bundle != digest:
            raise RequestError(
                f"{name} was prepared for a bundle of digest {self.bundle or 'none'}, this is {path} of digest "
                f"{digest}. Prepare it with a scorer of this bundle."
            )


@dataclass(frozen=True)
class About:
    """Facts about a request that its judgement reports."""

    copies: tuple[int, ...] = ()
    """[N] index of the distinct response for each response given; empty where all are distinct."""
    frames: tuple[int, int] | None = None
    """Frames of the request's videos: given, and read."""
    notices: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict[str, float])
    dimension: str | None = None
    """Dimension that ranks; None for the pooled score."""
    id: str | int | None = None
    metadata: Any = None


def scorer_inputs(batch: Sequence[Prepared], family: Family, features: Mapping[bytes, Arrays]) -> Arrays:
    """Collate rows of different length and N, right-padded with zeros; absent responses are -1.

    Args:
        batch: requests, each with one row for each of its orders.
        family: backbone family, which adds its own inputs for each token.
        features: outputs of the vision graph for each medium by its key, each [rows, D]; each is taken once, however
            many rows show it. Empty where the inputs of the features are not wanted.

    Returns:
        ``input_ids``, ``visual_index``, ``segment_ids`` int64 [B, L]; the family's own, int64 [B, ..., L];
        ``response_start`` and ``response_end`` int64 [B, N]; and the features [V, D].
    """
    offsets, total = dict[bytes, int](), 0
    for prepared in batch:
        for key, medium in zip(prepared.keys, prepared.media, strict=True):
            if key not in offsets:
                offsets[key], total = total, total + medium.rows
    rows = [(pack, prepared) for prepared in batch for pack in prepared.packs]
    own = [family.token_inputs(pack, prepared.media) for pack, prepared in rows]
    return {
        "input_ids": _stack([pack.input_ids_L for pack, _ in rows], shortest=SHORTEST_ROW),
        "visual_index": _stack(
            [_visual_index(pack, prepared, family, offsets) for pack, prepared in rows], shortest=SHORTEST_ROW
        ),
        "segment_ids": _stack([pack.segment_L for pack, _ in rows], -1, SHORTEST_ROW),
        "response_start": _stack([pack.response_start_N for pack, _ in rows], -1),
        "response_end": _stack([pack.response_end_N for pack, _ in rows], -1),
        **{name: _stack([row[name] for row in own], shortest=SHORTEST_ROW) for name in own[0]},
        **_join([features[key] for key in offsets] if features else []),
    }


def _join(features: Sequence[Arrays]) -> Arrays:
    """Features of several media, one after the other: name -> [V, D]."""
    return {name: np.concatenate([of[name] for of in features]) for name in (features[0] if features else ())}


def batches_by_length(
    lengths: Sequence[int], rows: Sequence[int], max_tokens: int, kin: Sequence[Hashable] = ()
) -> list[list[int]]:
    """Split requests into batches of similar length, so that little is padding.

    Args:
        lengths: tokens of the longest row of each request.
        rows: number of rows of each request.
        max_tokens: most tokens of a batch, padding included; a longer request is a batch of its own.
        kin: something for each request that is equal for those which stand side by side whatever their lengths, such
            as those that show one image; empty where there are none.

    Returns:
        Indices into ``lengths``; every request is in exactly one batch.
    """
    kin = kin or range(len(lengths))
    first = dict[Hashable, int]()
    longest = dict[Hashable, int]()
    for index, (one, length) in enumerate(zip(kin, lengths, strict=True)):
        first.setdefault(one, index)
        longest[one] = max(length, longest.get(one, 0))
    batches: list[list[int]] = []
    taken = widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-longest[kin[i]], first[kin[i]], -lengths[i])):
        # Every row of a batch takes as many tokens as its longest.
        widest = max(widest, lengths[index])
        if batches and widest * (taken + rows[index]) <= max_tokens:
            batches[-1].append(index)
            taken += rows[index]
        else:
            batches.append([index])
            taken, widest = rows[index], lengths[index]
    return batches


def _visual_index(pack: Pack, prepared: Prepared, family: Family, offsets: Mapping[bytes, int]) -> NDArray[np.int64]:
    """Index into the batch's visual features for each token, int64 [L]: k+1 where row k belongs, 0 for other tokens."""
    index_L = np.zeros(len(pack.input_ids_L), np.int64)
    visual = np.isin(pack.input_ids_L, family.visual_tokens)
    for number, (key, medium) in enumerate(zip(prepared.keys, prepared.media, strict=True)):
        places = np.flatnonzero(visual & (pack.media_L == number + 1))
        # Isolated responses that share no more of the prompt than its beginning each show its media again.
        index_L[places] = offsets[key] + 1 + np.arange(len(places)) % max(medium.rows, 1)
    return index_L


def _stack(rows: Sequence[NDArray[Any]], padding: int = 0, shortest: int = 0) -> NDArray[np.int64]:
    """Stack rows [..., L] of different length as [B, ..., L], padded on the right to the longest or more."""
    longest = max(shortest, *(row.shape[-1] for row in rows))
    out = np.full((len(rows), *rows[0].shape[:-1], longest), padding, np.int64)
    for index, row in enumerate(rows):
        out[index, ..., : row.shape[-1]] = row
    return out
