"""Single-response reward models as their trainers write them, on stock models of both families."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny import RECORDED
from tiny_qwen3_vl import TinyQwen, write_qwen
from transformers import AutoTokenizer, Molmo2Config, Qwen3VLConfig
from transformers.modeling_layers import GenericForSequenceClassification, GenericForTokenClassification
from transformers.models.molmo2.modeling_molmo2 import Molmo2ForConditionalGeneration, Molmo2PreTrainedModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLForConditionalGeneration, Qwen3VLPreTrainedModel

from yoj.calibration._collect import CalibratedModel
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.graph.traced import TracedSession
from yoj.runtime import Request

D = 64
PROMPT, RESPONSES = "Which is true of the red cat?", ["It is a small dog.", "A red cat, near two trees.", "No."]


class QwenSequence(GenericForSequenceClassification, Qwen3VLPreTrainedModel):
    """What ``AutoModelForSequenceClassification`` makes of a backbone that has such a class."""


class QwenToken(GenericForTokenClassification, Qwen3VLPreTrainedModel):
    """What ``AutoModelForTokenClassification`` makes of it."""


class MolmoSequence(GenericForSequenceClassification, Molmo2PreTrainedModel):
    """The same of Molmo2."""


class MolmoToken(GenericForTokenClassification, Molmo2PreTrainedModel):
    """The same of Molmo2."""


CONFIGS = {"qwen3_vl": Qwen3VLConfig, "molmo2": Molmo2Config}
SEQUENCE = {"qwen3_vl": QwenSequence, "molmo2": MolmoSequence}
TOKEN = {"qwen3_vl": QwenToken, "molmo2": MolmoToken}
GENERATION = {"qwen3_vl": Qwen3VLForConditionalGeneration, "molmo2": Molmo2ForConditionalGeneration}


def write_base(family: str, folder: Path) -> Path:
    """A base model without any head, whose tokenizer knows no separator."""
    if family == "qwen3_vl":
        write_qwen(TinyQwen(), folder)
    else:
        shutil.copytree(RECORDED, folder)
    for name in ("reward_model_config.json", "value_head.safetensors", "value_head.pt"):
        (folder / name).unlink(missing_ok=True)
    return folder


def copy_base(base: Path, folder: Path, **config: Any) -> Path:
    """The base once more, with settings of ``config.json`` replaced."""
    shutil.copytree(base, folder)
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(settings | config), "utf-8")
    return folder


def add_tensors(folder: Path, tensors: Mapping[str, torch.Tensor], prefix: str = "") -> Path:
    """Write tensors into the shard of a folder, those of the backbone behind a prefix."""
    stored = {prefix + name: tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(stored | dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def head_tensors(weight: str, bias: str | None = None, seed: int = 7) -> dict[str, torch.Tensor]:
    """A linear head by these names, whose scores differ by several units."""
    torch.manual_seed(seed)
    tensors = {weight: torch.randn(1, D)}
    return tensors if bias is None else tensors | {bias: torch.randn(1)}


def load(cls: Any, family: str, folder: Path, **settings: Any) -> Any:
    """A stock model in float32 from a folder."""
    config = CONFIGS[family].from_pretrained(folder, num_labels=1, **settings)
    if not hasattr(config.get_text_config(), "pad_token_id"):  # Molmo2's lacks it until a trainer sets it
        config.get_text_config().pad_token_id = None
    return cls.from_pretrained(folder, config=config, dtype=torch.float32).eval()


def messages(response: str, prompt: str = PROMPT) -> list[dict[str, str]]:
    """A question and one answer in the assistant turn."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def chat_ids(folder: Path, response: str) -> torch.Tensor:
    """What trainers make of a conversation: the tokenizer's own chat template; int64 [1, L]."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = tokenizer.apply_chat_template(messages(response), tokenize=False)
    return torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])


def traced_scores(
    folder: Path, training: Training | None = None, base: Path | None = None, **request: Any
) -> list[float]:
    """Scores of the modules that graphs are traced from, on requests that the runtime prepares."""
    model = CalibratedModel.open(Checkpoint.open([folder], base, training), "assistant")
    session = TracedSession.load(model.checkpoint, model.family.graphs, "float32")
    given: dict[str, Any] = {"prompt": PROMPT, "responses": RESPONSES} | request
    prepared = model.preparer.prepare(Request(**given))
    assert prepared.mode == "isolated"
    return session.score([prepared], model.preparer.family)["scores"][0].tolist()
