"""Plans are found by what rankings lose, with outliers as large trunks have them; the gate passes what keeps them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from made_up import write_requests
from random_checkpoint import Sizes, write_checkpoint
from safetensors.torch import load_file, save_file
from tiny import RECORDED

from experiments.shapes import ShapesConfig, write_items
from yoj.calibration._collect import CalibratedModel, collect
from yoj.calibration._errors import CalibrationError
from yoj.calibration._samples import choose
from yoj.calibration._search import ALPHAS, Found, SearchConfig, search
from yoj.calibration._statistics import Statistics
from yoj.calibration._trial import Inputs
from yoj.calibration.cli import main
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.graph.traced import TracedSession
from yoj.runtime import Request
from yoj.runtime.lines import read_requests

pytestmark = pytest.mark.slow

OUTLIERS, FACTOR = 3, 64.0
"""A power of two, so that the division is exact in bfloat16."""
JUDGES = Path(__file__).parents[2] / "checkpoints"


def plant_outliers(judge: Path) -> None:
    """Channels that are large behind every norm, as those of large trained trunks are; the scores stay as they were.

    A norm's weight is multiplied in a few channels; columns of what reads them are divided, the adapter's too.
    """
    readers = {"input_layernorm": "self_attn.{}_proj", "post_attention_layernorm": "mlp.{}_proj"}
    files = [judge / "base" / "model.safetensors", judge / "adapter_model.safetensors"]
    base, adapter = map(load_file, files)
    for name in [n for n in base if n.endswith(".weight") and n.split(".")[-2] in readers]:
        channels = torch.randperm(len(base[name]), generator=torch.Generator().manual_seed(len(name)))[:OUTLIERS]
        base[name][channels] *= FACTOR
        layer, norm = name.removesuffix(".weight").rsplit(".", 1)
        for part in ("q", "k", "v", "gate", "up"):
            module = f"{layer}.{readers[norm].format(part)}"
            for tensors, key in ((base, f"{module}.weight"), (adapter, f"base_model.model.{module}.lora_A.weight")):
                if key in tensors:
                    tensors[key][:, channels] /= FACTOR
    for file, tensors in zip(files, (base, adapter), strict=True):
        save_file(tensors, file)


@dataclass
class Setting:
    folder: Path
    checkpoint: Path
    model: CalibratedModel
    statistics: Statistics
    requests: list[Request]


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    folder = tmp_path_factory.mktemp("search")
    sizes = Sizes(D=96, heads=4, intermediate=160, layers=3, seed=3)
    write_requests(folder / "samples.jsonl", 64, 1)
    write_requests(folder / "requests.jsonl", 60, 2)
    return gather(folder, write_checkpoint(sizes, RECORDED, folder / "checkpoint"))


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Setting:
    """The shipped Qwen3-VL judge with outliers, and items of its task."""
    folder = tmp_path_factory.mktemp("planted")
    judge = shutil.copytree(JUDGES / "shapes-qwen3_vl", folder / "judge")
    plant_outliers(judge)
    write_items(folder, "samples", ShapesConfig(96, 1_001), lambda _: None)
    write_items(folder, "requests", ShapesConfig(150, 1_002), lambda _: None)
    return gather(folder, judge)


def gather(folder: Path, checkpoint: Path) -> Setting:
    model = CalibratedModel.open(Checkpoint.open([checkpoint]), "assistant")
    requests = folder / "requests.jsonl"
    chosen = choose(folder / "samples.jsonl", [requests], 64, 0, lambda r: model.preparer.prepare(r).tokens)
    statistics = collect(model, chosen.samples, folder / "statistics", lambda _: None)
    return Setting(folder, checkpoint, model, statistics, list(read_requests(requests).values()))


def found(setting: Setting, scheme: str, max_flips: float = 1.0, smooth: bool = True) -> Found:
    wanted = SearchConfig(scheme, max_flips, smooth)
    return search(setting.model, setting.statistics, setting.requests, wanted, lambda _: None)


def test_planted_outliers_leave_the_scores_as_they_were(planted):
    original = CalibratedModel.open(Checkpoint.open([JUDGES / "shapes-qwen3_vl"]), "assistant")
    role, some = "scorer.joint", planted.requests[:24]
    scores = []
    for model in (original, planted.model):
        session = TracedSession.load(model.checkpoint, model.family.graphs, "float32")
        inputs = Inputs(model, some)
        scores.append(np.concatenate(inputs.scores(session.specs[role], session.module(role))))
    np.testing.assert_allclose(*scores, rtol=0, atol=5e-4)
    ratios = [layer.outliers() for name, layer in planted.statistics.layers.items() if name.endswith("q_proj")]
    assert min(ratios) > 10


@pytest.mark.thorough
def test_scales_by_token_and_smoothing_hold_where_one_range_for_all_fails(planted):
    naive = found(planted, "int8_static", smooth=False).damage
    both = found(planted, "int8")
    assert naive.flips > 0.05
    assert both.damage.flips <= 0.02
    assert naive.difference > 5 * both.damage.difference
    assert both.config.spec.about["alpha"] > 0
    assert set(both.alphas) == set(ALPHAS)
    assert both.alphas[0.0].difference > 1.5 * both.damage.difference


def test_the_largest_set_within_the_budget_is_taken_and_the_mildest_first(setting):
    all_of_them = found(setting, "int8_static", 1.0, smooth=False)
    budget = all_of_them.damage.flips / 3
    some = found(setting, "int8_static", budget, smooth=False)
    assert 0 < len(some.config.spec.layers) < len(all_of_them.config.spec.layers)
    assert some.damage.flips <= budget
    order = list(some.sweep)
    assert set(some.config.spec.layers) == set(order[: len(some.config.spec.layers)])
    differences = [loss.difference for loss in some.sweep.values()]
    assert differences == sorted(differences)


def test_a_search_repeats_itself(setting):
    first, second = (found(setting, "int8") for _ in range(2))
    assert msgspec.json.encode(first.config.spec) == msgspec.json.encode(second.config.spec)


def test_requests_with_one_response_show_nothing(setting):
    alone = [Request("Which?", ["one"])]
    with pytest.raises(CalibrationError, match="two responses or more"):
        search(setting.model, setting.statistics, alone, SearchConfig(), lambda _: None)


def test_statistics_of_another_checkpoint_are_refused(setting):
    about = msgspec.structs.replace(setting.statistics.about, checkpoint={"other": "0" * 64})
    with pytest.raises(CalibrationError, match="files of the checkpoints differ"):
        search(setting.model, Statistics(about, {}), setting.requests, SearchConfig(), lambda _: None)


def test_what_cannot_be_measured_is_refused_and_left_as_it_was(bundle, tmp_path):
    path = shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")
    before = (path / "manifest.json").read_bytes()
    held_out = write_requests(tmp_path / "held_out.jsonl", 60, 6)
    plain = CliRunner().invoke(main, ["gate", str(path), str(path), str(held_out)])
    assert "is not quantised" in plain.output
    few = CliRunner().invoke(main, ["gate", str(path), str(path), str(write_requests(tmp_path / "few.jsonl", 9, 7))])
    assert "has 9 requests; give 50" in few.output
    assert (path / "manifest.json").read_bytes() == before


def test_requests_of_the_statistics_are_not_compared_on(setting, tmp_path):
    words = ["quantisation", setting.checkpoint, "--layout", "assistant", "--statistics", setting.folder / "statistics"]
    words += ["--requests", setting.folder / "samples.jsonl", "--out", tmp_path / "plan"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 1
    assert "requests that the statistics were gathered from" in result.output
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize("share", ["-1", "120%", "half"])
def test_a_share_is_a_share(share, setting, tmp_path):
    words = ["quantisation", setting.checkpoint, "--layout", "assistant", "--statistics", setting.folder / "statistics"]
    words += ["--requests", setting.folder / "samples.jsonl", "--out", tmp_path / "plan", "--max-flips", share]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 2
    assert "is not a share" in result.output
