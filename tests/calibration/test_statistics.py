"""Statistics of the layers' inputs: against the stock model, against raw values, merged, interrupted."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from random_checkpoint import Sizes, write_checkpoint
from recorded import IMAGES
from safetensors.torch import load_file, save_file
from tiny import RECORDED, make_request
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.calibration import _collect as collect_module
from yoj.calibration import _ranges as ranges
from yoj.calibration._collect import CalibratedModel, collect, kinds_of, measure, position_kinds
from yoj.calibration._content import content_hash
from yoj.calibration._errors import StatisticsError
from yoj.calibration._samples import CalibrationSample
from yoj.calibration._statistics import KINDS, TENSORS, Statistics, load, merge, save
from yoj.calibration.cli import main
from yoj.export.bundle.names import VISION_PREFIX
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.runtime import Image, Request
from yoj.runtime.batch import scorer_inputs

pytestmark = [pytest.mark.parity, pytest.mark.slow]

FAMILIES = ("molmo2", "qwen3_vl")
SHAPES = ((3, 12, ()), (1, 5, ()), (4, 20, ()), (2, 9, ((70, 50),)), (5, 6, ((30, 30), (64, 120))), (2, 30, ()))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """source(family) -> folder of a tiny checkpoint."""

    @functools.cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family) / "checkpoint"
        if family == "molmo2":
            return write_checkpoint(Sizes(readout="first_last_add"), RECORDED, folder)
        return write_qwen(TinyQwen(), folder, hidden_state="post_norm")

    return make


@pytest.fixture(scope="module")
def model(source):
    """model(family, mode) -> it, opened."""
    return functools.cache(
        lambda family, mode="joint": CalibratedModel.open(
            Checkpoint.open([source(family)], training=Training(trained_mode=mode)), "assistant"
        )
    )


def samples_of(model: CalibratedModel, count: int = len(SHAPES)) -> list[CalibrationSample]:
    requests = [make_request(k, *shape) for k, shape in enumerate(SHAPES[:count])]
    sizes = [model.preparer.prepare(request).tokens for request in requests]
    return [
        CalibrationSample(k, r, content_hash(r), n) for k, (r, n) in enumerate(zip(requests, sizes, strict=True), 1)
    ]


@pytest.fixture(scope="module")
def gathered(model, tmp_path_factory):
    """gathered(family, mode) -> statistics of all samples."""
    return functools.cache(
        lambda family, mode="joint": collect(
            model(family, mode), samples_of(model(family, mode)), tmp_path_factory.mktemp("out"), lambda _: None
        )
    )


MOLMO2 = {
    "layers.": "blocks.",
    "q_proj": "att_proj",
    "o_proj": "attn_out",
    "gate_proj": "ff_proj",
    "down_proj": "ff_out",
}
"""The stock model has split what the traced module reads in one piece."""


class StockInputs:
    """Rows that go into the linear layers of the stock model, one request at a time: no batch and no padding."""

    def __init__(self, model: CalibratedModel):
        self.rows: dict[str, list[torch.Tensor]] = {}
        self._model = model
        self._stock: Any = model.family.stock_model()
        for name, module in self._stock.named_modules():
            name = name.removeprefix("language_model.")
            if not isinstance(module, torch.nn.Linear) or not name.startswith("layers."):
                continue
            if model.checkpoint.family == "molmo2":
                if name.rpartition(".")[2] in ("k_proj", "v_proj", "up_proj"):
                    continue
                for theirs, ours in MOLMO2.items():
                    name = name.replace(theirs, ours)
            module.register_forward_pre_hook(functools.partial(self._note, name))

    def _note(self, name: str, _: Any, inputs: Any) -> None:
        self.rows.setdefault(name, []).append(inputs[0][0])

    @torch.inference_mode()
    def run(self, request: Request) -> None:
        runtime = self._model.preparer.family
        prepared = self._model.preparer.prepare(request, "joint")
        row = {name: torch.from_numpy(array) for name, array in scorer_inputs([prepared], runtime, {}).items()}
        self._stock(**self._model.family.stock_inputs(row, prepared.media, runtime), use_cache=False)


def kinds_by_hand(model: CalibratedModel, request: Request) -> np.ndarray:
    """From the tokens alone: the separators, what lies behind the first or before it up to the turn's beginning."""
    (pack,) = model.preparer.prepare(request, "joint").packs
    ids = pack.input_ids_L.tolist()
    separator = model.preparer.rules.layout.separator_id
    turn = len(ids) - 1 - ids[::-1].index(model.preparer.packer.encoder.token_id("<|im_start|>"))
    first = int(pack.response_start_N[0])
    assert turn < first
    assert first - turn <= 8  # "assistant" and a newline, in whatever pieces
    return np.array([2 if token == separator else int(place >= first) for place, token in enumerate(ids)])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_as_hooks_on_the_stock_model(family, model, gathered):
    opened, found = model(family), gathered(family)
    stock = StockInputs(opened)
    samples = samples_of(opened)
    for sample in samples:
        stock.run(sample.request)
    kinds = torch.from_numpy(np.concatenate([kinds_by_hand(opened, sample.request) for sample in samples]))
    assert found.about.tokens == {kind: int((kinds == k).sum()) for k, kind in enumerate(KINDS)}
    assert min(found.about.tokens.values()) > 0
    trunk = {name: layer for name, layer in found.layers.items() if not name.startswith(VISION_PREFIX)}
    assert set(stock.rows) == set(trunk)
    for name, layer in trunk.items():
        values = torch.cat(stock.rows[name]).abs().numpy()
        for k, kind in enumerate(KINDS):
            own = values[(kinds == k).numpy()]
            np.testing.assert_allclose(layer.channels([kind]), own.max(axis=0), rtol=2e-3, atol=1e-5)
            assert layer.counts([kind]).sum() == own.size
            np.testing.assert_array_less(
                np.abs(layer.counts([kind]).cumsum() - np.histogram(own, ranges.bin_edges())[0].cumsum()),
                2 + 0.002 * own.size,
            )
            assert layer.percentile(99, [kind]) == pytest.approx(np.percentile(own, 99), rel=0.07)


TOWERS = {
    "qwen3_vl": {"visual.": VISION_PREFIX},
    "molmo2": {
        "vision_tower.layers.": f"{VISION_PREFIX}resblocks.",
        "vision_tower.": VISION_PREFIX,
        "multi_modal_projector.": VISION_PREFIX,
        "self_attn.": "attention.",
        "mlp.fc": "feed_forward.w",
        **{f"{letter}_proj": f"w{letter}" for letter in "qkvo"},
        **{f"{name}_proj": f"w{number}" for number, name in enumerate(("gate", "down", "up"), 1)},
    },
}
"""The stock models' names of linear layers, and those of the traced modules."""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tower_has_the_same_as_hooks_on_the_stock_model(family, model):
    """One image in the prompt and another in a response, apart."""
    opened, rows = model(family), dict[str, list[torch.Tensor]]()
    stock = StockInputs(opened)
    towers = tuple(old for old in TOWERS[family] if old.startswith(("vis", "multi")))
    for name, module in stock._stock.named_modules():
        if isinstance(module, torch.nn.Linear) and name.startswith(towers):
            for old, new in TOWERS[family].items():
                name = name.replace(old, new)
            note = functools.partial(lambda n, _, inputs: rows.setdefault(n, []).append(inputs[0].flatten(0, -2)), name)
            module.register_forward_pre_hook(note)
    of_prompt = make_request(1, 2, 6, ((70, 50),))
    other = make_request(2, 2, 6, ((64, 120),))
    in_response = Request(other.prompt, [[Image(other.images[0]), "red"], "blue"])
    digests = [content_hash(request) for request in (of_prompt, in_response)]
    with tempfile.TemporaryDirectory() as place:
        samples = [
            CalibrationSample(k, r, d, 99)
            for k, (r, d) in enumerate(zip((of_prompt, in_response), digests, strict=True))
        ]
        found = collect(opened, samples, Path(place) / "out", lambda _: None)
    for kind, request in (("prompt", of_prompt), ("response", in_response)):
        rows.clear()
        stock.run(request)
        assert {*rows} <= {*found.layers}
        assert len(rows) == sum(name.startswith(VISION_PREFIX) for name in found.layers) - (family == "qwen3_vl")
        for name, inputs in rows.items():
            values = torch.cat(inputs).abs().numpy()
            layer = found.layers[name]
            np.testing.assert_allclose(layer.channels([kind]), values.max(axis=0), rtol=2e-3, atol=1e-5)
            if "pool" not in name:  # whose windows have empty slots
                assert layer.counts([kind]).sum() == values.size


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_isolated_mode_is_what_single_responses_give(family, model, gathered):
    opened, found = model(family, "isolated"), gathered(family, "isolated")
    assert found.about.mode == "isolated"
    assert found.about.tokens["separator"] == 0
    stock, own = StockInputs(opened), []
    for sample in samples_of(opened):
        for response in sample.request.responses:
            alone = replace(sample.request, responses=[response])
            stock.run(alone)
            own.append(kinds_by_hand(opened, alone))
    kinds = np.concatenate(own)
    assert found.about.tokens["response"] == (kinds == 1).sum()
    for name in stock.rows:
        layer = found.layers[name]
        values = torch.cat(stock.rows[name]).abs().numpy()
        for k, kind in enumerate(KINDS[:2]):
            np.testing.assert_allclose(layer.channels([kind]), values[kinds == k].max(axis=0), rtol=2e-3, atol=1e-5)
        assert layer.percentile(99, ["response"]) == pytest.approx(np.percentile(values[kinds == 1], 99), rel=0.07)
        assert layer.largest(["separator"]) == layer.percentile(50, ["separator"]) == 0


def test_streamed_layers_give_the_same(model, gathered, tmp_path, monkeypatch):
    monkeypatch.setattr(collect_module, "free_memory", lambda: 0)
    opened = model("qwen3_vl")
    same(collect(opened, samples_of(opened), tmp_path, lambda _: None), gathered("qwen3_vl"))


def test_padding_counts_for_nothing(model):
    opened = model("molmo2")
    prepared = [opened.preparer.prepare(sample.request) for sample in samples_of(opened)]
    kinds_BL = kinds_of(prepared, opened.preparer.rules.layout.separator_id)
    assert (kinds_BL >= 0).sum(axis=1).tolist() == [one.tokens for one in prepared]
    for row, one in zip(kinds_BL, prepared, strict=True):
        np.testing.assert_array_equal(row[: one.tokens], position_kinds(one.packs[0], 970))


MAGNITUDES = st.floats(-40, 40, width=32).map(lambda e: 2.0**e)
ROWS = st.lists(
    st.tuples(st.lists(st.one_of(MAGNITUDES, st.just(0.0)), min_size=3, max_size=3), st.integers(0, 2)), max_size=30
)


@pytest.mark.slow
@given(ROWS, ROWS)
def test_two_parts_merged_are_the_whole(one, other):
    def stats(rows):
        x_TI = torch.tensor([[-v if i % 2 else v for i, v in enumerate(row)] for row, _ in rows]).reshape(-1, 3)
        return measure(x_TI, torch.tensor([kind for _, kind in rows], dtype=torch.int64))

    merged, swapped, whole = stats(one).merged(stats(other)), stats(other).merged(stats(one)), stats(one + other)
    for found in (merged, swapped):
        np.testing.assert_array_equal(found.absmax_SI, whole.absmax_SI)
        np.testing.assert_array_equal(found.histogram_SH, whole.histogram_SH)
    values = np.abs(np.array([row for row, _ in one + other], np.float32).reshape(-1, 3))
    kinds = np.array([kind for _, kind in one + other])
    for kind in range(3):
        expected = np.histogram(values[kinds == kind], ranges.bin_edges())[0]
        np.testing.assert_array_equal(whole.histogram_SH[kind], expected)


@settings(deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 1, 10, 50, 90, 99, 99.9, 100]), st.sampled_from([1, 3, 50, 4000]))
def test_percentiles_lie_within_a_bin_of_those_of_the_values(seed, q, count):
    values = np.random.default_rng(seed).standard_t(2, (count, 2)).astype(np.float32)
    layer = measure(torch.from_numpy(values), torch.ones(count, dtype=torch.int64))
    low, high = (np.percentile(np.abs(values), q, method=method) for method in ("lower", "higher"))
    assert low / (1 + 1 / 16) <= layer.percentile(q) <= high * (1 + 1 / 16)
    assert layer.percentile(100) == np.abs(values).max()


def quantised(values, limit: float):
    """As a graph does it."""
    scale = limit / 127
    return np.clip(np.round(values / scale), -127, 127) * scale


@pytest.mark.parametrize(
    ("draw", "slack"), [("standard_normal", 1.02), ("standard_t", 1.05), ("standard_cauchy", 1.25)]
)
def test_the_least_squared_error_is_found(draw, slack):
    """Where single values decide, as in a Cauchy distribution, their place within their bin matters."""
    args = (3,) if draw == "standard_t" else ()
    values = getattr(np.random.default_rng(1), draw)(*args, 20_000).astype(np.float32)
    layer = measure(torch.from_numpy(values.reshape(-1, 4)), torch.zeros(5000, dtype=torch.int64))

    def error(limit: float) -> float:
        return float(np.mean((values - quantised(values, limit)) ** 2))

    for limit in layer.largest() * np.array([1, 0.5, 0.2, 0.05]):
        assert ranges.squared_error(layer.counts(), layer.largest(), limit) == pytest.approx(error(limit), rel=0.1)
    best = min(error(limit) for limit in layer.largest() * np.geomspace(1 / 512, 1, 400))
    assert error(layer.mse_range()) <= slack * best
    if draw == "standard_normal":
        assert layer.mse_range() == pytest.approx(3.92, rel=0.05)  # optimal uniform quantiser of 8 bits, Max 1960


def entropy_by_loops(counts: list[float]) -> int:
    """Entropy calibration written out, one bin at a time."""
    counts = [counts[1], *counts[1:]]
    best, most = None, float("inf")
    for size in range(128, len(counts) + 1):
        levels: dict[int, list[int]] = {}
        for place in range(size):
            if counts[place] > 0:
                levels.setdefault(place * 128 // size, []).append(place)
        q = [0.0] * size
        for places in levels.values():
            for place in places:
                q[place] = sum(counts[p] for p in places) / len(places)
        p = [*counts[: size - 1], sum(counts[size - 1 :])]
        divergence, all_p, all_q = 0.0, sum(p), sum(q)
        for a, b in zip(p, q, strict=True):
            if a > 0:
                divergence += a / all_p * np.log(a / all_p / (b / all_q)) if b > 0 else float("inf")
        if divergence <= most:
            best, most = size, divergence
    assert best is not None
    return best


@pytest.mark.parametrize("seed", range(3))
def test_entropy_is_that_of_the_loops(seed):
    values = np.abs(np.random.default_rng(seed).standard_t(4, 3000))
    counts = np.histogram(values, 300, (0, values.max()))[0].astype(np.float64)
    assert ranges.entropy_bins(counts) == entropy_by_loops(counts.tolist())


def test_entropy_range_from_wide_bins_is_near_that_from_the_values():
    values = np.random.default_rng(0).laplace(size=400_000).astype(np.float32)
    layer = measure(torch.from_numpy(values.reshape(-1, 4)), torch.zeros(100_000, dtype=torch.int64))
    exact = np.histogram(np.abs(values), ranges.UNIFORM_BINS, (0, layer.largest()))[0].astype(np.float64)
    limit = ranges.entropy_bins(exact) / ranges.UNIFORM_BINS * layer.largest()
    assert layer.entropy_range() == pytest.approx(limit, rel=0.15)
    assert 0 < layer.entropy_range() < layer.largest()


def test_ranges_of_nothing_and_of_zeros_and_of_one_value():
    nothing = measure(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    zeros = measure(torch.zeros(5, 4), torch.zeros(5, dtype=torch.int64))
    for layer in (nothing, zeros):
        assert layer.percentile(99) == layer.mse_range() == layer.entropy_range() == 0
        assert layer.outliers() == 1
    one = measure(torch.full((5, 4), 0.25), torch.zeros(5, dtype=torch.int64))
    assert one.percentile(50) == one.percentile(100) == one.mse_range() == one.entropy_range() == 0.25


def same(one: Statistics, other: Statistics) -> None:
    assert one.about == other.about
    assert one.layers.keys() == other.layers.keys()
    for name, layer in one.layers.items():
        np.testing.assert_array_equal(layer.absmax_SI, other.layers[name].absmax_SI)
        np.testing.assert_array_equal(layer.histogram_SH, other.layers[name].histogram_SH)


def test_runs_are_merged_as_if_they_were_one(model, tmp_path, monkeypatch):
    monkeypatch.setattr(collect_module, "BATCH_TOKENS", 1)  # one request a batch, so that both ways round alike
    opened = model("molmo2")
    samples = samples_of(opened)
    whole = collect(opened, samples, tmp_path / "whole", lambda _: None)
    parts = [collect(opened, samples[k::2], tmp_path / str(k), lambda _: None) for k in range(2)]
    merged = merge(parts, ["0", "1"])
    same(merged, whole)
    done = CliRunner().invoke(main, ["merge", *(str(tmp_path / n) for n in "01"), "--out", str(tmp_path / "both")])
    assert done.exit_code == 0, done.output
    assert f"8 layers of the trunk, 26 of the vision tower; {len(samples)} samples" in done.output
    same(load(tmp_path / "both"), whole)
    assert json.loads((tmp_path / "both" / "statistics.json").read_text("utf-8"))["samples"] == list(
        whole.about.samples
    )


def test_what_does_not_belong_together_is_not_merged(model, gathered, tmp_path):
    one = gathered("molmo2")
    for other, text in (
        (gathered("qwen3_vl"), "files of the checkpoints differ .*family is molmo2 and qwen3_vl"),
        (gathered("molmo2", "isolated"), "mode is joint and isolated"),
        (one, r"b has 6 samples that are in already \([0-9a-f]{16}, .*\.\.\.\)"),
        (replace(one, about=replaced(one, waiting=("x",))), "b has 6 of its 7 samples"),
    ):
        with pytest.raises(StatisticsError, match=text):
            merge([one, other], ["a", "b"])
    save(one, tmp_path)
    content = (tmp_path / TENSORS).read_bytes()
    for damaged in (
        content[:-5],
        content[:100],
        b"",
        content.replace(b'\\"schema_version\\": 3', b'\\"schema_version\\": 7'),
    ):
        (tmp_path / TENSORS).write_bytes(damaged)
        with pytest.raises(StatisticsError, match=r"statistics\.safetensors is (damaged|of version 7)"):
            load(tmp_path)


def replaced(statistics: Statistics, **fields):
    return msgspec.structs.replace(statistics.about, **fields)


def write_lines(file: Path, count: int) -> Path:
    lines = []
    for k in range(count):
        request = make_request(k, 2 + k % 3, 4 + 3 * (k % 4))
        line = {"prompt": request.prompt, "responses": list(request.responses)}
        lines.append(line | ({"image": "odd_small.png"} if k % 3 == 0 else {}))
    shutil.copy(IMAGES / "odd_small.png", file.parent)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file


KILLED = """
import os, signal, sys
from pathlib import Path
from yoj.calibration import _collect as collect
from yoj.calibration.cli import main
collect.BATCH_TOKENS = 300
replace, left = Path.replace, int(sys.argv.pop())
def counted(self, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = counted
main()
"""


def kill(renames: int, words) -> int:
    """Run the command in a process that is killed instead of its n-th rename of a file; its exit status."""
    command = [sys.executable, "-c", KILLED, *map(str, words), str(renames)]
    return subprocess.run(command, capture_output=True, timeout=240).returncode


@pytest.mark.thorough
@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_equal_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(collect_module, "BATCH_TOKENS", 300)
    samples, out = write_lines(tmp_path / "samples.jsonl", 10), tmp_path / "out"
    done = invoke(samples, tmp_path / "whole", "--count", 10)
    assert done.exit_code == 0, done.output
    whole, words = load(tmp_path / "whole"), command(samples, out, "--count", 10)
    # A run begins with two renames. The fifth is that of the second batch's tensors, which are then written and not
    # in place; the second of the run that goes on is that of a description, whose tensors are in place already.
    for renames, runs in ((5, 1), (2, 2)):
        assert kill(renames, words) == -9
        part = load(out)
        assert 0 < len(part.about.samples) < len(whole.about.samples)
        assert {*part.about.samples} | {*part.about.waiting} == {*whole.about.samples}
        seen = json.loads((out / "statistics.json").read_text("utf-8"))["samples"]
        assert (len(seen) < len(part.about.samples)) == (runs == 2)
        assert list(out.glob(".*.tmp"))
    done = invoke(samples, out, "--count", 10)
    assert done.exit_code == 0, done.output
    same(load(out), whole)
    assert not whole.about.waiting
    files = sorted(path.name for path in out.iterdir())
    assert files == ["statistics.json", TENSORS]
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def command(samples: Path, out: Path, *words: object) -> list[str]:
    words = ("statistics", RECORDED, "--layout", "assistant", "--samples", samples, "--out", out, *words)
    return [str(word) for word in words]


def invoke(samples: Path, out: Path, *words: object):
    return CliRunner().invoke(main, command(samples, out, *words))


@pytest.mark.slow
def test_the_command(tmp_path):
    samples, held_out = write_lines(tmp_path / "samples.jsonl", 12), tmp_path / "held_out.jsonl"
    held_out.write_text(json.dumps({"prompt": "Else?", "responses": ["a", "b"]}) + "\n", "utf-8")
    done = invoke(samples, tmp_path / "out", "--held-out", held_out)
    assert done.exit_code == 0, done.output
    assert "12 of 12 requests: N=2,3,4; L=" in done.stderr
    assert "warning: 12 samples, as the file has no more, are too few" in done.stderr
    assert "--held-out" not in done.stderr
    layers = {name: layer for name, layer in load(tmp_path / "out").layers.items() if layer.counts().any()}
    assert max(layers, key=lambda name: layers[name].outliers()) in done.stdout
    assert "8 layers of the trunk, 26 of the vision tower; 12 samples" in done.stdout
    again = invoke(samples, tmp_path / "out", "--held-out", held_out)
    assert again.stdout == done.stdout
    other = invoke(samples, tmp_path / "out", "--count", 5)
    assert other.exit_code == 1
    assert "warning: without --held-out" in other.stderr
    assert "holds statistics of other samples: 7 are in one of both choices only. Repeat" in other.stderr
    refused = invoke(samples, tmp_path / "new", "--held-out", samples)
    assert refused.exit_code == 1
    assert "has 12 requests that are held out" in refused.stderr
    assert not (tmp_path / "new").exists()
    mode = invoke(samples, tmp_path / "out", "--mode", "isolated")
    assert "out holds statistics of another model: mode is joint and isolated. Choose another --out." in mode.stderr
    occupied = invoke(samples, tmp_path)
    assert "exists and holds no statistics" in occupied.stderr


def test_nan_is_found(source, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(source("qwen3_vl"), folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.language_model.layers.1.input_layernorm.weight"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    opened = CalibratedModel.open(Checkpoint.open([folder]), "assistant")
    text = r"into layers\.1\.self_attn\.q_proj is NaN or infinite in the batch of lines .*1"
    with pytest.raises(StatisticsError, match=text):
        collect(opened, samples_of(opened, 2), tmp_path / "out", lambda _: None)
    assert not load(tmp_path / "out").about.samples
