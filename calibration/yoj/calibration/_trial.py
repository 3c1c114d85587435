"""Trials of quantised matrices: the model in PyTorch with some matrices in 8 or 4 bits, and the damage to rankings.

Shapes: B rows, L tokens, N responses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from yoj.export.bundle.names import VISION_PREFIX
from yoj.export.families import GraphSpec
from yoj.export.graph.traced import TracedSession
from yoj.export.quantisation.config import QuantisationConfig, matrices, quantise_graphs, quantised_module
from yoj.export.verification.fidelity import kendall_tau
from yoj.runtime import Request
from yoj.runtime.batch import BATCH_TOKENS, batches_by_length
from yoj.runtime.roles import VISION, scorer_role

from ._collect import CalibratedModel
from ._errors import CalibrationError


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Difference of scores from those in float32."""

    flips: float
    """Share of the requests whose best response is another."""
    tau: float
    """Kendall's tau, mean over the requests."""
    difference: float
    """Mean over the requests of the largest difference of two responses' scores, which is what rankings see."""


@dataclass(frozen=True)
class TrialBatch:
    """Inputs of the scorer for one batch, and the places of its requests among all."""

    inputs: dict[str, torch.Tensor]
    places: list[int]


class Inputs:
    """Requests with two responses or more, prepared once, with the features of their pictures."""

    def __init__(self, model: CalibratedModel, requests: Sequence[Request], vision: bool = False):
        """Compute the features in float32.

        Args:
            model: model that reads the requests.
            requests: requests to prepare; those with one response are left out.
            vision: whether pictures are kept, for features of quantised towers.

        Raises:
            CalibrationError: no request is left, or there are pictures to keep and none is shown.
        """
        self.model, self.vision = model, vision
        usable = [request for request in requests if len(request.responses) > 1]
        if not usable:
            raise CalibrationError("No request has two responses or more, so that no ranking can change. Give others.")
        prepared = [model.preparer.prepare(request) for request in usable]
        if vision and not any(one.media for one in prepared):
            raise CalibrationError(
                "No request has an image or a video, so that nothing shows what a quantised vision tower costs. Give "
                "requests of the kind that will be scored, or leave out --vision."
            )
        self.counts = [len(request.responses) for request in usable]
        groups = batches_by_length([p.tokens for p in prepared], [1] * len(prepared), BATCH_TOKENS)
        self._groups = [(group, [prepared[i] for i in group]) for group in groups]
        self.batches = list(self.seen_by(TracedSession.load(model.checkpoint, model.family.graphs, "float32")))
        if not vision:
            self._groups.clear()

    def seen_by(self, session: TracedSession) -> Iterator[TrialBatch]:
        """Batches with the features of a session's vision graph."""
        for group, prepared in self._groups:
            arrays = session.scorer_inputs(prepared, self.model.preparer.family)
            yield TrialBatch({name: torch.from_numpy(array) for name, array in arrays.items()}, group)

    def scores(
        self, spec: GraphSpec, module: nn.Module, batches: Iterable[TrialBatch] | None = None
    ) -> list[NDArray[np.float32]]:
        """Scores [N] of each request; ``batches`` from `seen_by` have other features than those in float32."""
        found: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            for batch in self.batches if batches is None else batches:
                outputs = module(**{name: batch.inputs[name] for name in spec.inputs})
                scores_BN = (outputs[0] if isinstance(outputs, tuple) else outputs).numpy()
                found |= {i: row[: self.counts[i]] for i, row in zip(batch.places, scores_BN, strict=True)}
        return [found[index] for index in range(len(self.counts))]


class Trial:
    """One model with fixed factors; its matrices can be quantised and put back."""

    def __init__(self, inputs: Inputs, config: QuantisationConfig):
        """Take the weights into memory in float32; those of the vision tower where the inputs kept their pictures.

        Args:
            inputs: the requests that are scored.
            config: scheme, factors and ranges; `scores` is told which matrices.
        """
        self.inputs, self.config, model = inputs, config, inputs.model
        nothing = QuantisationConfig(msgspec.structs.replace(config.spec, layers=(), embeddings=False), config.factors)
        specs = quantise_graphs(model.family.graphs, model.family.smoothing(), nothing)
        self._session = TracedSession.load(model.checkpoint, specs, "float32")
        self._role = scorer_role(model.preparer.rules.trained_mode)
        self._whole: dict[str, tuple[str, str, Any]] = {}  # role, path in the module of the role, matrix
        for role in (self._role, VISION) if inputs.vision else (self._role,):
            module, spec = self._session.module(role), self._session.specs[role]
            for name in matrices(spec):
                path = name.removeprefix(spec.prefix)
                self._whole[name] = role, path, module.get_submodule(path)
        self.matrices = tuple(self._whole)
        self._quantised: dict[str, nn.Module] = {}

    def scores(self, layers: Collection[str]) -> list[NDArray[np.float32]]:
        """Scores [N] of each request with these matrices quantised."""
        for name in layers:
            if name not in self._quantised:
                self._quantised[name] = quantised_module(self._whole[name][2], self.config, name)
            self._put(name, self._quantised[name])
        tower = any(name.startswith(VISION_PREFIX) for name in layers)
        try:
            batches = self.inputs.seen_by(self._session) if tower else None
            return self.inputs.scores(self._session.specs[self._role], self._session.module(self._role), batches)
        finally:
            for name in layers:
                self._put(name, self._whole[name][2])

    def _put(self, name: str, part: nn.Module) -> None:
        role, path, _ = self._whole[name]
        owner, _, leaf = path.rpartition(".")
        self._session.module(role).get_submodule(owner).add_module(leaf, part)


def damage(scores: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> Damage:
    """Compare the scores of some requests, [N] each, with expected ones of the same requests."""
    pairs = list(zip(scores, expected, strict=True))
    if not all(np.isfinite(found).all() for found, _ in pairs):
        raise CalibrationError("Scores are NaN or infinite. Check the checkpoint's tensors, and the config's ranges.")
    return Damage(
        flips=float(np.mean([found.argmax() != right.argmax() for found, right in pairs])),
        tau=float(np.mean([kendall_tau(found, right) for found, right in pairs])),
        difference=float(np.mean([np.ptp(found.astype(np.float64) - right) for found, right in pairs])),
    )
