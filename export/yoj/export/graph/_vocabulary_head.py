"""Head over the vocabulary, which only the language graph has.

Shapes: B rows, L new tokens, W vocabulary, D hidden size.
"""

from __future__ import annotations

import torch
from torch import nn


class VocabularyHead(nn.Module):
    """Product with the vocabulary's table, [W, D] as stored, so that tied tables are one in the weight file."""

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, x_BLD: torch.Tensor) -> torch.Tensor:
        """Logits of the last token, float32 [B, W], from normed states."""
        last_DB = x_BLD[:, -1].to(self.weight.dtype).transpose(0, 1)
        # The table stands on the left: on the right ONNX Runtime would pack a transposed copy of it.
        return torch.matmul(self.weight, last_DB).transpose(0, 1).float()
