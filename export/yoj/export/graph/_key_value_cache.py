"""Keys and values of tokens that an earlier run of a graph has read.

Shapes: B rows, L new tokens, S tokens of earlier runs, T = S + L, H heads of keys, E values of a head.
"""

from __future__ import annotations

import torch


class KeyValueCache:
    """Keys and values of the tokens of earlier runs, and those of the new tokens, which the layers add in turn."""

    def __init__(self, past_keys: torch.Tensor, past_values: torch.Tensor):
        """Take those of earlier runs, float32 [B, S, layers, H, E] each; S may be 0."""
        self._past = past_keys, past_values
        self._new: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])

    def extend(self, k_BHLE: torch.Tensor, v_BHLE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Put keys and values of the next layer, [B, H, L, E], behind those that it had: [B, H, T, E]."""
        number = len(self._new[0])
        joined: list[torch.Tensor] = []
        for past, new, x_BHLE in zip(self._past, self._new, (k_BHLE, v_BHLE), strict=True):
            new.append(x_BHLE.transpose(1, 2))
            joined.append(torch.cat([past[:, :, number].to(x_BHLE.dtype), new[-1]], dim=1).transpose(1, 2))
        return joined[0], joined[1]

    def added(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the new tokens, float32 [B, L, layers, H, E] each."""
        keys, values = (torch.stack(new, dim=2).float() for new in self._new)
        return keys, values

    def whole_row(self, numbers_BL: torch.Tensor) -> torch.Tensor:
        """Numbers of all tokens [B, T] from those of the new ones; the earlier ones have 0."""
        before_BS = numbers_BL.new_zeros(numbers_BL.shape[0], self._past[0].shape[1])
        return torch.cat([before_BS, numbers_BL], dim=1)

    def rows(self, numbers_BL: torch.Tensor) -> torch.Tensor:
        """Rows of the new tokens among all, int64 [B, L]."""
        index_L = torch.arange(numbers_BL.shape[1], device=numbers_BL.device) + self._past[0].shape[1]
        return index_L.expand(numbers_BL.shape[0], -1)
