"""Interface of a backbone family in the export."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import nn

from yoj.runtime import roles
from yoj.runtime.families import Arrays, Family, PreparedMedia
from yoj.runtime.manifest import Limits

from ..bundle.names import VISION_PREFIX
from ..checkpoint._processor_files import ProcessorPart
from ..checkpoint.checkpoint import Checkpoint, HiddenState
from ..checkpoint.weights import TensorSource
from ..prompts._chat_template import MediaMarkup

MAX_RESPONSES = 64
"""Most responses of one request; models were trained and evaluated with far fewer."""
MAX_IMAGES = 16
"""Most images of one request."""
MAX_PIXELS = 178_956_970
"""Pixels above which Pillow refuses to decode (twice ``PIL.Image.MAX_IMAGE_PIXELS``)."""


@dataclass(frozen=True)
class Smoothing:
    """Channels that may be divided by factors where they arise and multiplied by them where they are used.

    That changes no score. Modules are named as in quantisation configs: see `GraphSpec.own`.
    """

    source: str
    """Module whose last dimension the channels are: a norm, or a projection."""
    consumers: tuple[str, ...]
    """Projections that read them; nothing else does."""
    columns: tuple[int, int] | None = None
    """Slice of the source's outputs that they are; None for all."""


@dataclass(frozen=True)
class GraphSpec:
    """Graph: the traced module, and its inputs and outputs. Nothing changes it, so that all may share it."""

    role: str
    """Name of one of `yoj.runtime.roles.ROLES`."""
    module: nn.Module
    """Structure, on the meta device; `make_module` gives one to fill, to trace or to change."""
    inputs: Mapping[str, tuple[torch.dtype, tuple[int | str, ...]]]
    """Name, which is an argument of the module's forward -> dtype and axes (letters where the size is free)."""
    outputs: Mapping[str, tuple[int | str, ...]]
    """Name -> axes, in float32. Outputs of the vision graph are inputs of the scorer graphs, rows first."""
    sources: Mapping[str, TensorSource]
    """Parameter of the module -> rule by which it is made from the checkpoint."""
    constants: Mapping[str, torch.Tensor]
    """Parameter of the module -> a value that no backbone tensor holds: rotary frequencies, the value head."""
    multiples: Mapping[str, int] = field(default_factory=dict[str, int])
    """Axis letter -> number of which its size is always a multiple."""

    @property
    def prefix(self) -> str:
        """Prefix of its modules in quantisation configs and statistics; empty for the scorers, which share theirs."""
        return VISION_PREFIX if self.role == roles.VISION else ""

    def own(self, name: str) -> str | None:
        """Module that quantisation configs and statistics call by this name; None where it is another graph's."""
        return name.removeprefix(VISION_PREFIX) if name.startswith(VISION_PREFIX) == bool(self.prefix) else None

    def make_module(self, dtype: torch.dtype) -> nn.Module:
        """Make a module of its own for the caller, with parameters of this type on the meta device.

        Values that no tensor of the backbone holds keep their own type: rotary frequencies and the value head are
        float32 in every precision. So do 8-bit weights.
        """
        module = copy.deepcopy(self.module).to(dtype)
        own = {name: value.dtype for name, value in self.constants.items()}
        own |= {name: source.change.dtype(dtype) for name, source in self.sources.items()}
        for name, parameter in list(module.named_parameters()):
            if parameter.dtype != own.get(name, dtype):
                owner, _, leaf = name.rpartition(".")
                empty = torch.empty(parameter.shape, dtype=own[name], device="meta")
                setattr(module.get_submodule(owner), leaf, nn.Parameter(empty, requires_grad=False))
        return module


class ReleasedRows(NamedTuple):
    """Rows of a tensor of a released file."""

    name: str
    """Name without ``model.`` in front."""
    rows: tuple[int, int] | None = None
    """First row, and the one behind the last; None for all."""


class ExportFamily(Protocol):
    """Backbone: the modules that are traced, and the feeding of its stock model."""

    adapter_targets: ClassVar[tuple[str, ...]]
    """Matrices of the language blocks that take adapters in training, by the last part of their modules' names."""
    adapter_roots: ClassVar[tuple[str, ...]]
    """Parts of the trunk that may have been trained alone; names in such adapters begin behind them."""
    size_settings: ClassVar[tuple[str, ...]]
    """Settings of the preprocessing that bound the size of pictures."""
    limits: Limits
    attention_heads: int
    vision_heads: int
    unused: tuple[str, ...]
    """Prefixes of tensors that no graph needs. Any other tensor that is left over is an error."""
    hidden_state: HiddenState
    """Hidden state of the trunk that the head reads, from the graphs and from the stock model."""

    def __init__(self, checkpoint: Checkpoint) -> None: ...

    @staticmethod
    def released(path: str, text: Mapping[str, Any]) -> Sequence[ReleasedRows]:
        """Tensors of released files that hold what transformers calls ``path``; none where both have one name.

        Args:
            path: name of a tensor in an adapter, without what stands before a model's own names.
            text: the text model's config.
        """
        ...

    def markup(self) -> MediaMarkup:
        """Markup by which the chat template shows images and videos."""
        ...

    def preprocessing(self) -> dict[str, Any]:
        """Settings of the runtime's family."""
        ...

    def processor_parts(self) -> tuple[ProcessorPart, ProcessorPart]:
        """Settings of the image processor and the video processor, from the files that count."""
        ...

    @functools.cached_property
    def graphs(self) -> tuple[GraphSpec, ...]:
        """Graphs of a bundle, made once. Their modules take no memory and have no values."""
        ...

    def language_graph(self) -> GraphSpec:
        """Graph ``language``, which only bundles that write rationales have; made anew.

        Raises:
            CheckpointError: the checkpoint has no language head.
        """
        ...

    def smoothing(self) -> list[Smoothing]:
        """Places where factors may move from the inputs of matrices into the weights that make those inputs."""
        ...

    def stock_model(self) -> nn.Module | None:
        """Hugging Face model in float32 with the checkpoint's weights, or None where transformers lacks it.

        Its ``final_norm`` makes what the language head reads of what it returns, which the value head reads.
        """
        ...

    def stock_inputs(
        self, row: Mapping[str, torch.Tensor], media: Sequence[PreparedMedia], runtime: Family
    ) -> dict[str, torch.Tensor]:
        """Arguments of the stock model for one request, from the inputs of the scorer graph and its media."""
        ...

    def stock_image(self, outputs: Mapping[str, Any]) -> Arrays:
        """Arrays of `PreparedMedia` that the stock image processor makes of one image."""
        ...
