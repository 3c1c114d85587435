"""Traced modules run by PyTorch: where there is no engine, and to look into what the graphs compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from yoj.runtime import Prepared
from yoj.runtime.batch import scorer_inputs
from yoj.runtime.families import Arrays, Family
from yoj.runtime.roles import VISION, scorer_role

from ..checkpoint.checkpoint import Checkpoint
from ..families import GraphSpec
from .precision import PRECISIONS


class TracedSession:
    """Session that runs the modules as an engine runs their graphs; see `yoj.runtime.engines.Session`."""

    def __init__(self, specs: Sequence[GraphSpec], make: Callable[[GraphSpec], nn.Module]):
        """Take a function that makes the module of a graph, called at its first use: both scorers hold weights."""
        self.specs = {spec.role: spec for spec in specs}
        self._make = make
        self._modules: dict[str, nn.Module] = {}

    @classmethod
    def load(cls, checkpoint: Checkpoint, specs: Sequence[GraphSpec], precision: str) -> TracedSession:
        """Load the graphs of a checkpoint, with their weights in a precision."""
        return cls(specs, lambda spec: materialise(spec, checkpoint, PRECISIONS[precision]))

    def module(self, role: str) -> nn.Module:
        """Module of a graph, made when it is first needed."""
        if role not in self._modules:
            self._modules[role] = self._make(self.specs[role])
        return self._modules[role]

    @torch.inference_mode()
    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one graph. Inputs and outputs are by name; inputs that the graph does not take are ignored."""
        spec = self.specs[role]
        outputs = self.module(role)(**{name: torch.from_numpy(inputs[name]) for name in spec.inputs})
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return {name: output.numpy() for name, output in zip(spec.outputs, outputs, strict=True)}

    def score(self, batch: Sequence[Prepared], runtime: Family) -> Arrays:
        """Outputs of the scorer, each [B, N].

        Args:
            batch: requests that the runtime prepared, all in one mode, which decides the scorer.
            runtime: the runtime's family, which turns them into arrays.
        """
        return self.run(scorer_role(batch[0].mode), self.scorer_inputs(batch, runtime))

    def scorer_inputs(self, batch: Sequence[Prepared], runtime: Family) -> Arrays:
        """Inputs of the scorer, with the features of the requests' media; arguments as for `score`."""
        media = {key: medium for prepared in batch for key, medium in zip(prepared.keys, prepared.media, strict=True)}
        features = {key: self.run(VISION, runtime.vision_inputs([medium])) for key, medium in media.items()}
        outputs = self.specs[VISION].outputs
        none = {name: np.zeros((1, int(axes[-1])), np.float32) for name, axes in outputs.items()}
        return none | scorer_inputs(batch, runtime, features)

    def open(self, role: str) -> None:
        """Make the module of a graph now."""
        self.module(role)

    def close(self) -> None:
        """Release the weights."""
        self._modules.clear()


def materialise(spec: GraphSpec, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Traced module with its weights in ``dtype``; values that no tensor of the backbone holds stay in float32."""
    module = spec.make_module(dtype).to_empty(device="cpu").eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        _fill(parameter, name, spec, checkpoint, dtype)
    return module


def stream(spec: GraphSpec, checkpoint: Checkpoint) -> nn.Module:
    """Traced module in float32 that reads the weights of each layer when it runs and releases them afterwards.

    A model of any size runs in the memory of its largest layer; every run reads the whole checkpoint.
    """
    module = spec.make_module(torch.float32).eval().requires_grad_(False)
    for owner_name, owner in module.named_modules():
        names = [name for name, _ in owner.named_parameters(recurse=False)]
        if not names:
            continue
        prefix = f"{owner_name}." if owner_name else ""

        def load(owner: nn.Module, _: Any, names: list[str] = names, prefix: str = prefix) -> None:
            for name in names:
                empty = torch.empty_like(owner.get_parameter(name), device="cpu")
                _fill(empty, prefix + name, spec, checkpoint, torch.float32)
                setattr(owner, name, nn.Parameter(empty, requires_grad=False))

        def forget(owner: nn.Module, _: Any, __: Any, names: list[str] = names) -> None:
            for name in names:
                meta = torch.empty_like(owner.get_parameter(name), device="meta")
                setattr(owner, name, nn.Parameter(meta, requires_grad=False))

        owner.register_forward_pre_hook(load)
        owner.register_forward_hook(forget)
    return module


@torch.no_grad()
def _fill(parameter: torch.Tensor, name: str, spec: GraphSpec, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
    if name in spec.constants:
        parameter.copy_(spec.constants[name])
        return
    begin = 0
    for block in checkpoint.weights.blocks(spec.sources[name], dtype):
        parameter[begin : begin + len(block)] = block
        begin += len(block)
