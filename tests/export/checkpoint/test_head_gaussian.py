"""Gaussian heads: score and spread of a bundle against the stock model and a head computed here in float64."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graph_checks import FORBIDDEN, TOLERANCE, describe
from quiet import Quiet
from random_checkpoint import Sizes, write_checkpoint
from safetensors.torch import load_file, save_file
from tiers import with_variants
from tiny import RECORDED
from tiny_qwen3_vl import TinyQwen, request_of, write_qwen

from yoj.export._errors import FidelityError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families.opening import open_family
from yoj.export.verification.fidelity import measure
from yoj.runtime import Request, Scorer
from yoj.runtime.batch import Prepared, scorer_inputs
from yoj.runtime.orders import draw_orders

pytestmark = [pytest.mark.export, pytest.mark.parity]

D, HIDDEN = 64, 24
MODELS = {
    "molmo2, mlp": Training(),
    "qwen3_vl, linear": Training("post_norm"),
}
SMALL, TALL = (40, 60), (130, 70)


def write_gaussian(name: str, folder: Path) -> Path:
    """A tiny checkpoint of a family whose head is replaced by one with mean and log sigma."""
    family, kind = name.split(", ")
    if family == "molmo2":
        write_checkpoint(Sizes(D=D, layers=2), RECORDED, folder)
        (folder / "value_head.pt").unlink()
    else:
        write_qwen(TinyQwen(D=D), folder)
    settings = {
        "value_head_type": kind,
        "value_head_activation": "silu",
        "value_head_hidden_dim": HIDDEN,
        "value_head_outputs": 2,
    }
    (folder / "reward_model_config.json").write_text(json.dumps(settings), "utf-8")
    torch.manual_seed(9)
    rows = torch.tensor([[1.0], [0.6]])
    head = {"weight": rows * torch.randn(2, D), "bias": torch.tensor([0.4, -3.0])}
    if kind == "mlp":
        head = {
            "0.weight": torch.randn(HIDDEN, D) * 1.5 / math.sqrt(D),
            "0.bias": torch.randn(HIDDEN) * 0.2,
            "2.weight": rows * torch.randn(2, HIDDEN),
            "2.bias": torch.tensor([0.4, -3.0]),
        }
    save_file(head, folder / "value_head.safetensors")
    return folder


@dataclass
class Exported:
    """A bundle, and the stock model beside it."""

    folder: Path
    path: Path
    training: Training

    def __post_init__(self):
        _, self.fidelity = build(
            ExportConfig([self.folder], None, "assistant", self.path, training=self.training), Quiet()
        )
        self.scorer = Scorer.load(self.path)
        self.family = open_family(Checkpoint.open([self.folder], training=self.training))
        self.stock = self.family.stock_model()
        self.head = {n: v.double().numpy() for n, v in load_file(self.folder / "value_head.safetensors").items()}

    def expected(self, request: Request) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sigma [N] of one request read jointly."""
        prepared = self.scorer.prepare(request, "joint")
        with torch.inference_mode():
            hidden_LD = self.stock(**self._inputs(prepared), use_cache=False).last_hidden_state[0].double().numpy()
        x = hidden_LD[prepared.packs[0].response_end_N]
        if "0.weight" in self.head:
            x = x @ self.head["0.weight"].T + self.head["0.bias"]
            x = x / (1 + np.exp(-x))
        last = "2." if "0.weight" in self.head else ""
        out = (x @ self.head[f"{last}weight"].T + self.head[f"{last}bias"]) / math.sqrt(D)
        return out[:, 0], np.exp(out[:, 1])

    def _inputs(self, prepared: Prepared) -> dict[str, torch.Tensor]:
        arrays = scorer_inputs([prepared], self.scorer.family, {})
        row = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return self.family.stock_inputs(row, prepared.media, self.scorer.family)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """model(name) -> bundle and stock model, exported at the first call."""

    @functools.cache
    def make(name: str) -> Exported:
        folder = tmp_path_factory.mktemp("gaussian")
        return Exported(write_gaussian(name, folder / "checkpoint"), folder / "judge.yoj", MODELS[name])

    return make


def requests() -> list[Request]:
    return [
        request_of(0, 4, 8, (SMALL,)),
        request_of(1, 1, 20),
        request_of(2, 6, 3, (TALL, SMALL)),
        request_of(3, 2, 9),
    ]


def same(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_joint(name, model):
    exported = model(name)
    outputs = exported.scorer.outputs([exported.scorer.prepare(request) for request in requests()])
    assert {output.dtype.name for output in outputs.values()} == {"float32"}
    spreads = []
    for score_N, spread_N, request in zip(outputs["scores"], outputs["spread"], requests(), strict=True):
        mean, sigma = exported.expected(request)
        same(score_N[: len(mean)], mean)
        same(spread_N[: len(mean)], sigma)
        assert np.isneginf(score_N[len(mean) :]).all()
        assert (spread_N[len(mean) :] == 0).all()
        spreads += sigma.tolist()
    # Spreads of one size, or those of the mean's row, would agree for the wrong reasons.
    assert np.std(spreads) > 100 * TOLERANCE


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_isolated(name, model):
    exported = model(name)
    for request, judgement in zip(requests(), exported.scorer.score_batch(requests(), mode="isolated"), strict=True):
        alone = [exported.expected(replace(request, responses=[response])) for response in request.responses]
        same(judgement.scores, [mean[0] for mean, _ in alone])
        same(judgement.sigma, [sigma[0] for _, sigma in alone])


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_several_orders(name, model):
    exported, (request, *_) = model(name), requests()
    scores, spreads = [], []
    for order in draw_orders(len(request.responses), 3):
        mean, sigma = exported.expected(replace(request, responses=[request.responses[i] for i in order]))
        back = np.argsort(order)
        scores.append(mean[back] - mean.mean())
        spreads.append(sigma[back])
    (judgement,) = exported.scorer.score_batch([request], orders=3)
    same(judgement.scores, np.mean(scores, axis=0))
    same(judgement.sigma, np.mean(spreads, axis=0))
    assert np.std(spreads, axis=0).max() > 10 * TOLERANCE


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_the_bundle_says_so(name, model):
    exported = model(name)
    assert exported.fidelity.passed
    assert exported.scorer.manifest.value_head.outputs == 2
    for role in ("scorer.joint", "scorer.segmented"):
        specs = exported.scorer.engine.graphs[role]
        graph = onnx.load(exported.path / specs.file, load_external_data=False).graph
        assert [describe(value) for value in graph.output] == [
            ("scores", "float32", ("B", "N")),
            ("spread", "float32", ("B", "N")),
        ]
        assert [spec.name for spec in specs.outputs] == ["scores", "spread"]
        assert not FORBIDDEN & {node.op_type for node in graph.node}
    card = (exported.path / "README.md").read_text("utf-8")
    assert "`spread`, the sigma of each score, uncalibrated" in card


def test_the_comparison_notices_another_sigma(model, tmp_path):
    exported = model("molmo2, mlp")
    folder = write_gaussian("molmo2, mlp", tmp_path / "checkpoint")
    head = load_file(folder / "value_head.safetensors")
    head["2.bias"][1] += 0.05
    save_file(head, folder / "value_head.safetensors")
    checkpoint = Checkpoint.open([folder])
    fidelity = measure(exported.scorer, checkpoint, open_family(checkpoint), lambda _: None)
    assert not fidelity.passed
    assert (fidelity.top1_agreement, fidelity.token_ids_equal) == (1, True)


def test_a_checkpoint_with_other_outputs_is_not_compared(model):
    checkpoint = Checkpoint.open([RECORDED])
    with pytest.raises(FidelityError, match="value_head_outputs 2, the checkpoint's has 1"):
        measure(model("molmo2, mlp").scorer, checkpoint, open_family(checkpoint), lambda _: None)
