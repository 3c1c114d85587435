"""Policy of the experiment: the base model of a shipped judge, with a processor that needs no torchvision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor


class PictureProcessor(Qwen3VLProcessor):
    """Processor of Qwen3-VL for texts and pictures alone.

    The processor's part for videos needs torchvision, which has no build that goes with PyTorch's CPU wheel in every
    index.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None):
        super().__init__(image_processor, tokenizer, chat_template=chat_template)


def open_processor(folder: Path) -> PictureProcessor:
    """Processor of a checkpoint of Qwen3-VL.

    Args:
        folder: a folder with ``tokenizer.json``, ``preprocessor_config.json`` and ``chat_template.jinja``.
    """
    settings = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    unused = ("image_processor_type", "processor_class")
    images = Qwen2VLImageProcessorPil(**{name: value for name, value in settings.items() if name not in unused})
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return PictureProcessor(images, tokenizer, (folder / "chat_template.jinja").read_text("utf-8"))


def open_policy(name: str | Path, processor: Any, dtype: str = "float32") -> Any:
    """Policy that ends its answers with the end of its turn.

    Args:
        name: folder or hub id of a model of Qwen3-VL.
        processor: its processor.
        dtype: number format of the weights.
    """
    policy = Qwen3VLForConditionalGeneration.from_pretrained(name, dtype=dtype)
    policy.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    policy.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return policy
