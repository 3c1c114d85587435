"""Packed requests -> the inputs of the graphs. All index and position arithmetic happens here, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .families import Arrays, Family, PreparedImage
from .packing import Ids, Pack


@dataclass(frozen=True)
class Prepared:
    """A request that is ready for the graphs."""

    pack: Pack
    images: tuple[PreparedImage, ...]
    timings_ms: dict[str, float]


def scorer_inputs(batch: Sequence[Prepared], family: Family, features: Arrays) -> Arrays:
    """Collate rows of different length and N, right-padded with zeros; absent responses are -1.

    Args:
        batch: B requests. The features of their images follow each other in this order.
        family: provides its own inputs for each token.
        features: outputs of the vision graph over all images of the batch, each [V, D] with V >= 1.

    Returns:
        ``input_ids``, ``position_ids``, ``visual_index`` and the family's own, int64 [B, L]; ``response_start`` and
        ``response_end`` int64 [B, N]; and the features.
    """
    packs = [prepared.pack for prepared in batch]
    ids_BL = _stack([pack.input_ids_L for pack in packs])
    images_BL = _stack([pack.image_L for pack in packs])
    visual = (images_BL > 0) & (ids_BL == family.visual_token)
    rows: list[dict[str, Ids]] = [family.token_inputs(pack) for pack in packs]
    return {
        "input_ids": ids_BL,
        "position_ids": _stack([np.arange(len(pack.input_ids_L)) for pack in packs]),
        "visual_index": np.cumsum(visual).reshape(visual.shape) * visual,
        "response_start": _stack([pack.response_start_N for pack in packs], -1),
        "response_end": _stack([pack.response_end_N for pack in packs], -1),
        **{name: _stack([row[name] for row in rows]) for name in rows[0]},
        **features,
    }


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Split requests into batches of similar length, so that little is padding.

    Args:
        lengths: tokens of each request.
        max_tokens: of a batch with its padding; a longer request is a batch of its own.

    Returns:
        Indices into ``lengths``; every request is in exactly one batch.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # The first of a batch is its longest, so a batch takes len(first) tokens for each of its rows.
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _stack(rows: Sequence[Ids], padding: int = 0) -> Ids:
    out = np.full((len(rows), max(map(len, rows))), padding, np.int64)
    for index, row in enumerate(rows):
        out[index, : len(row)] = row
    return out
