"""Qwen3-VL: the traced modules, their tensors, and the feeding of the stock model.

The modules repeat ``transformers/models/qwen3_vl/modeling_qwen3_vl.py`` (5.23) in a form without data-dependent
shapes: frames of one size go through the vision tower as a batch, features enter by Gather, and nothing is scattered.
Parameters have the names of the released checkpoints.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import msgspec
import torch
import torch.nn.functional as F
from torch import nn

from yoj.runtime import roles
from yoj.runtime.families import Arrays, Family, PreparedMedia
from yoj.runtime.families.qwen3_vl import Preprocessing
from yoj.runtime.manifest import Limits, Piece

from ..bundle.names import VISION_PREFIX
from ..checkpoint.checkpoint import Checkpoint, HiddenState, VideoExpansion
from ..checkpoint.head import SETTINGS
from ..checkpoint.processor_files import ALWAYS, IMAGE_FILE, VIDEO_FILE, ProcessorPart, find_part, require
from ..checkpoint.weights import TensorSource
from ..errors import CheckpointError
from ..graph.modules import (
    AttentionContext,
    LayerNorm,
    MultiAxisRotary,
    Projection,
    Readout,
    RMSNorm,
    WideProjection,
    at_rows,
    causal,
    gather_rows,
    head_constants,
    insert_features,
    rotate,
    trims,
    upcast,
)
from ..prompts.chat_template import MediaMarkup
from .base import MAX_IMAGES, MAX_PIXELS, MAX_RESPONSES, GraphSpec, ReleasedRows, Smoothing
from .qwen3_vl_config import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGE_PIXELS,
    IMAGE_PROCESSORS,
    VIDEO_PIXELS,
    TextConfig,
    VisionConfig,
    areas,
    read_config,
)

MAX_TOKENS = 32_768
"""Limit of L. The trunk takes 262,144, with which no judge was trained and for which no attention without a fused
kernel has memory."""
NORM_EPS = 1e-6
"""Epsilon of the vision tower's norms; a constant in transformers."""


class Attention(nn.Module):
    """Causal self-attention of the trunk."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.q_proj = Projection(config.hidden_size, self.heads * self.head_dim)
        self.k_proj = Projection(config.hidden_size, self.kv_heads * self.head_dim)
        self.v_proj = Projection(config.hidden_size, self.kv_heads * self.head_dim)
        self.o_proj = Projection(self.heads * self.head_dim, config.hidden_size)
        self.q_norm = RMSNorm(self.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.norm_eps)

    def forward(self, x_BLD: torch.Tensor, around: AttentionContext) -> torch.Tensor:
        """Compute [B, L, D], or [B, N, D] for some rows, from [B, L, D]."""
        mask = around.mask
        q = self.q_proj(around.queries(x_BLD)).unflatten(-1, (self.heads, self.head_dim))
        k = self.k_proj(x_BLD).unflatten(-1, (self.kv_heads, self.head_dim))
        v = self.v_proj(x_BLD).unflatten(-1, (self.kv_heads, self.head_dim)).transpose(1, 2)
        q, k = around.rotate(self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2))
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=self.heads != self.kv_heads
        )
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": Projection(config.hidden_size, config.intermediate_size),
                "up_proj": Projection(config.hidden_size, config.intermediate_size),
                "down_proj": Projection(config.intermediate_size, config.hidden_size),
            }
        )

    def forward(self, x_BLD: torch.Tensor, around: AttentionContext) -> torch.Tensor:
        """Compute [B, L, D], or [B, N, D] for some rows, from [B, L, D]."""
        x_BND = around.queries(x_BLD) + self.self_attn(self.input_layernorm(x_BLD), around)
        normed = self.post_attention_layernorm(x_BND)
        inner = F.silu(self.mlp["gate_proj"](normed)) * self.mlp["up_proj"](normed)
        return x_BND + self.mlp["down_proj"](inner)


class Qwen3VLScorer(nn.Module):
    """Trunk with value head: tokens and visual features -> scores."""

    def __init__(self, config: TextConfig, rows: int, checkpoint: Checkpoint, post_norm: bool):
        super().__init__()
        self.embedding = nn.Embedding(rows, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps, wide=True) if post_norm else nn.Identity()
        self.rotary = MultiAxisRotary(config.rope_theta, config.head_dim, config.mrope_section)
        self.readout = Readout(self.norm, checkpoint.head, checkpoint.head.divisor(config.hidden_size))

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        visual_index: torch.Tensor,
        response_end: torch.Tensor,
        image_features: torch.Tensor,
        deepstack_0: torch.Tensor | None = None,
        deepstack_1: torch.Tensor | None = None,
        deepstack_2: torch.Tensor | None = None,
        response_start: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Scores, and sigma of a Gaussian head, [B, N] float32; for the arguments see `GraphSpec.inputs`.

        With ``segment_ids`` it is the graph ``scorer.segmented``, without them ``scorer.joint``, which has no mask.
        """
        deepstack = {"deepstack_0": deepstack_0, "deepstack_1": deepstack_1, "deepstack_2": deepstack_2}
        more = deepstack | {"segment_ids": segment_ids, "rows_BN": self.readout.rows(response_end, response_start)}
        x_BND = self.trunk(input_ids, position_ids, visual_index, image_features, **more)
        return self.readout(x_BND, response_end, response_start)

    def trunk(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        visual_index: torch.Tensor,
        image_features: torch.Tensor,
        deepstack_0: torch.Tensor | None = None,
        deepstack_1: torch.Tensor | None = None,
        deepstack_2: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        rows_BN: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Hidden states before the final norm, [B, L, D], or of some rows, [B, N, D]."""
        embeds_BLD = upcast(self.embedding(input_ids))
        visual_BL1 = visual_index.unsqueeze(-1) > 0
        x_BLD = torch.where(visual_BL1, insert_features(embeds_BLD, image_features, visual_index), embeds_BLD)
        mask = None if segment_ids is None else causal(input_ids, segment_ids).unsqueeze(1)
        around = AttentionContext(mask, *self.rotary(position_ids))
        deepstack = dict(enumerate((deepstack_0, deepstack_1, deepstack_2)))
        for number, layer in enumerate(self.layers):
            if number == len(self.layers) - 1 and trims(rows_BN):
                around = replace(around, mask=causal(input_ids, segment_ids, rows_BN).unsqueeze(1), rows_BN=rows_BN)
            x_BLD = layer(x_BLD, around)
            if (features_VD := deepstack.get(number)) is not None:
                x_BLD = x_BLD + insert_features(x_BLD, features_VD, at_rows(visual_index, around.rows_BN).squeeze(-1))
        return x_BLD if trims(rows_BN) else gather_rows(x_BLD, rows_BN)


class Qwen3VLVisionBlock(nn.Module):
    """One layer of the vision tower."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_heads
        self.norm1 = LayerNorm(width, eps=NORM_EPS)
        self.attn = nn.ModuleDict(
            {"qkv": Projection(width, 3 * width, bias=True), "proj": Projection(width, width, bias=True)}
        )
        self.norm2 = LayerNorm(width, eps=NORM_EPS)
        self.mlp = nn.ModuleDict(
            {
                "linear_fc1": Projection(width, config.intermediate_size, bias=True),
                "linear_fc2": Projection(config.intermediate_size, width, bias=True),
            }
        )

    def forward(self, x_FPD: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Compute [F, P, D] from [F, P, D]; patches attend to those of their own frame."""
        frames, patches, _ = x_FPD.shape
        q, k, v = (
            part.view(frames, patches, self.heads, -1).transpose(1, 2)
            for part in self.attn["qkv"](self.norm1(x_FPD)).chunk(3, dim=-1)
        )
        out = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x_FPD = x_FPD + self.attn["proj"](out.transpose(1, 2).reshape(frames, patches, -1))
        inner = F.gelu(self.mlp["linear_fc1"](self.norm2(x_FPD)), approximate="tanh")
        return x_FPD + self.mlp["linear_fc2"](inner)


class Merger(nn.Module):
    """Merger of neighbouring patches, which follow each other, into one visual token."""

    def __init__(self, config: VisionConfig, text_size: int, norm_merged: bool):
        super().__init__()
        self.merged = config.hidden_size * config.merge_size**2
        self.norm_merged = norm_merged
        self.norm = LayerNorm(self.merged if norm_merged else config.hidden_size, eps=NORM_EPS)
        self.linear_fc1 = Projection(self.merged, self.merged, bias=True)
        self.linear_fc2 = WideProjection(self.merged, text_size, bias=True)

    def forward(self, x_FPD: torch.Tensor) -> torch.Tensor:
        """Compute [V, D] of the trunk from [F, P, D]."""
        if self.norm_merged:
            merged = self.norm(x_FPD.reshape(-1, self.merged))
        else:
            merged = self.norm(x_FPD).reshape(-1, self.merged)
        return self.linear_fc2(F.gelu(self.linear_fc1(merged)))


class Qwen3VLVision(nn.Module):
    """Vision tower: frames of one size with their index tables -> visual features."""

    def __init__(self, config: VisionConfig, text_size: int):
        super().__init__()
        self.taps = config.taps
        # The released kernel is as large as its stride: a matrix product of each patch.
        self.patch_embed = nn.ModuleDict({"proj": Projection(config.patch_values, config.hidden_size, bias=True)})
        self.pos_embed = nn.Embedding(config.num_position_embeddings, config.hidden_size)
        self.blocks = nn.ModuleList(Qwen3VLVisionBlock(config) for _ in range(config.depth))
        self.merger = Merger(config, text_size, norm_merged=False)
        self.deepstack_merger_list = nn.ModuleList(
            Merger(config, text_size, norm_merged=True) for _ in range(len(config.taps))
        )

    def forward(
        self,
        pixel_values: torch.Tensor,
        position_index: torch.Tensor,
        position_weight: torch.Tensor,
        rotary_cos: torch.Tensor,
        rotary_sin: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Compute [V, D] for each output from [F, P, X] and index tables that are alike for all frames.

        The tables are [P, 4], [P, 4], [P, E / 2] and [P, E / 2].
        """
        position_PD = (self.pos_embed(position_index).float() * position_weight.unsqueeze(-1)).sum(dim=1)
        x_FPD = upcast(self.patch_embed["proj"](pixel_values))
        x_FPD = x_FPD + position_PD.to(x_FPD.dtype)
        cos, sin = (table.expand(x_FPD.shape[0], -1, -1) for table in (rotary_cos, rotary_sin))
        tapped: list[torch.Tensor] = []
        for number, block in enumerate(self.blocks):
            x_FPD = block(x_FPD, cos, sin)
            if number in self.taps:
                tapped.append(self.deepstack_merger_list[len(tapped)](x_FPD))
        return tuple(features_VD.float() for features_VD in (self.merger(x_FPD), *tapped))


class Qwen3VLExport:
    """Qwen3-VL's part of the export; see `yoj.export.families.base.ExportFamily`."""

    # The counterparts of those that the YOJO code trains in Molmo2.
    adapter_targets: ClassVar[tuple[str, ...]] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    adapter_roots: ClassVar[tuple[str, ...]] = ("language_model.", "visual.")
    size_settings: ClassVar[tuple[str, ...]] = ("image_max_pixels", "video_max_pixels")

    @staticmethod
    def released(path: str, text: Mapping[str, Any]) -> tuple[ReleasedRows, ...]:
        """Empty, since transformers calls every tensor as released files do."""
        del path, text
        return ()

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.text, self.vision = read_config(checkpoint)
        self.attention_heads = self.text.num_attention_heads
        self.vision_heads = self.vision.num_heads
        if checkpoint.training.hidden_state is None:
            raise CheckpointError(
                f"{checkpoint.folders[-1] / SETTINGS} does not say which hidden state the head was trained on, and for "
                "Qwen3-VL it depends on the transformers version of the training: hidden_states[-1] is before the "
                "final norm in 4.57, where the YOJO code trains, and after it in 5.x; rankings differ. Give "
                "--hidden-state pre_norm (4.57) or post_norm (5.x), or write it into that file as hidden_state."
            )
        self.hidden_state: HiddenState = checkpoint.training.hidden_state
        # 4.57, with which the YOJO code trains, replaces the markers around a video as well.
        self.video_expansion = checkpoint.training.video_expansion or self._assumed_expansion()
        names = checkpoint.weights.names()
        # save_pretrained of the bare trunk leaves the prefix out.
        self.prefix = "model." if any(name.startswith("model.visual.") for name in names) else ""
        self.embedding = TensorSource((f"{self.prefix}language_model.embed_tokens.weight",))
        self.unused: tuple[str, ...] = ("lm_head.",)
        if self.hidden_state == "pre_norm":
            self.unused += (f"{self.prefix}language_model.norm.",)
        self.limits = Limits(
            L=min(self.text.max_position_embeddings, MAX_TOKENS),
            N=MAX_RESPONSES,
            images=MAX_IMAGES,
            pixels=MAX_PIXELS,
            frames=self.preprocessing()["video_max_frames"],
            images_with_video=True,
        )

    def _assumed_expansion(self) -> VideoExpansion:
        """Video expansion of other trainers' models, by the version of transformers that wrote their processor."""
        by_5 = self.checkpoint.head.layout.single and self.processor_parts()[1].nested
        return "nested" if by_5 else "flat"

    def markup(self) -> MediaMarkup:
        """Markup ``<|vision_start|><|image_pad|><|vision_end|>``, images and video one after the other."""
        start, end = (Piece(kind="token", value=f"<|vision_{side}|>") for side in ("start", "end"))
        medium = Piece(kind="medium")
        shown = (start, medium, end)
        return MediaMarkup(
            image_token="<|image_pad|>",
            video_token="<|video_pad|>",
            one_image=shown,
            each_image=shown,
            video=shown,
            packed_video=(medium,) if self.video_expansion == "flat" else shown,
            both=True,
            bos=None,
        )

    def preprocessing(self) -> dict[str, Any]:
        """Settings of the image and video processors; those left out have the defaults of the processors' classes."""
        image, video = self.processor_parts()
        vision = self.vision
        fixed = {"patch_size": vision.patch_size, "temporal_patch_size": vision.temporal_patch_size}
        for part in (image, video):
            part.demand({**ALWAYS, **fixed, "merge_size": vision.merge_size, "resample": 3})
        image.demand_class("image_processor_type", IMAGE_PROCESSORS)
        if video.file.name != IMAGE_FILE:
            video.demand_class("video_processor_type", ("Qwen3VLVideoProcessor",))
        if video.values.get("cap_pixels_per_frame"):
            video.problem("cap_pixels_per_frame", "false")
        video.demand({"num_frames": None, "do_sample_frames": True})
        image_min, image_max = areas(image, IMAGE_PIXELS, older=True)
        video_min, video_max = areas(video, VIDEO_PIXELS, older=False)
        half = (0.5, 0.5, 0.5)
        settings = {
            **fixed,
            "merge_size": vision.merge_size,
            "image_min_pixels": image_min,
            "image_max_pixels": image_max,
            "video_min_pixels": video_min,
            "video_max_pixels": video_max,
            "video_fps": video.number("fps", 2),
            "video_min_frames": video.count("min_frames", 4),
            "video_max_frames": video.count("max_frames", 768),
            "image_mean": image.channels("image_mean", CLIP_MEAN, positive=False),
            "image_std": image.channels("image_std", CLIP_STD, positive=True),
            "video_mean": video.channels("image_mean", half, positive=False),
            "video_std": video.channels("image_std", half, positive=True),
            "position_grid": math.isqrt(vision.num_position_embeddings),
            "vision_head_dim": vision.hidden_size // vision.num_heads,
            "vision_theta": vision.rope_theta,
        }
        require((image, video))
        return msgspec.to_builtins(msgspec.convert(settings, Preprocessing))

    def processor_parts(self) -> tuple[ProcessorPart, ProcessorPart]:
        """Settings of the image processor and the video processor, from the files that count."""
        return (
            find_part(self.checkpoint, "image_processor", IMAGE_FILE),
            find_part(self.checkpoint, "video_processor", VIDEO_FILE, IMAGE_FILE),
        )

    @functools.cached_property
    def graphs(self) -> tuple[GraphSpec, ...]:
        """Graphs ``vision``, ``scorer.joint`` and ``scorer.segmented``."""
        return self._vision_graph(), self._scorer_graph(segmented=False), self._scorer_graph(segmented=True)

    def smoothing(self) -> list[Smoothing]:
        """Both norms of each layer of trunk and tower, ``up_proj``, and the norms of the deepstack mergers.

        ``up_proj`` is the half that the gate multiplies. The norm of ``merger`` is left out: it is of patches, four of
        which are one input of the matrix behind it.
        """
        groups: list[Smoothing] = []
        for number in range(self.text.num_hidden_layers):
            layer = f"layers.{number}"
            attention = tuple(f"{layer}.self_attn.{name}_proj" for name in "qkv")
            groups.append(Smoothing(f"{layer}.input_layernorm", attention))
            mlp = tuple(f"{layer}.mlp.{name}_proj" for name in ("gate", "up"))
            groups.append(Smoothing(f"{layer}.post_attention_layernorm", mlp))
            groups.append(Smoothing(f"{layer}.mlp.up_proj", (f"{layer}.mlp.down_proj",)))
        tower = {"norm1": "attn.qkv", "norm2": "mlp.linear_fc1"}
        pairs = [(f"blocks.{n}.{a}", f"blocks.{n}.{b}") for n in range(self.vision.depth) for a, b in tower.items()]
        mergers = [f"deepstack_merger_list.{number}" for number in range(len(self.vision.taps))]
        pairs += [(f"{merger}.norm", f"{merger}.linear_fc1") for merger in mergers]
        return groups + [Smoothing(VISION_PREFIX + source, (VISION_PREFIX + matrix,)) for source, matrix in pairs]

    def _features(self) -> dict[str, tuple[int | str, ...]]:
        """Outputs of the vision graph, which are inputs of the scorer graphs."""
        names = ["image_features", *(f"deepstack_{number}" for number in range(len(self.vision.taps)))]
        return dict.fromkeys(names, ("V", self.text.hidden_size))

    def _vision_graph(self) -> GraphSpec:
        vision = self.vision
        with torch.device("meta"):
            module = Qwen3VLVision(vision, self.text.hidden_size)
        half_head = vision.hidden_size // vision.num_heads // 2
        return GraphSpec(
            role=roles.VISION,
            module=module,
            inputs={
                "pixel_values": (torch.float32, ("F", "P", vision.patch_values)),
                "position_index": (torch.int64, ("P", 4)),
                "position_weight": (torch.float32, ("P", 4)),
                "rotary_cos": (torch.float32, ("P", half_head)),
                "rotary_sin": (torch.float32, ("P", half_head)),
            },
            outputs=self._features(),
            sources={name: _source(module, name, f"{self.prefix}visual.") for name, _ in module.named_parameters()},
            constants={},
            multiples={"P": vision.merge_size**2},
        )

    def _scorer_graph(self, segmented: bool) -> GraphSpec:
        rows = sum(self.checkpoint.weights.shape(n)[0] for n in self.embedding.names if n in self.checkpoint.weights)
        with torch.device("meta"):
            module = Qwen3VLScorer(self.text, rows, self.checkpoint, self.hidden_state == "post_norm")
        constants = head_constants(self.checkpoint.head, "readout.value_head.")
        constants |= {"rotary.inv_freq": module.rotary.frequencies(), "rotary.axis": module.rotary.axes()}
        row, responses = ("B", "L"), ("B", "N")
        inputs: dict[str, tuple[torch.dtype, tuple[int | str, ...]]] = {
            "input_ids": (torch.int64, row),
            "position_ids": (torch.int64, ("B", 3, "L")),
            "visual_index": (torch.int64, row),
            "response_end": (torch.int64, responses),
            **{name: (torch.float32, axes) for name, axes in self._features().items()},
        }
        if module.readout.needs_start:
            inputs["response_start"] = (torch.int64, responses)
        if segmented:
            inputs["segment_ids"] = (torch.int64, row)
        tensors = {
            name: self.embedding
            if name == "embedding.weight"
            else _source(module, name, f"{self.prefix}language_model.")
            for name, _ in module.named_parameters()
            if name not in constants
        }
        role = roles.SEGMENTED if segmented else roles.JOINT
        return GraphSpec(role, module, inputs, module.readout.graph_outputs, tensors, constants)

    def stock_model(self) -> nn.Module:
        """Stock model ``Qwen3VLModel``; without its final norm where the head reads the states before it."""
        from transformers import Qwen3VLConfig, Qwen3VLModel

        weights, parts = self.checkpoint.weights, (f"{self.prefix}language_model.", f"{self.prefix}visual.")
        state = {name: weights.read(name) for name in weights.names() if name.startswith(parts)}
        config = copy.deepcopy(self.checkpoint.config)
        config["text_config"]["vocab_size"] = len(state[self.embedding.names[0]])
        model: Any = Qwen3VLModel.from_pretrained(
            None,
            config=Qwen3VLConfig.from_dict(config),
            state_dict=state,
            dtype=torch.float32,
            attn_implementation="sdpa",
        )
        if self.hidden_state == "pre_norm":
            model.language_model.norm = nn.Identity()
        # It remembers what the positions of the last request came to, for generation.
        model.register_forward_pre_hook(lambda module, _: setattr(module, "rope_deltas", None))
        return model.eval().requires_grad_(False)

    def stock_inputs(
        self, row: Mapping[str, torch.Tensor], media: Sequence[PreparedMedia], runtime: Family
    ) -> dict[str, torch.Tensor]:
        """Token types and, apart for images and the video, patches in one line and grids of time, rows, columns."""
        del runtime
        ids = row["input_ids"]
        if not media:
            return {"input_ids": ids}
        image, video = (int(self.checkpoint.config[f"{kind}_token_id"]) for kind in ("image", "video"))
        inputs = {"input_ids": ids, "mm_token_type_ids": (ids == image).long() + 2 * (ids == video).long()}
        for token, pixels, grid in (
            (image, "pixel_values", "image_grid_thw"),
            (video, "pixel_values_videos", "video_grid_thw"),
        ):
            of_kind = [medium for medium in media if any(s.ids is not None and token in s.ids for s in medium.spans)]
            if of_kind:
                frames = [torch.from_numpy(medium.arrays["pixel_values"]) for medium in of_kind]
                inputs[pixels] = torch.cat([frames_FPX.flatten(0, 1) for frames_FPX in frames])
                inputs[grid] = torch.tensor(
                    [
                        [len(frames_FPX), *(size * self.vision.merge_size for size in medium.grids[0])]
                        for medium, frames_FPX in zip(of_kind, frames, strict=True)
                    ]
                )
        return inputs

    def stock_image(self, outputs: Mapping[str, Any]) -> Arrays:
        """One grid of patches: an image is one frame."""
        return {"pixel_values": outputs["pixel_values"][None]}


def _source(module: nn.Module, name: str, prefix: str) -> TensorSource:
    owner, _, leaf = name.rpartition(".")
    multiplied = leaf == "weight" and isinstance(module.get_submodule(owner), Projection)
    return TensorSource((prefix + name,), transpose=multiplied, flatten=owner == "patch_embed.proj" and multiplied)
