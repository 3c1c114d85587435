"""What a plan gets beside the request, to fill the shape it runs with, changes no score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny import make_request

from yoj.runtime import Scorer
from yoj.runtime.engines._shapes import STEPS, choose_profile, cut, fill, sizes_of
from yoj.runtime.manifest import ShapeProfile

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module", params=["merged", "qwen3_vl"])
def loaded(request, bundle) -> Scorer:
    return Scorer.load(bundle(request.param, "assistant"))


class Padding:
    """The same graphs, each input padded to the least size of a profile that lies well above it."""

    def __init__(self, scorer: Scorer):
        self._scorer, self._inner = scorer, scorer._session
        self.added: set[str] = set()

    def run(self, role, inputs):
        graph = self._scorer.engine.graphs[role]
        sizes = sizes_of(graph.inputs, inputs)
        above = {x: size + 5 if x in STEPS else size for x, size in sizes.items()}
        profile = {x: ShapeProfile(min=size, opt=size, max=4 * size + 64) for x, size in above.items()}
        _, padded = choose_profile(role, [profile], sizes)
        self.added |= {x for x in sizes if padded[x] > sizes[x]}
        arrays = {}
        for spec in graph.inputs:
            shape = [padded[axis] if isinstance(axis, str) else axis for axis in spec.shape]
            arrays[spec.name] = np.empty(shape, spec.dtype)
            fill(arrays[spec.name], spec.name, inputs[spec.name])
        outputs = self._inner.run(role, arrays)
        return {spec.name: cut(outputs[spec.name], spec, sizes) for spec in graph.outputs}


@pytest.mark.parametrize("mode", ["joint", "isolated"])
def test_a_padded_batch_scores_as_it_does_without(mode, loaded, monkeypatch):
    requests = [make_request(1, 3, 6, [(40, 56)]), make_request(2, 2, 12), make_request(3, 5, 4, [(30, 30), (60, 30)])]
    plain = [judgement.scores for judgement in loaded.score_batch(requests, mode=mode)]
    padding = Padding(loaded)
    monkeypatch.setattr(loaded, "_opened", replace(loaded._opened, session=padding))
    loaded.cache.__init__(2**20)
    padded = [judgement.scores for judgement in loaded.score_batch(requests, mode=mode)]
    assert padding.added >= {"B", "L", "N", "V"}
    for before, after in zip(plain, padded, strict=True):
        assert np.abs(np.subtract(before, after)).max() <= 1e-5
