"""What every backbone family provides to the export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from yoj.runtime.families import Arrays, Family, PreparedMedia
from yoj.runtime.manifest import Limits

from ..bundle.names import VISION
from ..checkpoint.checkpoint import Checkpoint, HiddenState
from ..checkpoint.processor_files import Part
from ..checkpoint.weights import TensorPlan
from ..prompts.chat_template import MediaMarkup

MAX_RESPONSES = 64
"""Of one request; the reference was trained and evaluated with far fewer."""
MAX_IMAGES = 16
MAX_PIXELS = 178_956_970
"""Above it Pillow refuses to decode (twice ``PIL.Image.MAX_IMAGE_PIXELS``)."""


@dataclass(frozen=True)
class Smoothing:
    """Channels that may be divided by factors where they arise and multiplied by them where they are used, which
    changes no score. Modules are named as in plans: see `GraphSpec.own`."""

    source: str
    """Module whose last dimension they are: a norm, or a projection."""
    consumers: tuple[str, ...]
    """Projections that read them, and nothing else does."""
    columns: tuple[int, int] | None = None
    """Which of the source's outputs they are; None for all."""


@dataclass(frozen=True)
class GraphSpec:
    """One graph: the module that is traced, and what goes in and out."""

    role: str
    """``vision``, ``scorer.joint``, ``scorer.segmented``."""
    module: nn.Module
    inputs: dict[str, tuple[torch.dtype, tuple[int | str, ...]]]
    """Name, which is an argument of the module's forward -> dtype and axes (letters where the size is free)."""
    outputs: dict[str, tuple[int | str, ...]]
    """Name -> axes; float32. Those of the vision graph are inputs of the scorer graphs, rows first."""
    plans: dict[str, TensorPlan]
    """Parameter of the module -> how it is made from the checkpoint."""
    constants: dict[str, torch.Tensor]
    """Parameter of the module -> a value that no backbone tensor holds: rotary frequencies, the value head."""
    multiples: dict[str, int] = field(default_factory=dict[str, int])
    """Axis letter -> number that its size is always a multiple of."""

    @property
    def prefix(self) -> str:
        """Before the names of its modules in plans and statistics; empty for the scorers, which share theirs."""
        return VISION if self.role == "vision" else ""

    def own(self, name: str) -> str | None:
        """The module that plans and statistics call by this name; None where it is another graph's."""
        return name.removeprefix(VISION) if name.startswith(VISION) == bool(self.prefix) else None

    def in_precision(self, dtype: torch.dtype) -> nn.Module:
        """The module with parameters of this type on the meta device. What no tensor of the backbone holds keeps its
        own: rotary frequencies and the value head are float32 in every precision; so do 8-bit weights."""
        self.module.to(dtype)
        own = {name: value.dtype for name, value in self.constants.items()}
        own |= {name: plan.change.dtype(dtype) for name, plan in self.plans.items()}
        for name, parameter in list(self.module.named_parameters()):
            if parameter.dtype != own.get(name, dtype):
                owner, _, leaf = name.rpartition(".")
                empty = torch.empty(parameter.shape, dtype=own[name], device="meta")
                setattr(self.module.get_submodule(owner), leaf, nn.Parameter(empty, requires_grad=False))
        return self.module


class ExportFamily(Protocol):
    """One backbone: what is traced, and how its stock model is fed."""

    limits: Limits
    attention_heads: int
    vision_heads: int
    unused: tuple[str, ...]
    """Beginnings of the names of tensors that no graph needs. Any other tensor that is left over is an error."""
    hidden_state: HiddenState
    """What the head reads of the trunk; the graphs and the stock model give it that."""

    def __init__(self, checkpoint: Checkpoint) -> None: ...

    def markup(self) -> MediaMarkup:
        """How the chat template shows images and videos."""
        ...

    def preprocessing(self) -> dict[str, Any]:
        """The runtime family's settings."""
        ...

    def processor_parts(self) -> tuple[Part, Part]:
        """What the image processor and the video processor say, from the files that count."""
        ...

    def graphs(self) -> list[GraphSpec]:
        """The graphs of a bundle. Their modules are on the meta device: they take no memory and have no values."""
        ...

    def smoothing(self) -> list[Smoothing]:
        """Where factors may move from the inputs of matrices into what makes those inputs."""
        ...

    def stock_model(self) -> nn.Module | None:
        """The Hugging Face model in float32 with the checkpoint's weights, or None where transformers lacks it."""
        ...

    def stock_inputs(
        self, row: Mapping[str, torch.Tensor], media: Sequence[PreparedMedia], runtime: Family
    ) -> dict[str, torch.Tensor]:
        """Arguments of the stock model for one request, from the inputs of the scorer graph and its media."""
        ...

    def stock_image(self, outputs: Mapping[str, Any]) -> Arrays:
        """What the stock image processor returns of one image, as the arrays of `PreparedMedia`."""
        ...
