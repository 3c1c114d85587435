"""The yardstick: the stock Hugging Face model with the trained head, in PyTorch and float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

from yoj.runtime.batch import Prepared, scorer_inputs
from yoj.runtime.families import Family
from yoj.runtime.manifest import LayoutName
from yoj.runtime.packing import Ids
from yoj.runtime.request import Request

from .checkpoint import SEPARATOR, Checkpoint
from .families import ExportFamily, GraphSpec
from .head import divisor
from .layout import GLUE, ChatTemplate, ImageMarkup
from .weights import Weights


class Reference:
    """Scores one request at a time: no batch, no padding, nothing shared with the graphs but their index tables."""

    def __init__(self, checkpoint: Checkpoint, family: ExportFamily):
        self._checkpoint, self._family = checkpoint, family
        self._head = checkpoint.head.module()
        self._stock = family.stock_model()
        self._traced = (
            None if self._stock is not None else {g.role: materialise(g, checkpoint) for g in family.graphs()}
        )

    @property
    def name(self) -> str:
        """What the numbers come from."""
        versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
        if self._stock is None:
            return (
                f"the traced modules in PyTorch float32, as transformers lacks {self._checkpoint.family} ({versions})"
            )
        return f"{type(self._stock).__name__} in PyTorch float32 ({versions})"

    @torch.inference_mode()
    def score(self, prepared: Prepared, family: Family) -> NDArray[np.float32]:
        """Scores [N] float32 of one request that the runtime prepared.

        Args:
            prepared: pixels, index tables and tokens, from the runtime.
            family: the runtime's, which turns them into arrays.
        """
        vision = family.vision_inputs(prepared.images) if prepared.images else None
        row = {name: torch.from_numpy(array) for name, array in scorer_inputs([prepared], family, {}).items()}
        if self._traced is not None:
            return self._score_traced(row, vision)
        assert self._stock is not None
        hidden_LD = self._stock(**self._family.stock_inputs(row, vision), use_cache=False).last_hidden_state[0].float()
        rows = read_out(
            self._checkpoint.head.readout, hidden_LD, prepared.pack.response_start_N, prepared.pack.response_end_N
        )
        return (self._head(rows).squeeze(-1) / divisor(hidden_LD.shape[-1])).numpy()

    def _score_traced(self, row: dict[str, torch.Tensor], vision: dict[str, np.ndarray] | None) -> NDArray[np.float32]:
        assert self._traced is not None
        spec, module = self._traced["scorer.joint"]
        vision_spec, vision_module = self._traced["vision"]
        if vision is None:
            width = spec.inputs[vision_spec.output][1][-1]
            features = torch.zeros(1, int(width))
        else:
            features = vision_module(**{name: torch.from_numpy(array) for name, array in vision.items()})
        inputs = row | {vision_spec.output: features}
        return module(**{name: inputs[name] for name in spec.inputs})[0].numpy()


def read_out(readout: str, hidden_LD: torch.Tensor, start_N: Ids, end_N: Ids) -> torch.Tensor:
    """What the head reads of each response, [N, D] or [N, 2D] (``resp_repr_mode`` of the reference)."""
    if readout == "response_mean":
        return torch.stack([hidden_LD[s : e + 1].mean(dim=0) for s, e in zip(start_N, end_N, strict=True)])
    first, last = hidden_LD[torch.from_numpy(start_N)], hidden_LD[torch.from_numpy(end_N)]
    return {
        "last": last,
        "first": first,
        "first_last_concat": torch.cat([first, last], dim=-1),
        "first_last_add": first + last,
        "first_last_sub": last - first,
    }[readout]


def materialise(spec: GraphSpec, checkpoint: Checkpoint) -> tuple[GraphSpec, nn.Module]:
    """A traced module with its weights, to run in PyTorch."""
    module = spec.module.to_empty(device="cpu").eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        value = spec.constants[name] if name in spec.constants else _planned(checkpoint.weights, spec, name)
        parameter.copy_(value)
    return spec, module


def _planned(weights: Weights, spec: GraphSpec, name: str) -> torch.Tensor:
    return torch.cat(list(weights.blocks(spec.plans[name], torch.float32)))


def reference_ids(
    template: ChatTemplate, markup: ImageMarkup, layout: LayoutName, request: Request, images: Sequence[str]
) -> list[int]:
    """Token ids as the reference makes them: template, processor, tokenizer; right for harmless text only.

    Args:
        template: of the checkpoint.
        markup: of the family.
        layout: of the pack.
        request: its text.
        images: the tokens of each image, as text.
    """
    template.tokenizer.add_tokens([SEPARATOR], special_tokens=True)
    joined = f"{GLUE}{SEPARATOR}{GLUE}".join(request.responses)
    text = template.render(layout, request.prompt, joined, len(images))
    if markup.bos and (images or layout == "user") and not text.startswith(markup.bos):
        text = markup.bos + text
    for image in images:
        text = text.replace(markup.placeholder, image, 1)
    return template.tokenizer(text, add_special_tokens=False)["input_ids"]
