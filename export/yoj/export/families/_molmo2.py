"""Molmo2: tensors of the traced modules, settings of the preprocessing, and the feeding of the stock model."""

from __future__ import annotations

import copy
import functools
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import torch
from torch import nn

from yoj.runtime import roles
from yoj.runtime.families import Arrays, Family, PreparedMedia
from yoj.runtime.families.molmo2 import Molmo2Preprocessing
from yoj.runtime.manifest import Limits, Piece

from .._errors import CheckpointError
from ..bundle import names
from ..checkpoint._processor_files import ALWAYS, IMAGE_FILE, VIDEO_FILE, ProcessorPart, find_own, find_part, require
from ..checkpoint._text_files import read_json
from ..checkpoint.checkpoint import Checkpoint, HiddenState
from ..checkpoint.weights import TensorSource
from ..graph.modules import (
    Projection,
    head_constants,
)
from ..prompts._chat_template import MediaMarkup
from ._base import MAX_IMAGES, MAX_PIXELS, MAX_RESPONSES, GraphSpec, Smoothing
from ._molmo2_config import read_config
from ._molmo2_modules import Molmo2Scorer, Molmo2Vision
from ._molmo2_names import released

MAX_FRAMES = 16
"""Most frames of a video in the released model's training (``max_video_frames``)."""
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation where no file says them."""


class Molmo2Export:
    """Molmo2's part of the export; see `yoj.export.families._base.ExportFamily`."""

    # Those of the YOJO code, also of pictures.
    adapter_targets: ClassVar[tuple[str, ...]] = ("att_proj", "attn_out", "ff_proj", "ff_out")
    adapter_roots: ClassVar[tuple[str, ...]] = ("transformer.",)
    size_settings: ClassVar[tuple[str, ...]] = ("max_crops",)
    released = staticmethod(released)
    unused: tuple[str, ...] = ("lm_head.", "model.vision_backbone.image_vit.transformer.resblocks.")

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.text, self.vision = read_config(checkpoint)
        if checkpoint.training.video_expansion == "nested":
            raise CheckpointError(
                "--video-expansion nested is for Qwen3-VL; Molmo2 has one way to show a video. Leave it out."
            )
        self.attention_heads = self.text.num_attention_heads
        self.vision_heads = self.vision.num_attention_heads
        # hidden_states[-1], which the YOJO code reads, is after the norm in every version.
        self.hidden_state: HiddenState = checkpoint.training.hidden_state or "post_norm"
        if self.hidden_state == "pre_norm":
            self.unused = (*self.unused, f"{TEXT}ln_f.")
        self.limits = Limits(
            L=self.text.max_position_embeddings,
            N=MAX_RESPONSES,
            images=MAX_IMAGES,
            pixels=MAX_PIXELS,
            frames=MAX_FRAMES,
            images_with_video=False,
        )
        self.embedding = TensorSource(
            tuple(name for name in (f"{TEXT}wte.embedding", f"{TEXT}wte.new_embedding") if name in checkpoint.weights)
        )

    def markup(self) -> MediaMarkup:
        """Markup ``<|image|>``, or ``Image 1<|image|>Image 2<|image|>``; the processor puts BOS or EOS in front."""
        config = read_json(self.checkpoint.file("tokenizer_config.json"))
        bos = config.get("bos_token") or config.get("eos_token")
        medium = Piece(kind="medium")
        return MediaMarkup(
            image_token="<|image|>",
            video_token="<|video|>",
            one_image=(medium,),
            each_image=(Piece(kind="text", value="Image "), Piece(kind="index"), medium),
            video=(medium,),
            packed_video=(medium,),
            both=False,
            bos=bos["content"] if isinstance(bos, dict) else bos,
        )

    def preprocessing(self) -> dict[str, Any]:
        """Settings of the image processor and of the processor's image tokens, with their defaults in transformers."""
        image, video = self.processor_parts()
        tokens = find_own(self.checkpoint)
        self._check_processors(image, video)
        low_res = tokens.flag("use_single_crop_start_token", True)
        frame = "frame" if tokens.flag("use_frame_special_tokens", True) else "im"
        column = tokens.flag("image_use_col_tokens", True)
        alike = tokens.values.get("use_single_crop_col_tokens") is None
        settings: dict[str, Any] = {
            "crop_size": self.vision.crop_size,
            "patch_size": self.vision.patch_size,
            "max_crops": image.count("max_crops", 8),
            "overlap_margins": image.pair("overlap_margins", (4, 4), least=0),
            "pooling_size": image.pair("pooling_size", (2, 2), least=1),
            "image_mean": image.channels("image_mean", HALF, positive=False),
            "image_std": image.channels("image_std", HALF, positive=True),
            "column_tokens": column,
            "overview_column_tokens": column if alike else tokens.flag("use_single_crop_col_tokens", column),
            "overview_start": "<low_res_im_start>" if low_res else "<im_start>",
            "video_pooling_size": video.pair("pooling_size", (3, 3), least=1),
            "video_column_tokens": tokens.flag("video_use_col_tokens", False),
            "frame_start": f"<{frame}_start>",
            "frame_end": f"<{frame}_end>",
            "video_max_fps": video.number("max_fps", 2),
            "video_max_frames": min(MAX_FRAMES, video.count("num_frames", MAX_FRAMES)),
        }
        self._check_margins(image, settings["overlap_margins"])
        for name in ("image_mean", "image_std"):
            if video.channels(name, HALF, positive=name == "image_std") != settings[name]:
                video.problem(name, f"{list(settings[name])} as for images")
        require((image, video, tokens))
        return msgspec.to_builtins(msgspec.convert(settings, Molmo2Preprocessing))

    def processor_parts(self) -> tuple[ProcessorPart, ProcessorPart]:
        """Settings of the image processor and the video processor, from the files that count."""
        return (
            find_part(self.checkpoint, "image_processor", IMAGE_FILE),
            find_part(self.checkpoint, "video_processor", VIDEO_FILE, IMAGE_FILE),
        )

    def _check_processors(self, image: ProcessorPart, video: ProcessorPart) -> None:
        """Note settings that the runtime's preprocessing does not follow."""
        side = self.vision.crop_size
        for part in (image, video):
            part.demand(ALWAYS)
            part.demand({"resample": 2, "size": {"height": side, "width": side}, "patch_size": self.vision.patch_size})
        image.demand_class("image_processor_type", ("Molmo2ImageProcessor",))
        if video.file.name != IMAGE_FILE:
            video.demand_class("video_processor_type", ("Molmo2VideoProcessor",))
        video.demand({"do_sample_frames": True, "fps": None})

    def _check_margins(self, image: ProcessorPart, margins: tuple[int, int]) -> None:
        side = self.vision.crop_size
        if sum(margins) * self.vision.patch_size >= side:
            image.problem("overlap_margins", f"margins that leave something of a crop of {side} pixels")

    @functools.cached_property
    def graphs(self) -> tuple[GraphSpec, ...]:
        """Graphs ``vision``, ``scorer.joint`` and ``scorer.segmented``."""
        return self._vision_graph(), self._scorer_graph(segmented=False), self._scorer_graph(segmented=True)

    def smoothing(self) -> list[Smoothing]:
        """Both norms of each block of trunk and tower, and the half of ``ff_proj`` that the gate multiplies."""
        groups: list[Smoothing] = []
        for number in range(self.text.num_hidden_layers):
            block = f"blocks.{number}"
            groups.append(Smoothing(f"{block}.attn_norm", (f"{block}.self_attn.att_proj",)))
            groups.append(Smoothing(f"{block}.ff_norm", (f"{block}.mlp.ff_proj",)))
            up = (0, self.text.intermediate_size)
            groups.append(Smoothing(f"{block}.mlp.ff_proj", (f"{block}.mlp.ff_out",), up))
        for number in range(max(self.vision.taps) + 1):
            block = f"{names.VISION_PREFIX}resblocks.{number}"
            attention = tuple(f"{block}.attention.{name}" for name in ("wq", "wk", "wv"))
            groups.append(Smoothing(f"{block}.attention_norm", attention))
            groups.append(Smoothing(f"{block}.ffn_norm", (f"{block}.feed_forward.w1",)))
        return groups

    def _vision_graph(self) -> GraphSpec:
        with torch.device("meta"):
            module = Molmo2Vision(self.vision, self.text.hidden_size)
        sources = {"resblocks.": f"{VIT}transformer.resblocks.", "image_p": f"{VISION}image_p"}
        pixels = 3 * self.vision.patch_size**2
        return GraphSpec(
            role=roles.VISION,
            module=module,
            inputs={
                "pixel_values": (torch.float32, ("C", self.vision.patches, pixels)),
                "pooling_index": (torch.int64, ("V", "K")),
            },
            outputs={"image_features": ("V", self.text.hidden_size)},
            sources={name: _source(module, name, sources, VIT) for name, _ in module.named_parameters()},
            constants={},
        )

    def _scorer_graph(self, segmented: bool) -> GraphSpec:
        tables = [self.checkpoint.weights.shape(name) for name in self.embedding.names]
        rows = sum(table[0] for table in tables)
        with torch.device("meta"):
            module = Molmo2Scorer(self.text, rows, self.checkpoint, self.hidden_state == "post_norm")
        constants = head_constants(self.checkpoint.head, "readout.value_head.")
        constants["rotary.inv_freq"] = module.rotary.frequencies()
        row, responses = ("B", "L"), ("B", "N")
        inputs: dict[str, tuple[torch.dtype, tuple[int | str, ...]]] = {
            **dict.fromkeys(("input_ids", "position_ids", "media_blocks", "visual_index"), (torch.int64, row)),
            "image_features": (torch.float32, ("V", self.text.hidden_size)),
            "response_end": (torch.int64, responses),
        }
        if module.readout.needs_start:
            inputs["response_start"] = (torch.int64, responses)
        if segmented:
            inputs["segment_ids"] = (torch.int64, row)
        sources = {"blocks.": f"{TEXT}blocks.", "ln_f.": f"{TEXT}ln_f."}
        tensors = {
            name: self.embedding if name == "embedding.weight" else _source(module, name, sources, "")
            for name, _ in module.named_parameters()
            if name not in constants
        }
        role = roles.SEGMENTED if segmented else roles.JOINT
        return GraphSpec(role, module, inputs, module.readout.graph_outputs, tensors, constants)

    def stock_model(self) -> nn.Module | None:
        """Stock model ``Molmo2Model``, native since transformers 5.20."""
        if importlib.util.find_spec("transformers.models.molmo2") is None:
            return None
        from transformers import Molmo2Config, Molmo2Model

        weights, vocabulary = self.checkpoint.weights, self.text.vocab_size
        wanted = [
            name for name in weights.names() if name.startswith((TEXT, VISION)) and name not in self.embedding.names
        ]
        state = {name: weights.read(name) for name in wanted}
        # However the two embedding tables were split, the model wants the first vocab_size rows apart.
        table = torch.cat([weights.read(name) for name in self.embedding.names])
        state[f"{TEXT}wte.embedding"], state[f"{TEXT}wte.new_embedding"] = table[:vocabulary], table[vocabulary:]
        config = copy.deepcopy(self.checkpoint.config)
        config["text_config"]["additional_vocab_size"] = len(table) - vocabulary
        model: Any = Molmo2Model.from_pretrained(
            None,
            config=Molmo2Config.from_dict(config),
            state_dict=state,
            dtype=torch.float32,
            attn_implementation="sdpa",
        )
        if self.hidden_state == "pre_norm":
            model.language_model.norm = nn.Identity()
        return model.eval().requires_grad_(False)

    def stock_inputs(
        self, row: Mapping[str, torch.Tensor], media: Sequence[PreparedMedia], runtime: Family
    ) -> dict[str, torch.Tensor]:
        """Inputs ``mm_token_type_ids`` and, with media, crops and pooling table; all visual rows as one image.

        Where responses show media, a mask as well: the stock model would let the images of all responses see each
        other.
        """
        inputs = {"input_ids": row["input_ids"], "mm_token_type_ids": row["token_types"]}
        blocks_BL = row["media_blocks"]
        if int(blocks_BL.max()) > 1:
            place_L = torch.arange(blocks_BL.shape[1])
            together = (blocks_BL[:, None, :] == blocks_BL[:, :, None]) & (blocks_BL[:, None, :] > 0)
            inputs["attention_mask"] = ((place_L[None, :] <= place_L[:, None]) | together).unsqueeze(1)
        if media:
            vision = runtime.vision_inputs(media)
            inputs["pixel_values"] = torch.from_numpy(vision["pixel_values"])
            inputs["image_token_pooling"] = torch.from_numpy(vision["pooling_index"])
            inputs["image_grids"] = torch.tensor([[len(vision["pooling_index"]), 1, 0, 0]])
        return inputs

    def stock_image(self, outputs: Mapping[str, Any]) -> Arrays:
        """Crops and pooling table of one image."""
        return {"pixel_values": outputs["pixel_values"], "pooling_index": outputs["image_token_pooling"]}


TEXT = "model.transformer."
VISION = "model.vision_backbone."
VIT = f"{VISION}image_vit."


def _source(module: nn.Module, name: str, names: Mapping[str, str], default: str) -> TensorSource:
    owner, _, leaf = name.rpartition(".")
    source = next((new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)), default + name)
    return TensorSource((source,), transpose=leaf == "weight" and isinstance(module.get_submodule(owner), Projection))
