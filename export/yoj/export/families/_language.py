"""Language graph of a family: the scorer's trunk with a cache of keys and values and a head over the vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, Protocol

import torch
from torch import nn

from yoj.runtime import roles
from yoj.runtime.language import CACHE_INPUTS, CACHE_OUTPUTS, LOGITS

from .._errors import CheckpointError
from ..checkpoint.adapter_files import read_adapter_tensors
from ..checkpoint.adapter_names import first_part, read_key
from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.weights import TensorSource
from ._base import GraphSpec

LANGUAGE_HEAD = "lm_head.weight"


class TextSizes(Protocol):
    """Sizes of a trunk that its keys and values have."""

    @property
    def num_hidden_layers(self) -> int:
        """Number of layers."""
        ...

    @property
    def num_key_value_heads(self) -> int:
        """Number of heads of keys."""
        ...

    @property
    def head_dim(self) -> int:
        """Number of values of a head."""
        ...


def head_source(checkpoint: Checkpoint, embedding: TensorSource) -> TensorSource:
    """Rule for the table of the vocabulary: a tensor of its own, or the embedding where the two are tied.

    Raises:
        CheckpointError: the checkpoint has neither, or an adapter has trained the head.
    """
    _check_adapters(checkpoint)
    if LANGUAGE_HEAD in checkpoint.weights:
        return TensorSource((LANGUAGE_HEAD,))
    settings: Mapping[str, Any] = checkpoint.config
    if settings.get("tie_word_embeddings", settings["text_config"].get("tie_word_embeddings", False)):
        return embedding
    raise CheckpointError(
        f"{checkpoint.trunk} has no {LANGUAGE_HEAD}, and its config.json does not say tie_word_embeddings: the "
        "language head was not saved, so that no rationale can be written. Leave --language out, or give the "
        "checkpoint or base model that has it."
    )


def _check_adapters(checkpoint: Checkpoint) -> None:
    """Refuse adapters with changes of the head, which are not merged, since no score needs them."""
    module = LANGUAGE_HEAD.partition(".")[0]
    for folder in checkpoint.adapters:
        for key in map(read_key, read_adapter_tensors(folder)):
            if first_part(key.module) == module and not key.copy:
                raise CheckpointError(
                    f"{folder} has trained {module} ({key.name}), which yoj does not merge. Merge the adapter into its "
                    "base with PEFT's merge_and_unload and export that, or leave --language out."
                )


def language_spec(
    scorer: GraphSpec, text: TextSizes, module: nn.Module, tensors: Callable[[Set[str]], dict[str, TensorSource]]
) -> GraphSpec:
    """Language graph beside a scorer, with whose parameters it shares the weight file.

    Args:
        scorer: scorer ``joint`` of the same checkpoint.
        text: sizes of the trunk.
        module: trunk with language head, on the meta device.
        tensors: function from the parameters that are not the trunk's to the rules for all others.
    """
    parameters = dict(module.named_parameters())
    cache = text.num_hidden_layers, text.num_key_value_heads, text.head_dim
    inputs = {name: (dtype, axes) for name, (dtype, axes) in scorer.inputs.items() if "N" not in axes}
    inputs |= dict.fromkeys(CACHE_INPUTS, (torch.float32, ("B", "S", *cache)))
    outputs: dict[str, tuple[int | str, ...]] = {LOGITS: ("B", len(parameters[LANGUAGE_HEAD]))}
    outputs |= dict.fromkeys(CACHE_OUTPUTS, ("B", "L", *cache))
    constants = {name: value for name, value in scorer.constants.items() if name in parameters}
    sources = tensors(constants.keys() | {LANGUAGE_HEAD})
    return GraphSpec(roles.LANGUAGE, module, inputs, outputs, sources, constants)
