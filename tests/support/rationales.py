"""Bundles with a language graph, and the stock models that generate beside them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quiet import Quiet
from recorded import MERGED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.runtime import Image, Message, Request, Scorer, Video
from yoj.runtime.batch import Prepared, scorer_inputs

ASK = "Explain the grade."
FAMILIES = ("molmo2", "qwen3_vl")


def write_source(family: str, folder: Path, hidden_state: str = "post_norm", **settings: Any) -> Path:
    """A tiny checkpoint that says how it was asked for rationales; ``settings`` go beside that."""
    settings = {"rationale_prompt": ASK, "hidden_state": hidden_state} | settings
    if family == "qwen3_vl":
        return write_qwen(TinyQwen(), folder, **settings)
    shutil.copytree(MERGED, folder)
    file = folder / "reward_model_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | settings), "utf-8")
    return folder


def export(source: Path, out: Path, **options: Any) -> Path:
    """The bundle of a checkpoint, with its language graph unless told otherwise."""
    options = {"compare": False, "language": True} | options
    build(ExportConfig([source], None, "assistant", out, **options), Quiet())
    return out


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def requests_of() -> dict[str, Request]:
    """Requests with media in every place; none has the length of the traced row."""
    first, second, third = noise(0, 60, 90), noise(1, 40, 64), noise(2, 120, 50)
    return {
        "text": Request("Which is red?", ["The cat.", "No."]),
        "long text": Request("Which of these is red, and why? " * 9, ["The cat is. " * 7, "No."]),
        "picture in the prompt": Request("What is shown?", ["A cat.", "Two dogs, I think."], images=[first]),
        "picture in the response": Request("Draw a cat.", ["I cannot.", ["Here it is: ", Image(second)]]),
        "pictures in both": Request(["Make it red: ", Image(first)], [[Image(third)], [Image(second), "done"]]),
        "conversation": Request(
            [Message("user", "Hello."), Message("assistant", "Yes?"), Message("user", ["And this? ", Image(third)])],
            ["A cat.", "A dog."],
        ),
        "video": Request(["What happens? ", Video([first, first // 2, first // 3, first])], ["It turns.", "Nothing."]),
    }


@dataclass(frozen=True)
class Generated:
    """What the stock model generates greedily."""

    tokens: list[int]
    logits_TW: np.ndarray
    """Logits that each token was chosen by."""


class StockWriter:
    """The stock model with its language head, of a merged checkpoint."""

    def __init__(self, source: Path):
        import transformers

        self.family = open_family(Checkpoint.open([source]))
        weights, config = self.family.checkpoint.weights, json.loads(json.dumps(self.family.checkpoint.config))
        state = {name: weights.read(name) for name in weights.names()}
        kind = {"molmo2": "Molmo2", "qwen3_vl": "Qwen3VL"}[config["model_type"]]
        # The tables of the recorded checkpoint were made for a tokenizer without the separator.
        cls = getattr(transformers, f"{kind}ForConditionalGeneration")
        settings = getattr(transformers, f"{kind}Config").from_dict(config)
        model: Any = cls.from_pretrained(
            None, config=settings, state_dict=state, dtype=torch.float32, attn_implementation="sdpa"
        )
        self.model = model.eval()

    @torch.inference_mode()
    def generate(self, scorer: Scorer, prepared: Prepared, length: int, most: int) -> Generated:
        """Continue the first tokens of a row that the runtime prepared."""
        rows = scorer_inputs([prepared], scorer.family, {})
        row = {name: torch.from_numpy(array[..., :length]) for name, array in rows.items()}
        inputs = self.family.stock_inputs(row, prepared.media, scorer.family)
        out = self.model.generate(
            **inputs,
            attention_mask=torch.ones_like(inputs["input_ids"]),
            do_sample=False,
            max_new_tokens=most,
            eos_token_id=list(scorer.manifest.language.stop),
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return Generated(out.sequences[0, length:].tolist(), torch.cat(out.logits).float().numpy())
