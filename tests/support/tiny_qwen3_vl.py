"""Tiny Qwen3-VL reward models with random weights, on disk in the released layout, and bundles of them.

The tokenizer is that of the recorded checkpoint with Qwen3-VL's vision tokens added; everything else is new.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quiet import Quiet
from safetensors.torch import save_file
from tiny import RECORDED, WORDS

from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.checkpoint.checkpoint import Checkpoint, HiddenState, Training, VideoExpansion
from yoj.export.families._qwen3_vl import Qwen3VLExport
from yoj.export.verification.stock_model import StockModel
from yoj.runtime import Request, Scorer
from yoj.runtime.batch import Prepared, scorer_inputs
from yoj.runtime.manifest import Mode

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
ROWS = 990
"""Of the embedding table; more than there are tokens, as in the released models."""
TEMPLATE = """\
{%- macro shown(content) -%}
  {%- if content is string -%}{{- content -}}
  {%- else -%}
    {%- for part in content -%}
      {%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
      {%- elif part.type == 'video' -%}{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
      {%- else -%}{{- part.text -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
  {{- '<|im_start|>' ~ message.role ~ '\\n' ~ shown(message.content) ~ '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


@dataclass(frozen=True)
class TinyQwen:
    """Sizes of a model. Theta and sections are such that a wrong axis moves scores."""

    D: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 96
    rope_theta: float = 20_000.0
    sections: tuple[int, int, int] = (10, 3, 3)
    vision_width: int = 48
    vision_heads: int = 2
    vision_intermediate: int = 80
    depth: int = 2
    taps: tuple[int, ...] = (0, 1)
    patch: int = 8
    grid: int = 6
    readout: str = "last"
    seed: int = 0
    prefix: str = "model."
    """Empty where save_pretrained wrote the bare trunk."""


def write_qwen(tiny: TinyQwen, folder: Path, **settings: str) -> Path:
    """Write a merged checkpoint of these sizes; ``settings`` go to ``reward_model_config.json``."""
    folder.mkdir(parents=True)
    ids = _write_tokenizer(folder)
    pixels = {"patch_size": tiny.patch, "temporal_patch_size": 2, "merge_size": 2}
    tile = (2 * tiny.patch) ** 2
    width = tiny.D * (2 if tiny.readout == "first_last_concat" else 1)
    head = {"value_head_type": "mlp", "value_head_hidden_dim": 24, "value_head_activation": "silu"}
    for name, values in (
        ("config.json", _config(tiny, ids)),
        (
            "preprocessor_config.json",
            pixels | {"size": {"shortest_edge": 4 * tile, "longest_edge": 36 * tile}},
        ),
        (
            "video_preprocessor_config.json",
            pixels | {"size": {"shortest_edge": 8 * tile, "longest_edge": 48 * tile}, "max_frames": 32},
        ),
        ("reward_model_config.json", head | {"resp_repr_mode": tiny.readout} | settings),
    ):
        (folder / name).write_text(json.dumps(values, indent=2), "utf-8")
    torch.manual_seed(tiny.seed)
    save_file(_tensors(tiny), folder / "model.safetensors")
    value_head = {
        "0.weight": torch.randn(24, width) / math.sqrt(width),
        "0.bias": torch.randn(24) * 0.2,
        "2.weight": torch.randn(1, 24),
        "2.bias": torch.randn(1),
    }
    save_file(value_head, folder / "value_head.safetensors")
    return folder


def _write_tokenizer(folder: Path) -> dict[str, int]:
    tokenizer = json.loads((RECORDED / "tokenizer.json").read_text("utf-8"))
    settings = json.loads((RECORDED / "tokenizer_config.json").read_text("utf-8"))
    first = max(token["id"] for token in tokenizer["added_tokens"]) + 1
    ids = {token: first + number for number, token in enumerate(VISION_TOKENS)}
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    for token, number in ids.items():
        tokenizer["added_tokens"].append({"id": number, "content": token, **plain})
        settings["added_tokens_decoder"][str(number)] = {"content": token, **plain}
    for name in ("bos_token", "additional_special_tokens", "image_token", "video_token", "processor_class"):
        settings.pop(name)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return ids


def _config(tiny: TinyQwen, ids: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "qwen3_vl",
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": True,
        "text_config": {
            "model_type": "qwen3_vl_text",
            "attention_bias": False,
            "head_dim": tiny.head_dim,
            "hidden_act": "silu",
            "hidden_size": tiny.D,
            "intermediate_size": tiny.intermediate,
            "max_position_embeddings": 4096,
            "num_attention_heads": tiny.heads,
            "num_hidden_layers": tiny.layers,
            "num_key_value_heads": tiny.kv_heads,
            "rms_norm_eps": 1e-6,
            "rope_scaling": {
                "mrope_interleaved": True,
                "mrope_section": list(tiny.sections),
                "rope_type": "default",
            },
            "rope_theta": tiny.rope_theta,
            "vocab_size": ROWS,
        },
        "vision_config": {
            "model_type": "qwen3_vl",
            "deepstack_visual_indexes": list(tiny.taps),
            "depth": tiny.depth,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": tiny.vision_width,
            "in_channels": 3,
            "intermediate_size": tiny.vision_intermediate,
            "num_heads": tiny.vision_heads,
            "num_position_embeddings": tiny.grid**2,
            "out_hidden_size": tiny.D,
            "patch_size": tiny.patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }


def _tensors(tiny: TinyQwen) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    text, visual = f"{tiny.prefix}language_model", f"{tiny.prefix}visual"

    def matrix(name: str, out: int, width: int, bias: bool = False, gain: float = 1.0) -> None:
        tensors[f"{name}.weight"] = torch.randn(out, width) * gain / math.sqrt(width)
        if bias:
            tensors[f"{name}.bias"] = torch.randn(out) * 0.1

    def norm(name: str, width: int, bias: bool = False, mean: float = 1.0) -> None:
        tensors[f"{name}.weight"] = mean + torch.randn(width) * 0.2
        if bias:
            tensors[f"{name}.bias"] = torch.randn(width) * 0.1

    tensors[f"{text}.embed_tokens.weight"] = torch.randn(ROWS, tiny.D) * 0.5
    for i in range(tiny.layers):
        layer = f"{text}.layers.{i}"
        norm(f"{layer}.input_layernorm", tiny.D)
        norm(f"{layer}.post_attention_layernorm", tiny.D)
        for name, heads in (("q", tiny.heads), ("k", tiny.kv_heads), ("v", tiny.kv_heads)):
            matrix(f"{layer}.self_attn.{name}_proj", heads * tiny.head_dim, tiny.D)
        matrix(f"{layer}.self_attn.o_proj", tiny.D, tiny.heads * tiny.head_dim)
        # Sharp attention, so that positions matter.
        norm(f"{layer}.self_attn.q_norm", tiny.head_dim, mean=1.3)
        norm(f"{layer}.self_attn.k_norm", tiny.head_dim, mean=1.3)
        matrix(f"{layer}.mlp.gate_proj", tiny.intermediate, tiny.D)
        matrix(f"{layer}.mlp.up_proj", tiny.intermediate, tiny.D)
        matrix(f"{layer}.mlp.down_proj", tiny.D, tiny.intermediate)
    norm(f"{text}.norm", tiny.D)

    width, merged = tiny.vision_width, 4 * tiny.vision_width
    matrix(f"{visual}.patch_embed.proj", width, 6 * tiny.patch**2, bias=True)
    kernel = tensors[f"{visual}.patch_embed.proj.weight"]
    tensors[f"{visual}.patch_embed.proj.weight"] = kernel.view(width, 3, 2, tiny.patch, tiny.patch)
    tensors[f"{visual}.pos_embed.weight"] = torch.randn(tiny.grid**2, width) * 0.5
    for i in range(tiny.depth):
        block = f"{visual}.blocks.{i}"
        norm(f"{block}.norm1", width, bias=True)
        norm(f"{block}.norm2", width, bias=True)
        matrix(f"{block}.attn.qkv", 3 * width, width, bias=True, gain=1.4)
        matrix(f"{block}.attn.proj", width, width, bias=True)
        matrix(f"{block}.mlp.linear_fc1", tiny.vision_intermediate, width, bias=True)
        matrix(f"{block}.mlp.linear_fc2", width, tiny.vision_intermediate, bias=True)
    mergers = [(f"{visual}.merger", width)]
    mergers += [(f"{visual}.deepstack_merger_list.{k}", merged) for k in range(len(tiny.taps))]
    for name, normed in mergers:
        norm(f"{name}.norm", normed, bias=True)
        matrix(f"{name}.linear_fc1", merged, merged, bias=True)
        matrix(f"{name}.linear_fc2", tiny.D, merged, bias=True)
    return tensors


class Exported:
    """A bundle of one checkpoint and the stock model beside it."""

    def __init__(self, checkpoint: Path, out: Path, hidden_state: HiddenState, video: VideoExpansion):
        training = Training(hidden_state, video)
        self.path = out
        _, self.fidelity = build(ExportConfig([checkpoint], None, "assistant", out, training=training), Quiet())
        self.scorer = Scorer.load(out)
        self.checkpoint = Checkpoint.open([checkpoint], training=training)
        self.reference = StockModel(self.checkpoint, Qwen3VLExport(self.checkpoint))

    def other_reference(self, training: Training | None = None, sections: Sequence[int] = ()) -> StockModel:
        """The stock model with something changed."""
        config = json.loads(json.dumps(self.checkpoint.config))
        if sections:
            config["text_config"]["rope_scaling"]["mrope_section"] = list(sections)
        changed = replace(self.checkpoint, config=config, training=training or self.checkpoint.training)
        return StockModel(changed, Qwen3VLExport(changed))

    def prepare(self, requests: Sequence[Request], mode: Mode = "joint") -> list[Prepared]:
        return [self.scorer.prepare(request, mode) for request in requests]

    def inputs(self, batch: Sequence[Prepared]) -> dict[str, np.ndarray]:
        """What the joint graph takes for a batch."""
        features = self.scorer._features({k: m for p in batch for k, m in zip(p.keys, p.media, strict=True)})
        arrays = (self.scorer._no_media() if not features else {}) | scorer_inputs(batch, self.scorer.family, features)
        return {spec.name: arrays[spec.name] for spec in self.scorer.engine.graphs["scorer.joint"].inputs}

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """[B, N] from the joint graph."""
        return self.scorer._session.run("scorer.joint", inputs)["scores"]

    def expected(self, requests: Sequence[Request], reference: StockModel | None = None) -> np.ndarray:
        """[B, N] from the stock model, one request at a time; -inf where a request has fewer responses."""
        reference = reference or self.reference
        rows = [reference.score(prepared, self.scorer.family) for prepared in self.prepare(requests)]
        scores_BN = np.full((len(rows), max(map(len, rows))), -np.inf, np.float32)
        for scores_N, row in zip(scores_BN, rows, strict=True):
            scores_N[: len(row)] = row
        return scores_BN


def request_of(seed: int, n: int, words: int, sizes: Sequence[tuple[int, int]] = (), frames: int = 0) -> Request:
    """N responses of about ``words`` words, noise images of these sizes (height, width), and a video of noise."""
    draw = np.random.default_rng(seed)

    def text(count: int) -> str:
        return " ".join(draw.choice(WORDS, count))

    images = [draw.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    video = list(draw.integers(0, 256, (frames, 40, 72, 3), np.uint8)) or None
    responses = [text(words + int(draw.integers(0, 4))) for _ in range(n)]
    return Request(text(6 + int(draw.integers(0, 9))) + "?", responses, images, video, fps=1.0 if frames else None)
