"""Small base models of the true architectures, before any training: random weights in the released base layout.

Tensors and settings have the names of the released checkpoints, so that the exporter and the stock transformers
classes read them alike. The tokenizer is trained on the texts that the model will see.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from yoj.export.checkpoint.checkpoint import SEPARATOR
from yoj.training import RecipeError

from .small_tokenizer import END_OF_TEXT, tokenizer_config, train_tokenizer

IMAGE_SIDE = 64
"""Side in pixels of the pictures that the models are made for; other sizes work."""
CONTEXT = 2048
MAX_FRAMES = 16
"""Most frames of a video; an even number."""


@dataclass(frozen=True)
class Trunk:
    """Sizes of the text trunk of either family."""

    D: int = 128
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 384
    rope_theta: float = 10_000.0
    sections: tuple[int, int, int] = (8, 4, 4)
    """Numbers of rotary frequencies for time, rows and columns; Qwen3-VL only."""


@dataclass(frozen=True)
class Vision:
    """Sizes of the vision tower of either family."""

    width: int = 96
    heads: int = 4
    intermediate: int = 384
    layers: int = 4
    """Number of layers that are stored and used."""
    patch: int = 16


@dataclass(frozen=True)
class Adapter:
    """Sizes of the connector between Molmo2's vision tower and its trunk."""

    taps: tuple[int, ...] = (-2, -4)
    """Layers that are read, counted from the end of those that the settings name."""
    unused: int = 1
    """Layers that the settings name beyond those stored, as in the released models: none behind the deepest tap."""
    intermediate: int = 256
    pooling: tuple[int, int] = (2, 2)
    """Numbers of patches that become one visual token, in images and in videos."""
    margins: tuple[int, int] = (1, 1)


TRUNK = Trunk()
VISION = Vision()
ADAPTER = Adapter()
TAPS = (0, 1, 2)
"""Blocks of Qwen3-VL's tower whose outputs are added after the first layers of the trunk."""
MERGE, FRAMES_PER_PATCH = 2, 2
EMBEDDING_STD = 0.05
"""Standard deviation of the embeddings and of the output table: untrained, all tokens shall be about equally likely."""
FEATURE_GAIN = 0.3
"""Gain of the last matrix before the visual features: they stand beside the tokens, and should neither drown them nor
go under."""
POSITION_STD = 0.1

BASE_SPECIAL = (END_OF_TEXT, "<|im_start|>", "<|im_end|>")
MOLMO2_SPECIAL = (
    "<im_start>", "<im_end>", "<im_patch>", "<im_col>", "<low_res_im_start>", "<|image|>", "<im_low>",
    "<frame_start>", "<frame_end>", "<|video|>",
)  # fmt: skip
"""Tokens in the second embedding table, together with the separator."""
QWEN_SPECIAL = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
MEAN, STD = [0.17, 0.17, 0.17], [0.25, 0.25, 0.25]
"""Normalisation of pixels before the first layer: the background of the pictures of `shapes` comes near 0."""


def write_base(family: str, texts: Iterable[str], folder: Path, seed: int = 0, layers: int = 8) -> None:
    """Write a base model with random weights and a tokenizer of its own.

    Args:
        family: ``molmo2`` or ``qwen3_vl``.
        texts: prompts and responses, from which the tokenizer learns its words.
        folder: folder to make; files in it are replaced.
        seed: seed of the weights. The tokenizer depends on the texts alone.
        layers: number of layers of the trunk.

    Raises:
        RecipeError: there is no such family.
    """
    if family not in _FAMILIES:
        raise RecipeError(f"There is no small base model of the family {family!r}; there are {', '.join(_FAMILIES)}.")
    parts = _FAMILIES[family]
    tokenizer = train_tokenizer(texts, parts.special)
    ids = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    template = Path(__file__).parent / "templates" / f"{family}.jinja"
    (folder / "chat_template.jinja").write_bytes(template.read_bytes())
    settings = {
        "config.json": parts.config(ids, layers),
        "tokenizer_config.json": tokenizer_config(ids, parts.tokens, CONTEXT),
    }
    for name, values in (settings | parts.processors()).items():
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    save_file(parts.tensors(ids, seed, layers), folder / "model.safetensors", metadata={"format": "pt"})


class _Draw:
    """Tensors by name, drawn one after the other."""

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)
        self.tensors: dict[str, NDArray[np.float32]] = {}

    def normal(self, name: str, shape: tuple[int, ...], std: float) -> None:
        self.tensors[name] = self._random.standard_normal(shape, np.float32) * np.float32(std)

    def matrix(self, name: str, out: int, width: int, bias: bool = False, gain: float = 1.0) -> None:
        """Draw a matrix that makes outputs of size ``gain`` of ``width`` inputs of size 1."""
        self.normal(f"{name}.weight", (out, width), gain / math.sqrt(width))
        if bias:
            self.tensors[f"{name}.bias"] = np.zeros(out, np.float32)

    def norm(self, name: str, width: int, bias: bool = False) -> None:
        self.tensors[f"{name}.weight"] = np.ones(width, np.float32)
        if bias:
            self.tensors[f"{name}.bias"] = np.zeros(width, np.float32)


def _residual_gain(layers: int) -> float:
    """Gain at the end of a branch: the two branches of every layer shall not outgrow the sum that they join."""
    return 1 / math.sqrt(2 * layers)


def _text_config(model_type: str, layers: int) -> dict[str, Any]:
    """Settings of the trunk that both families have."""
    return {
        "model_type": model_type,
        "head_dim": TRUNK.head_dim,
        "hidden_act": "silu",
        "hidden_size": TRUNK.D,
        "intermediate_size": TRUNK.intermediate,
        "max_position_embeddings": CONTEXT,
        "num_attention_heads": TRUNK.heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": TRUNK.kv_heads,
        "rope_theta": TRUNK.rope_theta,
    }


def _molmo2_config(ids: Mapping[str, int], layers: int) -> dict[str, Any]:
    vit, adapter = _molmo2_vision_config()
    return {
        "architectures": ["Molmo2ForConditionalGeneration"],
        "model_type": "molmo2",
        "dtype": "float32",
        "tie_word_embeddings": False,
        "use_frame_special_tokens": True,
        "frame_end_token_id": ids["<frame_end>"],
        "frame_start_token_id": ids["<frame_start>"],
        "image_col_id": ids["<im_col>"],
        "image_end_token_id": ids["<im_end>"],
        "image_high_res_id": ids["<im_patch>"],
        "image_low_res_id": ids["<im_low>"],
        "image_patch_id": ids["<im_patch>"],
        "image_start_token_id": ids["<im_start>"],
        "low_res_image_start_token_id": ids["<low_res_im_start>"],
        "text_config": {
            **_text_config("molmo2_text", layers),
            "additional_vocab_size": len(MOLMO2_SPECIAL) + 1,
            "layer_norm_eps": 1e-6,
            "norm_after": False,
            "qk_norm_type": "qwen3",
            "qkv_bias": False,
            "rope_scaling": None,
            "use_qk_norm": True,
            "vocab_size": ids[MOLMO2_SPECIAL[0]],
        },
        "vit_config": vit,
        "adapter_config": adapter,
    }


def _molmo2_vision_config() -> tuple[dict[str, Any], dict[str, Any]]:
    """Configs of the vision tower and of the adapter."""
    shared = {
        "model_type": "molmo2",
        "head_dim": VISION.width // VISION.heads,
        "hidden_size": VISION.width,
        "num_attention_heads": VISION.heads,
        "num_key_value_heads": VISION.heads,
    }
    vit = {
        "hidden_act": "gelu_pytorch_tanh",
        "image_default_input_size": [IMAGE_SIDE, IMAGE_SIDE],
        "image_num_pos": (IMAGE_SIDE // VISION.patch) ** 2,
        "image_patch_size": VISION.patch,
        "intermediate_size": VISION.intermediate,
        "layer_norm_eps": 1e-6,
        "num_hidden_layers": VISION.layers + ADAPTER.unused,
    }
    adapter = {
        "hidden_act": "silu",
        "intermediate_size": ADAPTER.intermediate,
        "pooling_attention_mask": True,
        "text_hidden_size": TRUNK.D,
        "vit_layers": list(ADAPTER.taps),
    }
    return shared | vit, shared | adapter


def _molmo2_processors() -> dict[str, dict[str, Any]]:
    shared = {
        "do_convert_rgb": True,
        "image_mean": MEAN,
        "image_std": STD,
        "patch_size": VISION.patch,
        "pooling_size": list(ADAPTER.pooling),
        "processor_class": "Molmo2Processor",
        "resample": 2,
        "size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE},
    }
    image = {"image_processor_type": "Molmo2ImageProcessor", "max_crops": 1, "overlap_margins": list(ADAPTER.margins)}
    video = {
        "video_processor_type": "Molmo2VideoProcessor",
        "frame_sample_mode": "uniform_last_frame",
        "max_fps": 2,
        "num_frames": MAX_FRAMES,
    }
    tokens = {
        "processor_class": "Molmo2Processor",
        "image_use_col_tokens": True,
        "use_frame_special_tokens": True,
        "use_low_res_token_for_global_crops": False,
        "use_single_crop_col_tokens": False,
        "use_single_crop_start_token": True,
        "video_use_col_tokens": False,
    }
    return {
        "preprocessor_config.json": shared | image,
        "video_preprocessor_config.json": shared | video,
        "processor_config.json": tokens,
    }


def _molmo2_tensors(ids: Mapping[str, int], seed: int, layers: int) -> dict[str, NDArray[np.float32]]:
    draw, gain = _Draw(seed), _residual_gain(layers)
    text, rows, wide = "model.transformer", ids[MOLMO2_SPECIAL[0]], TRUNK.heads * TRUNK.head_dim
    draw.normal(f"{text}.wte.embedding", (rows, TRUNK.D), EMBEDDING_STD)
    draw.normal(f"{text}.wte.new_embedding", (len(MOLMO2_SPECIAL) + 1, TRUNK.D), EMBEDDING_STD)
    draw.normal("lm_head.weight", (rows, TRUNK.D), EMBEDDING_STD)
    for i in range(layers):
        block = f"{text}.blocks.{i}"
        draw.norm(f"{block}.attn_norm", TRUNK.D)
        draw.norm(f"{block}.ff_norm", TRUNK.D)
        draw.matrix(f"{block}.self_attn.att_proj", wide + 2 * TRUNK.kv_heads * TRUNK.head_dim, TRUNK.D)
        draw.matrix(f"{block}.self_attn.attn_out", TRUNK.D, wide, gain=gain)
        draw.norm(f"{block}.self_attn.q_norm", TRUNK.head_dim)
        draw.norm(f"{block}.self_attn.k_norm", TRUNK.head_dim)
        draw.matrix(f"{block}.mlp.ff_proj", 2 * TRUNK.intermediate, TRUNK.D)
        draw.matrix(f"{block}.mlp.ff_out", TRUNK.D, TRUNK.intermediate, gain=gain)
    draw.norm(f"{text}.ln_f", TRUNK.D)
    _molmo2_vision(draw)
    return draw.tensors


def _molmo2_vision(draw: _Draw) -> None:
    width, gain = VISION.width, _residual_gain(VISION.layers)
    vision = "model.vision_backbone"
    vit = f"{vision}.image_vit"
    draw.matrix(f"{vit}.patch_embedding", width, 3 * VISION.patch**2, bias=True)
    draw.normal(f"{vit}.positional_embedding", ((IMAGE_SIDE // VISION.patch) ** 2, width), POSITION_STD)
    for i in range(VISION.layers):
        block = f"{vit}.transformer.resblocks.{i}"
        draw.norm(f"{block}.attention_norm", width, bias=True)
        draw.norm(f"{block}.ffn_norm", width, bias=True)
        for name in ("wq", "wk", "wv"):
            draw.matrix(f"{block}.attention.{name}", width, width, bias=True)
        draw.matrix(f"{block}.attention.wo", width, width, bias=True, gain=gain)
        draw.matrix(f"{block}.feed_forward.w1", VISION.intermediate, width, bias=True)
        draw.matrix(f"{block}.feed_forward.w2", width, VISION.intermediate, bias=True, gain=gain)
    for name in ("wq", "wk", "wv"):
        draw.matrix(f"{vision}.image_pooling_2d.{name}", width, width * len(ADAPTER.taps), bias=True)
    draw.matrix(f"{vision}.image_pooling_2d.wo", width, width, bias=True)
    draw.matrix(f"{vision}.image_projector.w1", ADAPTER.intermediate, width)
    draw.matrix(f"{vision}.image_projector.w3", ADAPTER.intermediate, width)
    draw.matrix(f"{vision}.image_projector.w2", TRUNK.D, ADAPTER.intermediate, gain=FEATURE_GAIN)


def _qwen_config(ids: Mapping[str, int], layers: int) -> dict[str, Any]:
    text = {
        **_text_config("qwen3_vl_text", layers),
        "rms_norm_eps": 1e-6,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": list(TRUNK.sections), "rope_type": "default"},
        "tie_word_embeddings": True,
        "vocab_size": max(ids.values()) + 1,
    }
    vision = {
        "model_type": "qwen3_vl",
        "deepstack_visual_indexes": list(TAPS),
        "depth": VISION.layers,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": VISION.width,
        "in_channels": 3,
        "intermediate_size": VISION.intermediate,
        "num_heads": VISION.heads,
        "num_position_embeddings": (IMAGE_SIDE // VISION.patch) ** 2,
        "out_hidden_size": TRUNK.D,
        "patch_size": VISION.patch,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": FRAMES_PER_PATCH,
    }
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "dtype": "float32",
        "tie_word_embeddings": True,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "text_config": text,
        "vision_config": vision,
    }


def _qwen_processors() -> dict[str, dict[str, Any]]:
    shared = {
        "image_mean": MEAN,
        "image_std": STD,
        "merge_size": MERGE,
        "patch_size": VISION.patch,
        "processor_class": "Qwen3VLProcessor",
        "temporal_patch_size": FRAMES_PER_PATCH,
    }
    area = IMAGE_SIDE**2
    sizes = {"shortest_edge": area, "longest_edge": 16 * area}
    image = {"image_processor_type": "Qwen2VLImageProcessorFast", "size": sizes}
    video = {
        "video_processor_type": "Qwen3VLVideoProcessor",
        "fps": 2,
        "min_frames": FRAMES_PER_PATCH,
        "max_frames": MAX_FRAMES,
        # Areas of all frames together: those of the shortest video at the usual size, and of the longest at twice it.
        "size": {"shortest_edge": FRAMES_PER_PATCH * area, "longest_edge": 4 * MAX_FRAMES * area},
    }
    return {"preprocessor_config.json": shared | image, "video_preprocessor_config.json": shared | video}


def _qwen_tensors(ids: Mapping[str, int], seed: int, layers: int) -> dict[str, NDArray[np.float32]]:
    draw, gain = _Draw(seed), _residual_gain(layers)
    text, wide = "model.language_model", TRUNK.heads * TRUNK.head_dim
    draw.normal(f"{text}.embed_tokens.weight", (max(ids.values()) + 1, TRUNK.D), EMBEDDING_STD)
    for i in range(layers):
        layer = f"{text}.layers.{i}"
        draw.norm(f"{layer}.input_layernorm", TRUNK.D)
        draw.norm(f"{layer}.post_attention_layernorm", TRUNK.D)
        for name, heads in (("q", TRUNK.heads), ("k", TRUNK.kv_heads), ("v", TRUNK.kv_heads)):
            draw.matrix(f"{layer}.self_attn.{name}_proj", heads * TRUNK.head_dim, TRUNK.D)
        draw.matrix(f"{layer}.self_attn.o_proj", TRUNK.D, wide, gain=gain)
        draw.norm(f"{layer}.self_attn.q_norm", TRUNK.head_dim)
        draw.norm(f"{layer}.self_attn.k_norm", TRUNK.head_dim)
        draw.matrix(f"{layer}.mlp.gate_proj", TRUNK.intermediate, TRUNK.D)
        draw.matrix(f"{layer}.mlp.up_proj", TRUNK.intermediate, TRUNK.D)
        draw.matrix(f"{layer}.mlp.down_proj", TRUNK.D, TRUNK.intermediate, gain=gain)
    draw.norm(f"{text}.norm", TRUNK.D)
    _qwen_vision(draw)
    return draw.tensors


def _qwen_vision(draw: _Draw) -> None:
    visual, width, merged = "model.visual", VISION.width, MERGE**2 * VISION.width
    gain, kernel = _residual_gain(VISION.layers), (3, FRAMES_PER_PATCH, VISION.patch, VISION.patch)
    draw.matrix(f"{visual}.patch_embed.proj", width, math.prod(kernel), bias=True)
    flat = draw.tensors[f"{visual}.patch_embed.proj.weight"]
    draw.tensors[f"{visual}.patch_embed.proj.weight"] = flat.reshape(width, *kernel)
    draw.normal(f"{visual}.pos_embed.weight", ((IMAGE_SIDE // VISION.patch) ** 2, width), POSITION_STD)
    for i in range(VISION.layers):
        block = f"{visual}.blocks.{i}"
        draw.norm(f"{block}.norm1", width, bias=True)
        draw.norm(f"{block}.norm2", width, bias=True)
        draw.matrix(f"{block}.attn.qkv", 3 * width, width, bias=True)
        draw.matrix(f"{block}.attn.proj", width, width, bias=True, gain=gain)
        draw.matrix(f"{block}.mlp.linear_fc1", VISION.intermediate, width, bias=True)
        draw.matrix(f"{block}.mlp.linear_fc2", width, VISION.intermediate, bias=True, gain=gain)
    mergers = [(f"{visual}.merger", width)]
    mergers += [(f"{visual}.deepstack_merger_list.{k}", merged) for k in range(len(TAPS))]
    for name, normed in mergers:
        draw.norm(f"{name}.norm", normed, bias=True)
        draw.matrix(f"{name}.linear_fc1", merged, merged, bias=True)
        draw.matrix(f"{name}.linear_fc2", TRUNK.D, merged, bias=True, gain=FEATURE_GAIN)


@dataclass(frozen=True)
class _Parts:
    """Files of one family."""

    special: tuple[str, ...]
    tokens: Mapping[str, str]
    """Settings of the tokenizer beyond the common ones."""
    config: Callable[[Mapping[str, int], int], dict[str, Any]]
    processors: Callable[[], dict[str, dict[str, Any]]]
    tensors: Callable[[Mapping[str, int], int, int], dict[str, NDArray[np.float32]]]


_FAMILIES = {
    "molmo2": _Parts(
        (*BASE_SPECIAL, *MOLMO2_SPECIAL, SEPARATOR),
        {
            # The processor puts it before every text.
            "bos_token": "<|im_end|>",
            "image_token": "<|image|>",
            "video_token": "<|video|>",
            "processor_class": "Molmo2Processor",
        },
        _molmo2_config,
        _molmo2_processors,
        _molmo2_tensors,
    ),
    "qwen3_vl": _Parts(
        (*BASE_SPECIAL, *QWEN_SPECIAL, SEPARATOR),
        {"processor_class": "Qwen3VLProcessor"},
        _qwen_config,
        _qwen_processors,
        _qwen_tensors,
    ),
}
