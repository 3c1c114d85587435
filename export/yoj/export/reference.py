"""The yardstick: the stock Hugging Face model with the trained head, in PyTorch and float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from yoj.runtime.batch import Prepared, scorer_inputs
from yoj.runtime.families import Arrays, Family
from yoj.runtime.manifest import LayoutName, Piece
from yoj.runtime.packing import Ids, Span
from yoj.runtime.request import Request

from .checkpoint import SEPARATOR, Checkpoint
from .families import ExportFamily
from .head import divisor
from .layout import GLUE, ChatTemplate, MediaMarkup
from .traced import TracedSession


class Reference:
    """Scores one request at a time: no batch, no padding, nothing shared with the graphs but their index tables."""

    def __init__(self, checkpoint: Checkpoint, family: ExportFamily):
        self._checkpoint, self._family = checkpoint, family
        self._head = checkpoint.head.module()
        self._stock = family.stock_model()
        self._traced = None if self._stock is not None else TracedSession.load(checkpoint, family.graphs(), "float32")

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
        if self._traced is not None:
            return {name: values_BN[0] for name, values_BN in self._traced.score([prepared], runtime).items()}
        assert self._stock is not None
        row = {name: torch.from_numpy(array) for name, array in scorer_inputs([prepared], runtime, {}).items()}
        inputs = self._family.stock_inputs(row, prepared.media, runtime)
        hidden_LD = self._stock(**inputs, use_cache=False).last_hidden_state[0].float()
        (pack,) = prepared.packs
        rows = read_out(self._checkpoint.head.readout, hidden_LD, pack.response_start_N, pack.response_end_N)
        out = self._head(rows) / divisor(hidden_LD.shape[-1])
        outputs = {"scores": out[:, 0].numpy()}
        return outputs if out.shape[-1] == 1 else outputs | {"spread": out[:, 1].exp().numpy()}


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
