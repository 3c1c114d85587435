"""Stock Hugging Face model with the trained head, with the strategies by which PyTorch users score N responses.

Shapes: B rows, L tokens, N responses, P tokens of the prompt, D hidden size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families import ExportFamily
from yoj.export.verification.stock_model import read_out
from yoj.runtime import Prepared
from yoj.runtime.batch import scorer_inputs
from yoj.runtime.families import Family

Scores = NDArray[np.float32]
Inputs = dict[str, torch.Tensor]


class Backbone:
    """Stock model in one precision on one device."""

    def __init__(self, checkpoint: Checkpoint, runtime: Family, model: nn.Module, family: ExportFamily):
        """Take a stock model as it is.

        Args:
            checkpoint: checkpoint of the model; its head is used in float32.
            runtime: the runtime's family, which turns requests into arrays.
            model: model from `yoj.export.families.ExportFamily.stock_model`, in any precision, on any device.
            family: family of the model.
        """
        self._family, self._runtime, self.model = family, runtime, model
        parameter = next(model.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device
        self._readout = checkpoint.head.readout
        self._head = checkpoint.head.module().to(self.device)
        text = checkpoint.config["text_config"]
        self._divisor = checkpoint.head.divisor(text["hidden_size"])
        self._vocabulary, self._table = (int(text["vocab_size"]), int(text["hidden_size"])), torch.empty(0)

    def packed(self, batch: Sequence[Prepared], model: nn.Module | None = None) -> Callable[[], Scores]:
        """Score rows in one pass as they were packed -> [B, N]; without ``lm_head``.

        Args:
            batch: requests that the runtime prepared, each in one order.
            model: compiled form of the model; None for the model itself.
        """
        inputs, run = self._inputs(batch), self.model if model is None else model
        return lambda: self._read(run(**self._moved(inputs), use_cache=False).last_hidden_state, batch)

    def ragged(self, batch: Sequence[Prepared]) -> list[Scores]:
        """Scores [N] of requests of any lengths and N, from arrays to numbers in one pass, padded on the right."""
        hidden_BLD = self.model(**self._moved(self._inputs(batch)), use_cache=False).last_hidden_state
        return self._read_each(hidden_BLD, batch)

    def as_published(self, batch: Sequence[Prepared]) -> Callable[[], Scores]:
        """Score rows in one pass with all hidden states and ``lm_head`` over every row, as the published code does."""
        inputs = self._inputs(batch)
        if not len(self._table):
            self._table = torch.randn(self._vocabulary, dtype=self.dtype, device=self.device) / self._divisor

        def call() -> Scores:
            out: Any = self.model(**self._moved(inputs), use_cache=False, output_hidden_states=True)
            F.linear(out.last_hidden_state, self._table)
            return self._read(out.last_hidden_state, batch)

        return call

    def separate(self, single: Sequence[Prepared]) -> Callable[[], Scores]:
        """Score each response in a pass of its own -> [1, N]."""
        calls = [self.packed([prepared]) for prepared in single]
        return lambda: np.concatenate([call() for call in calls], axis=1)

    def rows(self, single: Sequence[Prepared]) -> Callable[[], Scores]:
        """Score responses as rows of one batch, padded on the right, where causal attention does not look -> [1, N]."""
        call = self.packed(single)
        return lambda: call().reshape(1, -1)

    def prefix(self, single: Sequence[Prepared]) -> Callable[[], Scores]:
        """Score with a pass over the prompt, and one for each response with the prompt's keys and values -> [1, N]."""
        P = int(single[0].packs[0].response_start_N[0])
        rows = [self._row([prepared]) for prepared in single]
        start = {name: value[..., :P] for name, value in rows[0].items()}
        prompt = self._cast(self._family.stock_inputs(start, single[0].media, self._runtime))
        prompt["position_ids"] = _positions(start)
        rest = [{"input_ids": row["input_ids"][:, P:], "position_ids": _positions(row)[..., P:]} for row in rows]

        def call() -> Scores:
            cache = self.model(**self._moved(prompt), use_cache=True).past_key_values
            found: list[Scores] = []
            for inputs, prepared in zip(rest, single, strict=True):
                out: Any = self.model(**self._moved(inputs), past_key_values=cache, use_cache=True)
                found.append(self._read(out.last_hidden_state, [prepared], first=P))
                cache.crop(-out.last_hidden_state.shape[1])
            return np.concatenate(found, axis=1)

        return call

    def compiled(self) -> nn.Module:
        """Compile the model with ``torch.compile``; on a GPU with CUDA graphs, on a CPU frozen.

        Frozen weights are constants, which oneDNN brings into the order of its products beforehand.
        """
        logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # it warns of each place where the graph breaks
        if self.device.type == "cuda":
            return cast(nn.Module, torch.compile(self.model, mode="reduce-overhead"))
        return cast(nn.Module, torch.compile(self.model, options={"freezing": True}))

    def _row(self, batch: Sequence[Prepared]) -> Inputs:
        return {name: torch.from_numpy(array) for name, array in scorer_inputs(batch, self._runtime, {}).items()}

    def _inputs(self, batch: Sequence[Prepared]) -> Inputs:
        media = [medium for prepared in batch for medium in prepared.media]
        return self._cast(self._family.stock_inputs(self._row(batch), media, self._runtime))

    def _cast(self, inputs: Inputs) -> Inputs:
        return {name: value.to(self.dtype) if value.is_floating_point() else value for name, value in inputs.items()}

    def _moved(self, inputs: Inputs) -> Inputs:
        return {name: value.to(self.device) for name, value in inputs.items()}

    def _read(self, hidden_BLD: torch.Tensor, batch: Sequence[Prepared], first: int = 0) -> Scores:
        """Scores [B, N] of rows that begin at token ``first``; reading them waits for the device."""
        return np.stack(self._read_each(hidden_BLD, batch, first))

    def _read_each(self, hidden_BLD: torch.Tensor, batch: Sequence[Prepared], first: int = 0) -> list[Scores]:
        """Scores [N] of each row, whose N may differ."""
        found: list[Scores] = []
        for hidden_LD, prepared in zip(hidden_BLD, batch, strict=True):
            (pack,) = prepared.packs
            start_N, end_N = pack.response_start_N - first, pack.response_end_N - first
            rows = read_out(self._readout, hidden_LD, start_N, end_N).float()
            found.append((self._head(rows)[:, 0] / self._divisor).cpu().numpy())
        return found


def _positions(row: Inputs) -> torch.Tensor:
    """Positions [B, L], or [3, B, L] of three axes, as the stock model takes them."""
    position_ids = row["position_ids"]
    return position_ids if position_ids.ndim == 2 else position_ids.transpose(0, 1)
