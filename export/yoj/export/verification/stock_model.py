"""Stock model, the yardstick: the Hugging Face model with the trained head, in PyTorch and float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray

from yoj.runtime import Prepared
from yoj.runtime.batch import scorer_inputs
from yoj.runtime.dimensions import by_dimension
from yoj.runtime.families import Arrays, Family
from yoj.runtime.manifest import ValueHead
from yoj.runtime.text import Ids

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.head import READOUTS
from ..families import ExportFamily
from ..families._language import LANGUAGE_HEAD
from ..graph.traced import TracedSession


class StockModel:
    """Scorer of one request at a time: no batch, no padding, nothing shared with the graphs but their index tables."""

    def __init__(self, checkpoint: Checkpoint, family: ExportFamily):
        self._checkpoint, self._family = checkpoint, family
        self._head = checkpoint.head.module()
        hidden_size = int(checkpoint.config["text_config"]["hidden_size"])
        self._entry = checkpoint.head.manifest_entry(hidden_size, family.hidden_state)
        self._stock = family.stock_model()
        self._traced = None if self._stock is not None else TracedSession.load(checkpoint, family.graphs, "float32")

    @property
    def stock(self) -> bool:
        """Whether transformers has the model; else the traced modules stand in its place."""
        return self._stock is not None

    @property
    def name(self) -> str:
        """Name of the implementation that gives the numbers."""
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
        """Outputs of the scorer graph for one request that the runtime prepared for joint reading in one order.

        Args:
            prepared: pixels, index tables and tokens, from the runtime.
            runtime: the runtime's family, which turns them into arrays.

        Returns:
            ``scores`` and, of a Gaussian head, ``spread``, the exponential of its second output: float32 [N], or
            [N, J] of a head with named dimensions.
        """
        rows = [
            self._row(replace(prepared, packs=(pack,), orders=(order,)), runtime)
            for pack, order in zip(prepared.packs, prepared.orders, strict=True)
        ]
        return of_one_order({name: np.stack([row[name] for row in rows]) for name in rows[0]}, self._entry)

    def _row(self, prepared: Prepared, runtime: Family) -> Arrays:
        """Outputs of one row."""
        if self._traced is not None:
            return {name: values_BN[0] for name, values_BN in self._traced.score([prepared], runtime).items()}
        hidden_LD = self._hidden(prepared, runtime)
        (pack,) = prepared.packs
        rows = read_out(self._checkpoint.head.readout, hidden_LD, pack.response_start_N, pack.response_end_N)
        out = self._head(rows) / self._checkpoint.head.divisor(hidden_LD.shape[-1])
        outputs = {"scores": out[..., 0].numpy()}
        return outputs if out.shape[-1] == 1 else outputs | {"spread": out[..., 1].exp().numpy()}

    @torch.inference_mode()
    def logits(self, prepared: Prepared, runtime: Family) -> NDArray[np.float32]:
        """Logits of the token behind each token of a row, float32 [L, W]; only where there is a stock model."""
        assert self._stock is not None
        final_norm: Any = self._stock.final_norm
        names = self._family.language_graph().sources[LANGUAGE_HEAD].names
        table_WD = torch.cat([self._checkpoint.weights.read(name) for name in names])
        return F.linear(final_norm(self._hidden(prepared, runtime)), table_WD).numpy()

    def _hidden(self, prepared: Prepared, runtime: Family) -> torch.Tensor:
        assert self._stock is not None
        row = {name: torch.from_numpy(array) for name, array in scorer_inputs([prepared], runtime, {}).items()}
        inputs = self._family.stock_inputs(row, prepared.media, runtime)
        return self._stock(**inputs, use_cache=False).last_hidden_state[0].float()


def of_one_order(rows: Arrays, head: ValueHead) -> Arrays:
    """Outputs [N], or [N, J] of named dimensions, each from its own row, of rows that were read in one order.

    Args:
        rows: outputs of a row for each question of the head, [R, N] or [R, N, J].
        head: value head.
    """
    if not head.dimensions:
        return {name: values_RN[0] for name, values_RN in rows.items()}
    named = [*by_dimension(rows, head).values()]
    return {name: np.stack([one[name][0] for one in named], axis=-1) for name in rows}


def read_out(readout: str, hidden_LD: torch.Tensor, start_N: Ids, end_N: Ids) -> torch.Tensor:
    """Input of the head for each response, [N, D] or [N, 2D], from the states [L, D] of one row."""
    of = READOUTS[readout].of
    if of is None:
        return torch.stack([hidden_LD[s : e + 1].mean(dim=0) for s, e in zip(start_N, end_N, strict=True)])
    return of(hidden_LD[torch.from_numpy(start_N)], hidden_LD[torch.from_numpy(end_N)])
