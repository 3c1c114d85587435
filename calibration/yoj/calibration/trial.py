"""What quantised matrices do to rankings: the scorer in PyTorch with some of its matrices in 8 or 4 bits.

Shapes: B rows, L tokens, N responses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from yoj.export.families import GraphSpec
from yoj.export.fidelity import kendall_tau
from yoj.export.modules import Projection
from yoj.export.quantisation import Plan, matrices, quantise_graphs, quantised_module
from yoj.export.traced import TracedSession, materialise, scorer_role
from yoj.runtime.batch import batches_by_length
from yoj.runtime.request import Request
from yoj.runtime.scorer import BATCH_TOKENS

from .collect import Model
from .errors import CalibrationError


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the scores, against those in float32."""

    flips: float
    """Share of the requests whose best response is another."""
    tau: float
    """Kendall's, mean over the requests."""
    difference: float
    """Mean over the requests of the largest difference of two responses' scores, which is what rankings see."""


@dataclass(frozen=True)
class Batch:
    """Inputs of the scorer, and where its requests stand among all."""

    inputs: dict[str, torch.Tensor]
    places: list[int]


class Inputs:
    """Requests with two responses or more, prepared once, with the features of their pictures."""

    def __init__(self, model: Model, requests: Sequence[Request]):
        self.model = model
        usable = [request for request in requests if len(request.responses) > 1]
        if not usable:
            raise CalibrationError("No request has two responses or more, so that no ranking can change. Give others.")
        prepared = [model.preparer.prepare(request) for request in usable]
        self.counts = [len(request.responses) for request in usable]
        session = TracedSession.load(model.checkpoint, model.family.graphs(), "float32")
        self.batches = [
            Batch({name: torch.from_numpy(array) for name, array in arrays.items()}, group)
            for group in batches_by_length([p.tokens for p in prepared], [1] * len(prepared), BATCH_TOKENS)
            for arrays in [session.scorer_inputs([prepared[i] for i in group], model.preparer.family)]
        ]

    def scores(self, spec: GraphSpec, module: nn.Module) -> list[NDArray[np.float32]]:
        """Scores [N] of each request."""
        found: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            for batch in self.batches:
                outputs = module(**{name: batch.inputs[name] for name in spec.inputs})
                scores_BN = (outputs[0] if isinstance(outputs, tuple) else outputs).numpy()
                found |= {i: row[: self.counts[i]] for i, row in zip(batch.places, scores_BN, strict=True)}
        return [found[index] for index in range(len(self.counts))]


class Trial:
    """One scorer whose factors are chosen; its matrices can be quantised and put back."""

    def __init__(self, inputs: Inputs, plan: Plan):
        """Take the weights into memory in float32.

        Args:
            inputs: what is scored.
            plan: its scheme, factors and ranges; which matrices is asked of `scores`.
        """
        self.inputs, self.plan, model = inputs, plan, inputs.model
        nothing = Plan(msgspec.structs.replace(plan.said, layers=(), embeddings=False), plan.factors)
        role = scorer_role(model.preparer.rules.trained_mode)
        specs = quantise_graphs(model.family.graphs(), model.family.smoothing(), nothing)
        self.spec = next(spec for spec in specs if spec.role == role)
        self.module = materialise(self.spec, model.checkpoint)
        self.matrices = tuple(matrices(self.spec))
        self._whole = {name: self.module.get_submodule(name) for name in self.matrices}
        self._quantised: dict[str, nn.Module] = {}

    def scores(self, layers: Collection[str]) -> list[NDArray[np.float32]]:
        """Scores [N] of each request with these matrices quantised."""
        for name in layers:
            if name not in self._quantised:
                whole = self._whole[name]
                assert isinstance(whole, Projection)
                self._quantised[name] = quantised_module(whole.weight.data, self.plan, name)
            _put(self.module, name, self._quantised[name])
        try:
            return self.inputs.scores(self.spec, self.module)
        finally:
            for name in layers:
                _put(self.module, name, self._whole[name])


def damage(scores: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> Damage:
    """Of the scores of some requests, [N] each, against others of the same requests."""
    pairs = list(zip(scores, expected, strict=True))
    if not all(np.isfinite(found).all() for found, _ in pairs):
        raise CalibrationError("Scores are NaN or infinite. Check the checkpoint's tensors, and the plan's ranges.")
    return Damage(
        flips=float(np.mean([found.argmax() != right.argmax() for found, right in pairs])),
        tau=float(np.mean([kendall_tau(found, right) for found, right in pairs])),
        difference=float(np.mean([np.ptp(found.astype(np.float64) - right) for found, right in pairs])),
    )


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    module.get_submodule(owner).add_module(leaf, part)
