"""Qwen3-VL: tensors of the traced modules, settings of the preprocessing, and the feeding of the stock model."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar

import msgspec
import torch
from torch import nn

from yoj.runtime import roles
from yoj.runtime.families import Arrays, Family, PreparedMedia
from yoj.runtime.families.qwen3_vl import Qwen3VLPreprocessing
from yoj.runtime.manifest import Limits, Piece

from .._errors import CheckpointError
from ..bundle.names import VISION_PREFIX
from ..checkpoint._processor_files import ALWAYS, IMAGE_FILE, VIDEO_FILE, ProcessorPart, find_part, require
from ..checkpoint.checkpoint import Checkpoint, HiddenState, VideoExpansion
from ..checkpoint.head import SETTINGS
from ..checkpoint.weights import TensorSource
from ..graph.modules import (
    Projection,
    head_constants,
)
from ..prompts._chat_template import MediaMarkup
from ._base import MAX_IMAGES, MAX_PIXELS, MAX_RESPONSES, GraphSpec, ReleasedRows, Smoothing
from ._language import LANGUAGE_HEAD, head_source, language_spec
from ._qwen3_vl_config import CLIP_MEAN, CLIP_STD, IMAGE_PIXELS, IMAGE_PROCESSORS, VIDEO_PIXELS, areas, read_config
from ._qwen3_vl_modules import Qwen3VLLanguage, Qwen3VLScorer, Qwen3VLVision

MAX_TOKENS = 32_768
"""Limit of L. The trunk takes 262,144, with which no judge was trained and for which no attention without a fused
kernel has memory."""


class Qwen3VLExport:
    """Qwen3-VL's part of the export; see `yoj.export.families._base.ExportFamily`."""

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
        return msgspec.to_builtins(msgspec.convert(settings, Qwen3VLPreprocessing))

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
        role = roles.SEGMENTED if segmented else roles.JOINT
        tensors = self._tensors(module, constants.keys())
        return GraphSpec(role, module, inputs, module.readout.graph_outputs, tensors, constants)

    def language_graph(self) -> GraphSpec:
        """See `yoj.export.families._base.ExportFamily.language_graph`."""
        head, scorer = head_source(self.checkpoint, self.embedding), self.graphs[1]
        rows = len(scorer.module.get_parameter("embedding.weight"))
        with torch.device("meta"):
            module = Qwen3VLLanguage(self.text, rows, self.checkpoint.weights.stored_shape(head)[0])
        return language_spec(
            scorer, self.text, module, lambda others: self._tensors(module, others) | {LANGUAGE_HEAD: head}
        )

    def _tensors(self, module: nn.Module, others: Set[str]) -> dict[str, TensorSource]:
        """Rule for each parameter of the trunk; not for ``others``."""
        return {
            name: self.embedding
            if name == "embedding.weight"
            else _source(module, name, f"{self.prefix}language_model.")
            for name, _ in module.named_parameters()
            if name not in others
        }

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
        model.final_norm = nn.Identity()
        if self.hidden_state == "pre_norm":
            model.final_norm, model.language_model.norm = model.language_model.norm, nn.Identity()
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
