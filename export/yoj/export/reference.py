"""The yardstick: the stock Hugging Face model with the trained head, in PyTorch and float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

from yoj.runtime.batch import Prepared, scorer_inputs
from yoj.runtime.families import Arrays, Family, PreparedMedia
from yoj.runtime.manifest import LayoutName, Piece
from yoj.runtime.packing import Ids, Span
from yoj.runtime.request import Request

from .checkpoint import SEPARATOR, Checkpoint
from .families import ExportFamily, GraphSpec
from .head import divisor
from .layout import GLUE, ChatTemplate, MediaMarkup


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

    def score(self, prepared: Prepared, runtime: Family) -> NDArray[np.float32]:
        """Scores [N] float32 of one request; see `outputs`."""
        return self.outputs(prepared, runtime)["scores"]

    @torch.inference_mode()
    def outputs(self, prepared: Prepared, runtime: Family) -> Arrays:
        """What the scorer graph returns of one request that the runtime prepared for joint reading in one order.

        Args:
            prepared: pixels, index tables and tokens, from the runtime.
            runtime: the runtime's family, which turns them into arrays.

        Returns:
            ``scores`` and, of a Gaussian head, ``spread``, the exponential of its second output: float32 [N].
        """
        row = {name: torch.from_numpy(array) for name, array in scorer_inputs([prepared], runtime, {}).items()}
        if self._traced is not None:
            return self._score_traced(row, prepared.media, runtime)
        assert self._stock is not None
        inputs = self._family.stock_inputs(row, prepared.media, runtime)
        hidden_LD = self._stock(**inputs, use_cache=False).last_hidden_state[0].float()
        (pack,) = prepared.packs
        rows = read_out(self._checkpoint.head.readout, hidden_LD, pack.response_start_N, pack.response_end_N)
        out = self._head(rows) / divisor(hidden_LD.shape[-1])
        outputs = {"scores": out[:, 0].numpy()}
        return outputs if out.shape[-1] == 1 else outputs | {"spread": out[:, 1].exp().numpy()}

    def _score_traced(self, row: dict[str, torch.Tensor], media: Sequence[PreparedMedia], runtime: Family) -> Arrays:
        assert self._traced is not None
        spec, module = self._traced["scorer.joint"]
        vision_spec, vision = self._traced["vision"]
        features = {n: [torch.zeros(0 if media else 1, int(axes[-1]))] for n, axes in vision_spec.outputs.items()}
        for medium in media:
            arrays = {name: torch.from_numpy(array) for name, array in runtime.vision_inputs([medium]).items()}
            outputs = vision(**arrays)
            for place, output in zip(
                features.values(), outputs if isinstance(outputs, tuple) else (outputs,), strict=True
            ):
                place.append(output)
        inputs = row | {name: torch.cat(parts) for name, parts in features.items()}
        outputs = module(**{name: inputs[name] for name in spec.inputs})
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return {name: output[0].numpy() for name, output in zip(spec.outputs, outputs, strict=True)}


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


def materialise(
    spec: GraphSpec, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32
) -> tuple[GraphSpec, nn.Module]:
    """A traced module with its weights in ``dtype``, to run in PyTorch; what no tensor holds stays in float32."""
    module = spec.module.to(dtype).to_empty(device="cpu").eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if name in spec.constants:
            parameter.data = spec.constants[name].clone()
            continue
        begin = 0
        for block in checkpoint.weights.blocks(spec.plans[name], dtype):
            parameter[begin : begin + len(block)] = block
            begin += len(block)
    return spec, module


def reference_ids(
    template: ChatTemplate, markup: MediaMarkup, layout: LayoutName, request: Request, media: Sequence[Sequence[Span]]
) -> list[int]:
    """Token ids as the reference makes them: template, processor, tokenizer; right for harmless text only.

    Args:
        template: of the checkpoint.
        markup: of the family.
        layout: of the pack.
        request: its text.
        media: what stands for each image, and then for the video.
    """
    tokenizer, videos = template.tokenizer, int(request.video is not None)
    tokenizer.add_tokens([SEPARATOR], special_tokens=True)
    joined = f"{GLUE}{SEPARATOR}{GLUE}".join(request.responses)
    text = template.render(layout, request.prompt, joined, len(media) - videos, videos)
    if markup.bos and (media or layout == "user") and not text.startswith(markup.bos):
        text = markup.bos + text
    done = ""
    for number, spans in enumerate(media):
        shown = "".join(s.text if s.ids is None else "".join(tokenizer.convert_ids_to_tokens(s.ids)) for s in spans)
        replaced = markup.image_token
        if number >= len(media) - videos:
            replaced, shown = _written(markup.video, markup.video_token), _written(markup.packed_video, shown)
        # What was replaced is done with: it may hold the token of the next medium.
        before, _, text = text.partition(replaced)
        done += before + shown
    return tokenizer(done + text, add_special_tokens=False)["input_ids"]


def _written(pieces: Sequence[Piece], medium: str) -> str:
    return "".join(medium if piece.kind == "medium" else piece.value for piece in pieces)
