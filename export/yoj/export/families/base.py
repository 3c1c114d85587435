"""What every backbone family provides to the export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from yoj.runtime.families import Arrays
from yoj.runtime.manifest import Limits

from ..checkpoint import Checkpoint
from ..layout import ImageMarkup
from ..weights import TensorPlan


@dataclass(frozen=True)
class GraphSpec:
    """One graph: the module that is traced, and what goes in and out."""

    role: str
    """``vision``, ``scorer.joint``."""
    module: nn.Module
    inputs: dict[str, tuple[torch.dtype, tuple[int | str, ...]]]
    """Name, which is an argument of the module's forward -> dtype and axes (letters where the size is free)."""
    output: str
    output_axes: tuple[int | str, ...]
    plans: dict[str, TensorPlan]
    """Parameter of the module -> how it is made from the checkpoint."""
    constants: dict[str, torch.Tensor]
    """Parameter of the module -> a value that no backbone tensor holds: rotary frequencies, the value head."""


class ExportFamily(Protocol):
    """One backbone: what is traced, and how its stock model is fed."""

    limits: Limits
    attention_heads: int

    def __init__(self, checkpoint: Checkpoint) -> None: ...

    def markup(self) -> ImageMarkup:
        """How the chat template shows images."""
        ...

    def preprocessing(self) -> dict[str, Any]:
        """The runtime family's settings."""
        ...

    def graphs(self) -> list[GraphSpec]:
        """The graphs of a bundle. Their modules are on the meta device: they take no memory and have no values."""
        ...

    def stock_model(self) -> nn.Module | None:
        """The Hugging Face model in float32 with the checkpoint's weights, or None where transformers lacks it."""
        ...

    def stock_inputs(self, row: Mapping[str, torch.Tensor], vision: Arrays | None) -> dict[str, torch.Tensor]:
        """Arguments of the stock model for one request, from the inputs of the scorer graph and the vision graph."""
        ...

    def image_text(self, ids: Sequence[int]) -> str:
        """The tokens of one image as text, as the official processor writes them into the prompt."""
        ...
