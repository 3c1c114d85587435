"""Heads with named dimensions on full fine-tunes of both families: bundles against the stock model."""

from __future__ import annotations

import functools
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from graph_checks import TOLERANCE
from quiet import Quiet
from random_checkpoint import Sizes, write_checkpoint
from safetensors.torch import load_file, save_file
from tiers import with_variants
from tiny import RECORDED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export._errors import FidelityError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families.opening import open_family
from yoj.export.tensorrt._compile import CompileJob, compile_bundle
from yoj.export.tensorrt._profiles import parse_profile
from yoj.export.verification.fidelity import measure
from yoj.runtime import Image, MediaError, Request, RequestError, Scorer
from yoj.runtime.batch import Prepared, scorer_inputs
from yoj.runtime.cli import main
from yoj.runtime.manifest import MANIFEST_NAME, encode, seal

pytestmark = [pytest.mark.export, pytest.mark.parity]

D, HIDDEN, NAMES = 64, 24, ("instruction", "quality")
MODELS = {"molmo2, mlp, min": Training(), "qwen3_vl, linear, mean": Training("post_norm")}


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


RED, WIDE, TALL, SMALL = (Image(noise(k, *size)) for k, size in enumerate([(40, 60), (30, 90), (80, 40), (20, 24)]))
REQUESTS = {
    "text alone": Request("Which is it?", ["A red car.", "Two trees, and not three.", "No."]),
    "pictures alone": Request(["Make the car red: ", RED], [[WIDE], [TALL], [SMALL]]),
    "both by turns": Request(["In ", RED, " or?"], [[WIDE, "the first"], ["this: ", TALL, " and ", SMALL], "Neither."]),
}


def write(name: str, folder: Path) -> Path:
    """A tiny full fine-tune of a family: the backbone, a Gaussian head for each of two dimensions, and its settings."""
    family, kind, pooling = name.split(", ")
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
        "value_head_dimensions": list(NAMES),
        "value_head_pooling": pooling,
    }
    (folder / "reward_model_config.json").write_text(json.dumps(settings), "utf-8")
    torch.manual_seed(9)
    head: dict[str, torch.Tensor] = {}
    for dimension in NAMES:
        rows, last, width = torch.tensor([[1.0], [0.6]]), "", D
        if kind == "mlp":
            head[f"{dimension}.0.weight"] = torch.randn(HIDDEN, D) * 1.5 / math.sqrt(D)
            head[f"{dimension}.0.bias"] = torch.randn(HIDDEN) * 0.2
            last, width = "2.", HIDDEN
        head[f"{dimension}.{last}weight"] = rows * torch.randn(2, width)
        head[f"{dimension}.{last}bias"] = torch.tensor([0.4, -3.0])
    save_file(head, folder / "value_head.safetensors")
    return folder


@dataclass
class Exported:
    """A bundle, and the stock model beside it."""

    folder: Path
    path: Path
    training: Training

    def __post_init__(self):
        job = ExportConfig([self.folder], None, "assistant", self.path, training=self.training)
        _, self.fidelity = build(job, Quiet())
        self.scorer = Scorer.load(self.path)
        self.checkpoint = Checkpoint.open([self.folder], training=self.training)
        self.family = open_family(self.checkpoint)
        self.stock = self.family.stock_model()
        self.head = {n: v.double().numpy() for n, v in load_file(self.folder / "value_head.safetensors").items()}

    def expected(self, request: Request) -> np.ndarray:
        """Mean and sigma of each response in each dimension, read jointly: float64 [N, J, 2]."""
        prepared = self.scorer.prepare(request, "joint")
        with torch.inference_mode():
            hidden_LD = self.stock(**self._inputs(prepared), use_cache=False).last_hidden_state[0].double().numpy()
        rows = hidden_LD[prepared.packs[0].response_end_N]
        return np.stack([self._of(rows, name) for name in NAMES], axis=1)

    def _of(self, x: np.ndarray, name: str) -> np.ndarray:
        if f"{name}.0.weight" in self.head:
            x = x @ self.head[f"{name}.0.weight"].T + self.head[f"{name}.0.bias"]
            x = x / (1 + np.exp(-x))
        last = f"{name}.2." if f"{name}.2.weight" in self.head else f"{name}."
        out = (x @ self.head[f"{last}weight"].T + self.head[f"{last}bias"]) / math.sqrt(D)
        return np.stack([out[:, 0], np.exp(out[:, 1])], axis=-1)

    def _inputs(self, prepared: Prepared) -> dict[str, torch.Tensor]:
        """Inputs of the stock model, with a mask in which images of one response alone see each other both ways."""
        arrays = scorer_inputs([prepared], self.scorer.family, {})
        (pack,) = prepared.packs
        length = len(pack.input_ids_L)
        row = {name: torch.from_numpy(array[..., :length]) for name, array in arrays.items() if "response" not in name}
        used = [medium for number, medium in enumerate(prepared.media) if (pack.media_L == number + 1).any()]
        inputs = self.family.stock_inputs(row, used, self.scorer.family)
        if "token_types" in row:
            owner = np.array((-1, *pack.owners))[pack.media_L]
            place, types = np.arange(length), row["token_types"][0].numpy()
            seen = place[None, :] <= place[:, None]
            seen = seen | ((types[None, :] * types[:, None] > 0) & (owner[None, :] == owner[:, None]))
            inputs["attention_mask"] = torch.from_numpy(seen[None, None])
        return inputs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """model(name) -> bundle and stock model, exported at the first call."""

    @functools.cache
    def make(name: str) -> Exported:
        folder = tmp_path_factory.mktemp("dimensions")
        return Exported(write(name, folder / "checkpoint"), folder / "judge.yoj", MODELS[name])

    return make


def same(got: object, expected: object) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


def pooled(expected_NJ2: np.ndarray, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Score and sigma [N] of the pooled dimensions, written out."""
    mean_NJ, sigma_NJ = expected_NJ2[..., 0], expected_NJ2[..., 1]
    if rule == "mean":
        return (mean_NJ[:, 0] + mean_NJ[:, 1]) / 2, np.hypot(sigma_NJ[:, 0], sigma_NJ[:, 1]) / 2
    lowest = np.where(mean_NJ[:, 0] <= mean_NJ[:, 1], 0, 1)
    return mean_NJ[np.arange(len(lowest)), lowest], sigma_NJ[np.arange(len(lowest)), lowest]


@pytest.mark.parametrize("mode", ["joint", "isolated"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_every_dimension_is_that_of_the_stock_model(name, request_, mode, model):
    of = model(name)
    one_by_one = [replace(request_, responses=[response]) for response in request_.responses]
    expected = (
        of.expected(request_) if mode == "joint" else np.concatenate([of.expected(alone) for alone in one_by_one])
    )
    (judgement,) = of.scorer.score_batch([request_], mode=mode)
    assert tuple(one.name for one in judgement.dimensions) == NAMES
    for place, one in enumerate(judgement.dimensions):
        same(one.scores, expected[:, place, 0])
        same(one.sigma, expected[:, place, 1])
    score, sigma = pooled(expected, name.split(", ")[2])
    same(judgement.scores, score)
    same(judgement.sigma, sigma)
    assert np.ptp(expected[..., 0], axis=1).min() > 100 * TOLERANCE, "the dimensions are told apart"


def test_a_batch_of_unlike_requests_is_scored_as_each_alone(model):
    of = model("molmo2, mlp, min")
    together = of.scorer.score_batch([*REQUESTS.values()])
    for request, judgement in zip(REQUESTS.values(), together, strict=True):
        alone = of.scorer.score_batch([request])[0]
        same(judgement.scores, alone.scores)
        same(judgement.dimensions[1].scores, alone.dimensions[1].scores)


def test_orders_are_averaged_after_the_dimensions_are_pooled(model):
    of, request = model("molmo2, mlp, min"), REQUESTS["text alone"]
    (judgement,) = of.scorer.score_batch([request], orders=3)
    scores, seconds = [], []
    for turn in range(3):
        order = [(place + turn) % 3 for place in range(3)]
        expected = of.expected(replace(request, responses=[request.responses[i] for i in order]))
        back = np.argsort(order)
        score, _ = pooled(expected, "min")
        scores.append(score[back] - score.mean())
        seconds.append(expected[back, 1, 0] - expected[:, 1, 0].mean())
    same(judgement.scores, np.mean(scores, axis=0))
    same(judgement.dimensions[1].scores, np.mean(seconds, axis=0))


@pytest.mark.parametrize("name", with_variants([*MODELS], 2))
def test_the_graphs_have_an_axis_of_dimensions(name, model):
    of = model(name)
    graphs = of.scorer.engine.graphs
    for role in ("scorer.joint", "scorer.segmented"):
        outputs = {spec.name: spec.shape for spec in graphs[role].outputs}
        assert outputs == {"scores": ("B", "N", 2), "spread": ("B", "N", 2)}
        graph = onnx.load(of.path / graphs[role].file, load_external_data=False).graph
        (scores, _) = graph.output
        assert scores.type.tensor_type.shape.dim[2].dim_value == 2


def test_the_export_compares_every_dimension(model):
    of = model("qwen3_vl, linear, mean")
    assert of.fidelity.passed
    assert of.fidelity.max_abs_diff <= TOLERANCE
    wrong = replace(of.checkpoint.head, dimensions=("quality", "instruction"))
    with pytest.raises(FidelityError, match=r"the dimensions \('instruction', 'quality'\), the checkpoint's"):
        measure(of.scorer, replace(of.checkpoint, head=wrong), of.family, lambda _: None)
    turned = {key: of.checkpoint.head.tensors[_turned(key)] for key in of.checkpoint.head.tensors}
    mixed = replace(of.checkpoint, head=replace(of.checkpoint.head, tensors=turned))
    assert not measure(of.scorer, mixed, open_family(mixed), lambda _: None).passed


def _turned(key: str) -> str:
    first, _, rest = key.partition(".")
    return f"{NAMES[1 - NAMES.index(first)]}.{rest}"


@pytest.fixture(scope="module")
def of_edits(model, tmp_path_factory):
    """of_edits(name) -> the bundle once more, of a judge whose responses all showed pictures of the source's size."""

    @functools.cache
    def make(name: str) -> Scorer:
        of = model(name)
        folder = tmp_path_factory.mktemp("edits") / "judge.yoj"
        shutil.copytree(of.path, folder)
        manifest = msgspec.structs.replace(of.scorer.manifest, response_images="same_size")
        (folder / MANIFEST_NAME).write_bytes(encode(seal(manifest)))
        return Scorer.load(folder)

    return make


@pytest.mark.parametrize("name", with_variants([*MODELS], 2))
def test_a_judge_of_pictures_is_compared_on_pictures(name, model, of_edits):
    of = model(name)
    fidelity = measure(of_edits(name), of.checkpoint, of.family, lambda _: None)
    assert fidelity.max_abs_diff <= TOLERANCE
    assert fidelity.passed


def test_pictures_of_another_size_than_the_source_are_refused(of_edits):
    scorer = of_edits("molmo2, mlp, min")
    with pytest.raises(MediaError) as error:
        scorer.score("Make it red", [Image(noise(1, 40, 60)), Image(noise(2, 40, 64))], images=[noise(0, 40, 60)])
    assert "responses[1] is 64x40, and the prompt's picture images[0] is 60x40" in str(error.value)
    with pytest.raises(RequestError, match=r"The prompt shows no picture, and this judge grades edits of one"):
        scorer.score("Make it red", [Image(noise(1, 40, 60))])
    judgement = scorer.score("Make it red", [Image(noise(1, 40, 60)), Image(noise(2, 40, 60))], images=[RED.source])
    assert not any("hold media" in notice for notice in judgement.notices)


def test_the_command_lets_a_dimension_rank(model, tmp_path):
    path = str(model("molmo2, mlp, min").path)
    asked = ["--prompt", "Which?", "--response", "A red car.", "--response", "No."]
    alone = CliRunner().invoke(main, [path, *asked, "--dimension", "quality", "--json"])
    assert alone.exit_code == 0, alone.output
    judgement = json.loads(alone.stdout)
    assert judgement["scores"] == judgement["dimensions"][1]["scores"]
    assert judgement["dimension"] == "quality"
    table = CliRunner().invoke(main, [path, *asked]).stdout
    assert "instruction" in table.splitlines()[0]
    wrong = CliRunner().invoke(main, [path, *asked, "--dimension", "beauty"])
    assert wrong.exit_code != 0
    assert "dimension is 'beauty'; the head of this bundle has instruction, quality" in wrong.output
    (tmp_path / "r.jsonl").write_text('{"prompt": "Which?", "responses": ["A red car.", "No."]}\n')
    out = tmp_path / "scores.jsonl"
    of_file = [path, str(tmp_path / "r.jsonl"), "--out", str(out), "--dimension"]
    assert CliRunner().invoke(main, [*of_file, "quality"]).exit_code == 0
    assert json.loads(out.read_text())["scores"] == pytest.approx(judgement["scores"], abs=TOLERANCE)
    assert "another mode, method, dimension" in CliRunner().invoke(main, [*of_file, "instruction"]).output


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_plans_of_a_bundle_with_dimensions_are_built(name, model, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="plans are built for real: pip install 'yoj[trt-rtx]'")
    path = shutil.copytree(model(name).path, tmp_path / "judge.yoj")
    profile = parse_profile("B=1:1:2,L=16:64:256,N=2:4:8,V=1:16:64,C=1:2:8,F=1:1:4,P=16:16:64")
    (entry,) = compile_bundle(CompileJob(path, "tensorrt-rtx", ["sm86"], [profile]), Quiet())
    for role in ("scorer.joint", "scorer.segmented"):
        assert {spec.shape for spec in entry.graphs[role].outputs} == {("B", "N", 2)}
        assert (path / entry.graphs[role].file).stat().st_size > 100_000
