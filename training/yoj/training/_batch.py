"""Prepared requests -> tensors of one forward pass of the judge."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from yoj.runtime import Prepared
from yoj.runtime.batch import scorer_inputs
from yoj.runtime.families import Family, PreparedMedia

from ._rankings import Ranks


@dataclass(frozen=True)
class Batch:
    """Rows to rank, followed by rows of text to learn; either may be none."""

    tokens: dict[str, torch.Tensor]
    """Inputs of the scorer for each token, int64 [B, ..., L], with ``segment_ids``."""
    isolated: bool
    """Whether responses see only the prompt and themselves."""
    media: tuple[dict[str, torch.Tensor], ...]
    """Inputs of the vision graph, once for each group of media that go through it together."""
    feature_order_V: torch.Tensor
    """Place among the visual rows of all groups of the row that ``visual_index`` counts as the k-th, int64."""
    response_start_RN: torch.Tensor
    response_end_RN: torch.Tensor
    """Positions of the R rows to rank, int64; -1 where a response is absent."""
    rankings_JRN: torch.Tensor
    """Ranks in each dimension, or overall, in the order of the row, float32, 1 = best; NaN where a response is absent
    or was not judged."""
    label_place_T: torch.Tensor
    """Place row * L + position from which a token is predicted, int64."""
    labels_T: torch.Tensor
    """Token that is predicted, int64."""
    lines: tuple[int, ...] = field(default=())
    """Line of each sample in its file."""

    @property
    def tokens_without_padding(self) -> int:
        """Number of tokens in all rows."""
        return int((self.tokens["segment_ids"] >= 0).sum())

    def to(self, device: torch.device) -> Batch:
        """Copy of the batch on another device."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        tokens = {name: value.to(device, non_blocking=True) for name, value in self.tokens.items()}
        media = tuple({n: v.to(device, non_blocking=True) for n, v in group.items()} for group in self.media)
        return replace(self, tokens=tokens, media=media, **moved)


def collate(
    ranked: Sequence[tuple[Prepared, Sequence[Ranks]]], texts: Sequence[Prepared], family: Family, lines: Sequence[int]
) -> Batch:
    """Put samples into one batch.

    Args:
        ranked: requests, with a row for each of their orders, and the ranks [J][N] of their responses.
        texts: requests of one response each, whose tokens are learnt.
        family: backbone family of the runtime.
        lines: line of each sample in its file.
    """
    rows = [prepared for prepared, _ in ranked] + list(texts)
    tokens = {name: torch.from_numpy(array) for name, array in scorer_inputs(rows, family, {}).items()}
    length = tokens["input_ids"].shape[1]
    turned = [[[own[i] for i in order] for own in ranks] for prepared, ranks in ranked for order in prepared.orders]
    start, end = tokens.pop("response_start")[: len(turned)], tokens.pop("response_end")[: len(turned)]
    rankings_JRN = torch.full((max(map(len, turned), default=1), *end.shape), torch.nan)
    for row, ranks in enumerate(turned):
        for dimension, own in enumerate(ranks):
            rankings_JRN[dimension, row, : len(own)] = torch.tensor(
                [torch.nan if rank is None else rank for rank in own]
            )
    spans = [(pack.response_start_N[0], pack.response_end_N[0] + 1) for text in texts for pack in text.packs]
    places = [np.arange(*span) + (len(turned) + k) * length for k, span in enumerate(spans)]
    place_T = torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *places]))
    media, order_V = _group({k: m for p in rows for k, m in zip(p.keys, p.media, strict=True)}, family)
    return Batch(
        tokens=tokens,
        isolated=any(prepared.mode == "isolated" for prepared, _ in ranked),
        media=media,
        feature_order_V=order_V,
        response_start_RN=start,
        response_end_RN=end,
        rankings_JRN=rankings_JRN,
        label_place_T=place_T - 1,
        labels_T=tokens["input_ids"].flatten()[place_T],
        lines=tuple(lines),
    )


def _group(
    media: Mapping[bytes, PreparedMedia], family: Family
) -> tuple[tuple[dict[str, torch.Tensor], ...], torch.Tensor]:
    """Inputs of the vision graph for each group, and the place of each visual row in its output."""
    groups: dict[Hashable, list[bytes]] = {}
    for key, medium in media.items():
        groups.setdefault(medium.group, []).append(key)
    place: dict[bytes, np.ndarray] = {}
    total = 0
    for key in (key for keys in groups.values() for key in keys):
        place[key] = total + np.arange(media[key].rows)
        total += media[key].rows
    order = np.concatenate([np.zeros(0, np.int64), *(place[key] for key in media)])
    inputs = (family.vision_inputs([media[key] for key in keys]) for keys in groups.values())
    return tuple({n: torch.from_numpy(a) for n, a in group.items()} for group in inputs), torch.from_numpy(order)
