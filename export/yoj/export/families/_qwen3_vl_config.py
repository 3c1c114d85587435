"""Qwen3-VL's ``config.json``, as released (transformers 4.57) or as written by 5.x."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._errors import CheckpointError
from ..checkpoint._config_reader import ConfigReader, Section
from ..checkpoint._processor_files import ProcessorPart, is_count
from ..checkpoint.checkpoint import Checkpoint

MAX_TAPS = 3
"""Number of deepstack outputs in every released model. The inputs of a graph are arguments, whose number is fixed."""

IMAGE_PIXELS, VIDEO_PIXELS = (3_136, 1_003_520), (131_072, 786_432)
"""Smallest and largest area, of all frames of a video together, that transformers' ``Qwen2VLImageProcessor`` and
``Qwen3VLVideoProcessor`` have where no file says them; every released checkpoint does."""
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of the same image processor where no file says them."""
IMAGE_PROCESSORS = ("Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil")
"""Names of one image processor in several versions of transformers."""


@dataclass(frozen=True)
class Qwen3VLTextConfig:
    """Settings of the text trunk."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    rope_theta: float
    mrope_section: tuple[int, ...]
    """Number of rotary frequencies for time, rows and columns."""
    norm_eps: float
    max_position_embeddings: int


@dataclass(frozen=True)
class Qwen3VLVisionConfig:
    """Settings of the vision tower."""

    hidden_size: int
    depth: int
    num_heads: int
    intermediate_size: int
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    num_position_embeddings: int
    rope_theta: float
    taps: tuple[int, ...]
    """Blocks whose outputs are added after the first layers of the trunk, in this order."""

    @property
    def patch_values(self) -> int:
        """Number of values in one patch."""
        return 3 * self.temporal_patch_size * self.patch_size**2


def read_config(checkpoint: Checkpoint) -> tuple[Qwen3VLTextConfig, Qwen3VLVisionConfig]:
    """Read both parts of ``config.json`` in either spelling.

    Raises:
        CheckpointError: a value is missing, or asks for a variant that no released model uses.
    """
    reader = ConfigReader(checkpoint.config)
    text, vision = reader.section("text_config"), reader.section("vision_config")
    rope = Section("text_config.rope_parameters", text.inner("rope_scaling").values, reader.problems)
    rope.values = rope.values | text.inner("rope_parameters").values
    vision_rope = vision.inner("rope_parameters")
    layers = len(checkpoint.weights.names())  # each has tensors of its own
    text.refuse(hidden_act=("silu",), attention_bias=(False,))
    vision.refuse(hidden_act=("gelu_pytorch_tanh",), in_channels=(3,))
    text_config = Qwen3VLTextConfig(
        hidden_size=text.count("hidden_size"),
        num_hidden_layers=text.count("num_hidden_layers", most=layers),
        num_attention_heads=text.count("num_attention_heads"),
        num_key_value_heads=text.count("num_key_value_heads"),
        head_dim=text.count("head_dim"),
        intermediate_size=text.count("intermediate_size"),
        rope_theta=(rope if rope.values.get("rope_theta") else text).positive("rope_theta"),
        mrope_section=rope.counts("mrope_section") if rope.values.get("mrope_section") else (24, 20, 20),
        norm_eps=text.positive("rms_norm_eps"),
        max_position_embeddings=text.count("max_position_embeddings"),
    )
    vision_config = Qwen3VLVisionConfig(
        hidden_size=vision.count("hidden_size"),
        depth=vision.count("depth", most=layers),
        num_heads=vision.count("num_heads"),
        intermediate_size=vision.count("intermediate_size"),
        patch_size=vision.count("patch_size"),
        temporal_patch_size=vision.count("temporal_patch_size"),
        merge_size=vision.count("spatial_merge_size"),
        num_position_embeddings=vision.count("num_position_embeddings"),
        rope_theta=vision_rope.positive("rope_theta") if vision_rope.values.get("rope_theta") else 10_000.0,
        taps=vision.counts("deepstack_visual_indexes"),
    )
    problems = reader.problems
    if rope.values.get("rope_type", rope.values.get("type", "default")) not in ("default", "mrope"):
        problems.append(f"the trunk's rotary embedding is {rope.values}, only the default type is supported")
    if not problems:
        problems += _contradictions(text_config, vision_config, checkpoint)
    if problems:
        raise CheckpointError(f"{checkpoint.trunk / 'config.json'} cannot be exported: {'; '.join(problems)}.")
    return text_config, vision_config


def _contradictions(text: Qwen3VLTextConfig, vision: Qwen3VLVisionConfig, checkpoint: Checkpoint) -> list[str]:
    problems: list[str] = []
    if len(text.mrope_section) != 3 or sum(text.mrope_section) != text.head_dim // 2:
        problems.append(f"mrope_section {list(text.mrope_section)} does not share out {text.head_dim // 2} frequencies")
    taps = vision.taps
    if list(taps) != sorted(set(taps)) or any(tap not in range(vision.depth) for tap in taps):
        problems.append(f"deepstack_visual_indexes {list(taps)} are not rising blocks among {vision.depth}")
    if len(taps) > (most := min(MAX_TAPS, text.num_hidden_layers)):
        problems.append(f"deepstack_visual_indexes {list(taps)} are more than {most}")
    if vision.hidden_size % vision.num_heads:
        problems.append(f"vision_config.num_heads {vision.num_heads} does not divide hidden_size {vision.hidden_size}")
    if text.num_attention_heads % text.num_key_value_heads:
        problems.append(f"{text.num_attention_heads} query heads do not share {text.num_key_value_heads} key heads")
    if math.isqrt(vision.num_position_embeddings) ** 2 != vision.num_position_embeddings:
        problems.append(f"num_position_embeddings {vision.num_position_embeddings} is no square")
    for kind in ("image", "video"):
        stated, found = (
            checkpoint.config.get(f"{kind}_token_id"),
            checkpoint.tokenizer.token_to_id(f"<|{kind}_pad|>"),
        )
        if found is None or stated != found:
            problems.append(f"{kind}_token_id is {stated}, the tokenizer gives <|{kind}_pad|> the id {found}")
    return problems


def areas(part: ProcessorPart, default: tuple[int, int], older: bool) -> tuple[int, int]:
    """Smallest and largest area in pixels, as the processor's class takes them.

    Args:
        part: part of the processor, in which problems are noted.
        default: values that it leaves out.
        older: ``min_pixels`` and ``max_pixels`` override ``size``, as in the image processor; the video processor has
            forgotten them.
    """
    size = part.values.get("size")
    area = dict(zip(("shortest_edge", "longest_edge"), default, strict=True)) if size is None else size
    if not isinstance(area, dict):
        part.problem("size", "shortest_edge and longest_edge")
        return default
    names = {"shortest_edge": "min_pixels", "longest_edge": "max_pixels"} if older else {}
    over = {edge: part.values[name] for edge, name in names.items() if part.values.get(name) is not None}
    least, most = ((area | over).get(edge) for edge in ("shortest_edge", "longest_edge"))
    if is_count(least) and is_count(most) and least <= most:
        return least, most
    for name in ("size", *(names[edge] for edge in over)):
        part.problem(name, "shortest_edge and longest_edge, whole numbers above 0, the first not the larger")
    return default
