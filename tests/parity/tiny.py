"""Tiny Molmo2 reward models with random weights, on disk in the released layout, and their graphs in ONNX Runtime.

Tokenizer, chat template and processor files come from the recorded checkpoint; everything that has a size is new.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file

from yoj.export.build import open_family
from yoj.export.checkpoint import Checkpoint
from yoj.export.graph import WeightFile, write_graph
from yoj.export.layout import render_layout
from yoj.export.reference import Reference
from yoj.runtime import Request
from yoj.runtime.batch import Prepared, scorer_inputs
from yoj.runtime.families.molmo2 import Molmo2
from yoj.runtime.packing import Packer

RECORDED = Path(__file__).parents[1] / "golden" / "data" / "checkpoint-merged"
COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "processor_config.json")
WORDS = "a the red blue small cat dog car tree is are in on under near two three, and not. It shows 42% of".split()  # noqa: SIM905
BASE_ROWS, EXTRA_ROWS = 960, 11


@dataclass(frozen=True)
class Tiny:
    """Sizes of a model; the defaults are those of the recorded checkpoint."""

    head: str = "linear"
    activation: str | None = None
    readout: str = "last"
    head_hidden: int | None = None
    """None: as wide as what the head reads, and null in the settings."""
    D: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 96
    rope_theta: float = 5_000_000.0
    vit_width: int = 48
    vit_heads: int = 2
    vit_head_dim: int = 24
    vit_layers: int = 4
    taps: tuple[int, ...] = (-2, -4)
    crop: int = 182
    max_crops: int = 8
    margins: tuple[int, int] = (2, 2)
    seed: int = 0

    @property
    def stored_vit_layers(self) -> int:
        """Released checkpoints leave out the layers behind the deepest tap."""
        return max(tap % self.vit_layers for tap in self.taps) + 1


def write_checkpoint(tiny: Tiny, folder: Path) -> Path:
    """Write a merged checkpoint of these sizes."""
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copy(RECORDED / name, folder / name)
    preprocessor = json.loads((RECORDED / "preprocessor_config.json").read_text("utf-8"))
    preprocessor |= {
        "size": {"height": tiny.crop, "width": tiny.crop},
        "max_crops": tiny.max_crops,
        "overlap_margins": list(tiny.margins),
    }
    width = tiny.D * (2 if tiny.readout == "first_last_concat" else 1)
    settings = {
        "value_head_type": tiny.head,
        "value_head_hidden_dim": tiny.head_hidden,
        "value_head_activation": tiny.activation,
        "value_head_input_dim": width,
        "resp_repr_mode": tiny.readout,
    }
    for name, values in (
        ("config.json", _config(tiny)),
        ("preprocessor_config.json", preprocessor),
        ("reward_model_config.json", settings),
    ):
        (folder / name).write_text(json.dumps(values, indent=2), "utf-8")
    torch.manual_seed(tiny.seed)
    save_file(_tensors(tiny), folder / "model.safetensors")
    torch.save(_head(tiny, width), folder / "value_head.pt")
    return folder


def _config(tiny: Tiny) -> dict[str, Any]:
    config = json.loads((RECORDED / "config.json").read_text("utf-8"))
    config["text_config"] |= {
        "hidden_size": tiny.D,
        "num_hidden_layers": tiny.layers,
        "num_attention_heads": tiny.heads,
        "num_key_value_heads": tiny.kv_heads,
        "head_dim": tiny.head_dim,
        "intermediate_size": tiny.intermediate,
        "rope_theta": tiny.rope_theta,
        "vocab_size": BASE_ROWS,
        "additional_vocab_size": EXTRA_ROWS,
    }
    vision = {
        "hidden_size": tiny.vit_width,
        "num_attention_heads": tiny.vit_heads,
        "num_key_value_heads": tiny.vit_heads,
        "head_dim": tiny.vit_head_dim,
    }
    config["vit_config"] |= vision | {
        "num_hidden_layers": tiny.vit_layers,
        "image_default_input_size": [tiny.crop, tiny.crop],
        "image_num_pos": (tiny.crop // 14) ** 2,
    }
    config["adapter_config"] |= vision | {"text_hidden_size": tiny.D, "vit_layers": list(tiny.taps)}
    return config


def _tensors(tiny: Tiny) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}

    def matrix(name: str, out: int, width: int, bias: bool = False) -> None:
        tensors[f"{name}.weight"] = torch.randn(out, width) * 1.2 / math.sqrt(width)
        if bias:
            tensors[f"{name}.bias"] = torch.randn(out) * 0.1

    def norm(name: str, width: int, bias: bool = False) -> None:
        tensors[f"{name}.weight"] = 1 + torch.randn(width) * 0.2
        if bias:
            tensors[f"{name}.bias"] = torch.randn(width) * 0.1

    text, vision = "model.transformer", "model.vision_backbone"
    wide = tiny.heads * tiny.head_dim
    tensors[f"{text}.wte.embedding"] = torch.randn(BASE_ROWS, tiny.D) * 0.5
    tensors[f"{text}.wte.new_embedding"] = torch.randn(EXTRA_ROWS, tiny.D) * 0.5
    tensors["lm_head.weight"] = torch.randn(BASE_ROWS, tiny.D) * 0.1
    for i in range(tiny.layers):
        block = f"{text}.blocks.{i}"
        norm(f"{block}.attn_norm", tiny.D)
        norm(f"{block}.ff_norm", tiny.D)
        matrix(f"{block}.self_attn.att_proj", wide + 2 * tiny.kv_heads * tiny.head_dim, tiny.D)
        matrix(f"{block}.self_attn.attn_out", tiny.D, wide)
        norm(f"{block}.self_attn.q_norm", tiny.head_dim)
        norm(f"{block}.self_attn.k_norm", tiny.head_dim)
        matrix(f"{block}.mlp.ff_proj", 2 * tiny.intermediate, tiny.D)
        matrix(f"{block}.mlp.ff_out", tiny.D, tiny.intermediate)
    norm(f"{text}.ln_f", tiny.D)

    inner = tiny.vit_heads * tiny.vit_head_dim
    vit = f"{vision}.image_vit"
    matrix(f"{vit}.patch_embedding", tiny.vit_width, 3 * 14 * 14, bias=True)
    tensors[f"{vit}.positional_embedding"] = torch.randn((tiny.crop // 14) ** 2, tiny.vit_width) * 0.3
    for i in range(tiny.stored_vit_layers):
        block = f"{vit}.transformer.resblocks.{i}"
        norm(f"{block}.attention_norm", tiny.vit_width, bias=True)
        norm(f"{block}.ffn_norm", tiny.vit_width, bias=True)
        for name in ("wq", "wk", "wv"):
            matrix(f"{block}.attention.{name}", inner, tiny.vit_width, bias=True)
        matrix(f"{block}.attention.wo", tiny.vit_width, inner, bias=True)
        matrix(f"{block}.feed_forward.w1", 64, tiny.vit_width, bias=True)
        matrix(f"{block}.feed_forward.w2", tiny.vit_width, 64, bias=True)
    for name in ("wq", "wk", "wv"):
        matrix(f"{vision}.image_pooling_2d.{name}", inner, tiny.vit_width * len(tiny.taps), bias=True)
    matrix(f"{vision}.image_pooling_2d.wo", tiny.vit_width, inner, bias=True)
    matrix(f"{vision}.image_projector.w1", 96, tiny.vit_width)
    matrix(f"{vision}.image_projector.w3", 96, tiny.vit_width)
    matrix(f"{vision}.image_projector.w2", tiny.D, 96)
    return tensors


def _head(tiny: Tiny, width: int) -> dict[str, torch.Tensor]:
    if tiny.head == "linear":
        return {"weight": torch.randn(1, width), "bias": torch.randn(1)}
    hidden = tiny.head_hidden or width
    return {
        "0.weight": torch.randn(hidden, width) / math.sqrt(width) * 1.5,
        "0.bias": torch.randn(hidden) * 0.2,
        "2.weight": torch.randn(1, hidden),
        "2.bias": torch.randn(1),
    }


class Exported:
    """The graphs of one checkpoint in ONNX Runtime, and the stock model beside them; no bundle around them."""

    def __init__(self, checkpoint: Path, folder: Path):
        self.folder = folder
        (folder / "onnx").mkdir(parents=True)
        self.checkpoint = Checkpoint.open([checkpoint])
        family = open_family(self.checkpoint)
        weights = WeightFile(folder / "onnx" / "weights.data", self.checkpoint.weights, lambda _: None)
        self.graphs = {s.role: write_graph(s, folder, weights, torch.float32) for s in family.graphs()}
        self.sessions = {
            role: onnxruntime.InferenceSession(str(folder / graph.file), providers=["CPUExecutionProvider"])
            for role, graph in self.graphs.items()
        }
        self.checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
        layout = render_layout(self.checkpoint, "assistant", family.markup())
        self.packer = Packer(folder / "tokenizer.json", layout, family.limits.L)
        self.family = Molmo2(family.preprocessing(), self.packer.token_id)
        self.reference = Reference(self.checkpoint, family)
        self.D = int(self.checkpoint.config["text_config"]["hidden_size"])

    def prepare(self, request: Request) -> Prepared:
        images = tuple(self.family.prepare_image(image) for image in request.images)
        return Prepared(self.packer.pack(request, [image.ids for image in images]), images, {})

    def inputs(self, batch: Sequence[Prepared]) -> dict[str, np.ndarray]:
        """What the scorer graph takes for a batch, visual features included."""
        images = [image for prepared in batch for image in prepared.images]
        features = np.zeros((1, self.D), np.float32)
        if images:
            features = self.run("vision", self.family.vision_inputs(images))
        arrays = scorer_inputs(batch, self.family, {"image_features": features})
        return {spec.name: arrays[spec.name] for spec in self.graphs["scorer.joint"].inputs}

    def run(self, role: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self.sessions[role].run(None, inputs)[0]

    def score(self, batch: Sequence[Prepared]) -> np.ndarray:
        """[B, N] from the graphs."""
        return self.run("scorer.joint", self.inputs(batch))

    def expected(self, batch: Sequence[Prepared]) -> np.ndarray:
        """[B, N] from the stock model, one request at a time; -inf where a request has fewer responses."""
        rows = [self.reference.score(prepared, self.family) for prepared in batch]
        scores_BN = np.full((len(rows), max(map(len, rows))), -np.inf, np.float32)
        for scores_N, row in zip(scores_BN, rows, strict=True):
            scores_N[: len(row)] = row
        return scores_BN


def make_request(seed: int, n: int, words: int, sizes: Sequence[tuple[int, int]] = ()) -> Request:
    """A request of N responses of about ``words`` words, with noise images of these sizes (height, width)."""
    draw = np.random.default_rng(seed)

    def text(count: int) -> str:
        return " ".join(draw.choice(WORDS, count))

    images = [draw.integers(0, 256, (height, width, 3), np.uint8) for height, width in sizes]
    responses = [text(words + int(draw.integers(0, 4))) for _ in range(n)]
    return Request(text(6 + int(draw.integers(0, 9))) + "?", responses, images)
