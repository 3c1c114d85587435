"""Checkpoints as EditReward's code writes them, made at random, and what that code computes with them.

Written from the code's facts (TIGER-AI-Lab/EditReward, b88f0bd): one forward of the stock model for each response and
dimension, the heads of PyTorch on every token, and the state of the special token taken out by a mask.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_qwen3_vl import TinyQwen, write_qwen
from torch import nn
from transformers import AutoTokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from yoj.runtime.families import Family

REWARD = "<|Reward|>"
TEXTS = (
    ("instruction", "Was it done?\n{text_prompt}\nGrade 1 to 4 {{only}}.\n"),
    ("quality", "The text: {text_prompt}. Two and not three?\n"),
)
ENDING = f"\nPlease provide the overall ratings of this image: {REWARD}\n\nEND\n"


@dataclass(frozen=True)
class EditKind:
    """Settings of one training."""

    rm_head_type: str = "ranknet_multi_head"
    output_dim: int = 2
    pooling_strategy: str | None = "sum"
    kwargs: bool = False
    """Whether the sizes of the layers are given, so that the last has no bias."""

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        return TEXTS if self.rm_head_type in ("ranknet_multi_head", "ranknet_share_head") else TEXTS[:1]

    def head(self, width: int) -> nn.Module:
        """One head with random values."""
        if self.rm_head_type == "default":
            layers: nn.Module = nn.Linear(width, self.output_dim, bias=False)
        elif self.kwargs:
            layers = nn.Sequential(
                *(nn.Linear(width, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 24), nn.ReLU(), nn.Dropout(0.1)),
                nn.Linear(24, self.output_dim, bias=False),
            )
        else:
            layers = nn.Sequential(
                *(nn.Linear(width, 1024), nn.ReLU(), nn.Dropout(0.05), nn.Linear(1024, 16), nn.ReLU()),
                nn.Linear(16, self.output_dim),
            )
        for parameter in layers.parameters():
            parameter.data = torch.randn(parameter.shape) * (1.2 / parameter.shape[-1] ** 0.5)
        return layers.eval()


class EditJudge:
    """One checkpoint on disk, and the model that it is of."""

    def __init__(self, folder: Path, kind: EditKind, file: str = "model.pth"):
        self.folder, self.kind = folder, kind
        base = write_qwen(TinyQwen(), folder.with_name(f"{folder.name}-base"), hidden_state="post_norm")
        for name in ("reward_model_config.json", "value_head.safetensors"):
            (base / name).unlink()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base, local_files_only=True)
        self.tokenizer.add_special_tokens({"additional_special_tokens": [REWARD]})
        config: Any = Qwen3VLConfig.from_pretrained(base)
        self.model: Any = Qwen3VLForConditionalGeneration.from_pretrained(base, config=config, dtype=torch.float32)
        self.model.eval()
        torch.manual_seed(11)
        width = config.text_config.hidden_size
        count = len(kind.texts) if kind.rm_head_type == "ranknet_multi_head" else 1
        self.heads = [kind.head(width) for _ in range(count)]
        self._write(base, file)

    def _write(self, base: Path, file: str) -> None:
        self.folder.mkdir(parents=True)
        many = self.kind.rm_head_type == "ranknet_multi_head"
        state = dict(self.model.state_dict())
        for number, head in enumerate(self.heads):
            place = f"rm_heads.head_{number}" if many else "rm_head"
            state |= {f"{place}.{name}": value for name, value in head.state_dict().items()}
        torch.save(state, self.folder / file)
        (self.folder / "training_args.bin").write_bytes(b"never read")
        self.tokenizer.save_pretrained(self.folder / "tokenizer")
        for name in ("config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
            shutil.copyfile(base / name, self.folder / name)
        shutil.copyfile(base / "chat_template.jinja", self.folder / "tokenizer" / "chat_template.jinja")
        settings = {
            "rm_head_type": self.kind.rm_head_type,
            "output_dim": self.kind.output_dim,
            "reward_token": "special",
            "use_special_tokens": True,
            "pooling_strategy": self.kind.pooling_strategy,
            "loss_type": "uncertainty",
            "model_name_or_path": "Qwen/Qwen3-VL-8B-Instruct",
        }
        (self.folder / "model_config.json").write_text(json.dumps({"model_config": settings, "data_config": {}}))
        texts = [{"name": name, "text": text} for name, text in self.kind.texts]
        (self.folder / "dimensions.json").write_text(json.dumps(texts))

    @torch.no_grad()
    def outputs(self, prompt: str, source: np.ndarray, edits: list[np.ndarray], family: Family) -> np.ndarray:
        """Outputs of the heads, [N, J, output_dim]; pictures become patches as the runtime's family makes them."""
        return np.array(
            [
                [
                    self._one(text.format(text_prompt=prompt) + ENDING, (source, edit), family, place)
                    for place, (_, text) in enumerate(self.kind.texts)
                ]
                for edit in edits
            ]
        )

    def _one(self, text: str, pictures: tuple[np.ndarray, ...], family: Family, place: int) -> list[float]:
        content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": text}]
        row = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        media = [family.prepare_image(picture) for picture in pictures]
        for medium in media:
            row = row.replace("<|image_pad|>", "<|held|>" * medium.rows, 1)
        ids = torch.tensor([self.tokenizer(row.replace("<|held|>", "<|image_pad|>"))["input_ids"]])
        pixels = torch.cat([torch.from_numpy(medium.arrays["pixel_values"]).flatten(0, 1) for medium in media])
        grids = torch.tensor([[1, *(2 * size for size in medium.grids[0])] for medium in media])
        self.model.model.rope_deltas = None
        hidden_1LD = self.model.model(
            input_ids=ids,
            pixel_values=pixels,
            image_grid_thw=grids,
            mm_token_type_ids=(ids == self.model.config.image_token_id).long(),
            use_cache=False,
        )[0]
        head = self.heads[place if len(self.heads) > 1 else 0]
        logits = head(hidden_1LD)[ids == self.tokenizer.convert_tokens_to_ids(REWARD)]
        return logits.view(-1).tolist()
