"""``config.json`` of Molmo2, in the released or the native spelling."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import CheckpointError
from ..checkpoint._config_reader import ConfigReader, Section
from ..checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True)
class Molmo2TextConfig:
    """Settings of the text trunk."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    rope_theta: float
    norm_eps: float
    max_position_embeddings: int


@dataclass(frozen=True)
class Molmo2VisionConfig:
    """Settings of the vision tower, up to the deepest layer that is read, and of the adapter behind it."""

    hidden_size: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    norm_eps: float
    patches: int
    patch_size: int
    crop_size: int
    taps: tuple[int, ...]
    """Blocks whose outputs are concatenated, in this order."""
    pool_size: int
    pool_heads: int
    pool_head_dim: int
    projector_size: int


def read_config(checkpoint: Checkpoint) -> tuple[Molmo2TextConfig, Molmo2VisionConfig]:
    """Read ``config.json`` in the released or the native spelling.

    Raises:
        CheckpointError: a value is missing, or asks for a variant that no released reward model uses.
    """
    reader = ConfigReader(checkpoint.config)
    layers = len(checkpoint.weights.names())  # each has tensors of its own
    text = _read_text(reader.section("text_config"), layers)
    vision = _read_vision(reader.section("vit_config", "vision_config"), reader.section("adapter_config"), layers)
    if not reader.problems and text.num_attention_heads % text.num_key_value_heads:
        reader.problems.append(
            f"{text.num_attention_heads} query heads do not share {text.num_key_value_heads} key heads"
        )
    if reader.problems:
        raise CheckpointError(f"{checkpoint.trunk / 'config.json'} cannot be exported: {'; '.join(reader.problems)}.")
    return text, vision


def _read_text(text: Section, most_layers: int) -> Molmo2TextConfig:
    rope = text.inner("rope_parameters")
    text.refuse(
        qk_norm_type=("qwen3",),
        use_qk_norm=(True,),
        norm_after=(False,),
        qkv_bias=(False,),
        attention_bias=(False,),
        rope_scaling=(None,),
        hidden_act=("silu",),
    )
    if rope.values.get("rope_type", "default") != "default":
        text.problems.append(f"text_config.rope_parameters is {rope.values}, only the default type is supported")
    return Molmo2TextConfig(
        hidden_size=text.count("hidden_size"),
        num_hidden_layers=text.count("num_hidden_layers", most=most_layers),
        num_attention_heads=text.count("num_attention_heads"),
        num_key_value_heads=text.count("num_key_value_heads"),
        head_dim=text.count("head_dim"),
        intermediate_size=text.count("intermediate_size"),
        vocab_size=text.count("vocab_size"),
        rope_theta=(rope if rope.values.get("rope_theta") else text).positive("rope_theta"),
        norm_eps=text.positive("layer_norm_eps", "rms_norm_eps"),
        max_position_embeddings=text.count("max_position_embeddings"),
    )


def _read_vision(vit: Section, adapter: Section, most_layers: int) -> Molmo2VisionConfig:
    vit.refuse(hidden_act=("gelu_pytorch_tanh",), attention_bias=(True,))
    adapter.refuse(hidden_act=("silu",), pooling_attention_mask=(True,), mlp_bias=(False,), attention_bias=(True,))
    for section in (vit, adapter):
        heads, kv_heads = section.count("num_attention_heads"), section.count("num_key_value_heads")
        if heads != kv_heads:
            section.problems.append(f"{section.name} has {heads} query and {kv_heads} key heads")
    crop = vit.counts("image_default_input_size", "image_size")
    patch, patches = (
        vit.count("image_patch_size", "patch_size"),
        vit.count("image_num_pos", "num_position_embeddings"),
    )
    if not (len(crop) == 2 and crop[0] == crop[1] and patch and (crop[0] // patch) ** 2 == patches):
        vit.problems.append(f"{vit.name}: crops of {list(crop)} pixels do not have {patches} patches of {patch} pixels")
        crop = (0, 0)
    taps = adapter.counts("vit_layers", "vision_feature_layer")
    layers = vit.count("num_hidden_layers", most=most_layers)
    if layers and (not taps or any(not -layers <= tap < layers for tap in taps)):
        adapter.problems.append(f"{adapter.name}: vit_layers {list(taps)} are not among {layers} layers")
    return Molmo2VisionConfig(
        hidden_size=vit.count("hidden_size"),
        num_attention_heads=vit.count("num_attention_heads"),
        head_dim=vit.count("head_dim"),
        intermediate_size=vit.count("intermediate_size"),
        norm_eps=vit.positive("layer_norm_eps"),
        patches=patches,
        patch_size=patch,
        crop_size=crop[0],
        taps=tuple(tap % max(layers, 1) for tap in taps),
        pool_size=adapter.count("hidden_size"),
        pool_heads=adapter.count("num_attention_heads"),
        pool_head_dim=adapter.count("head_dim"),
        projector_size=adapter.count("intermediate_size"),
    )
