"""Pass over the model in float32 that gathers statistics: batch after batch, saved after each.

Shapes: B rows, L tokens, T tokens of a batch that are no padding; S, I and H as in `yoj.calibration._statistics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from yoj.export.bundle.names import VISION_PREFIX
from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families import ExportFamily, GraphSpec
from yoj.export.families.opening import open_family
from yoj.export.graph.modules import Projection
from yoj.export.graph.traced import TracedSession, materialise, stream
from yoj.export.prompts.layout import encoder_of, render_layout
from yoj.runtime import Prepared
from yoj.runtime.batch import BATCH_TOKENS, batches_by_length
from yoj.runtime.machine import free_memory
from yoj.runtime.manifest import LayoutName
from yoj.runtime.packing import Pack
from yoj.runtime.prepare import PackingConfig, Preparer
from yoj.runtime.roles import VISION, scorer_role

from . import _ranges as ranges
from ._errors import StatisticsError
from ._samples import CalibrationSample
from ._statistics import (
    KINDS,
    SCHEMA_VERSION,
    TENSORS,
    Kind,
    LayerStatistics,
    Statistics,
    StatisticsHeader,
    differences,
    load,
    save,
)

ROOM = 2
"""Bytes of free memory for each byte of weights with which a graph is taken into memory as a whole."""


@dataclass(frozen=True)
class CalibratedModel:
    """Model that is calibrated, with the packing of its requests."""

    checkpoint: Checkpoint
    family: ExportFamily
    preparer: Preparer

    @classmethod
    def open(cls, checkpoint: Checkpoint, layout: LayoutName) -> CalibratedModel:
        """Check the tensors and load the tokenizer; weights are read later.

        Args:
            checkpoint: the checkpoint, in the mode that it says it was trained in, or else joint.
            layout: turn of the responses.

        Raises:
            CheckpointError: see `yoj.export.families.opening.open_family`.
        """
        family = open_family(checkpoint)
        rendered = render_layout(checkpoint, layout, family.markup())
        mode = checkpoint.training.trained_mode or "joint"
        transparency = checkpoint.training.transparency or "white"
        rules = PackingConfig(
            checkpoint.family,
            rendered,
            family.limits,
            family.preprocessing(),
            mode,
            transparency,
            trained_n=checkpoint.training.trained_n,
            head=checkpoint.head.manifest_entry(
                int(checkpoint.config["text_config"]["hidden_size"]), family.hidden_state
            ),
            response_images=checkpoint.training.response_images,
        )
        return cls(checkpoint, family, Preparer(rules, encoder_of(checkpoint)))

    def about(self) -> StatisticsHeader:
        """Description of statistics that are still empty. Reads every file of the checkpoint."""
        rules = self.preparer.rules
        return StatisticsHeader(
            schema_version=SCHEMA_VERSION,
            family=rules.family,
            mode=rules.trained_mode,
            layout=rules.layout,
            checkpoint=checkpoint_hashes(self.checkpoint),
            bins=(ranges.LOWEST, ranges.HIGHEST, ranges.MANTISSA_BITS),
        )


def collect(
    model: CalibratedModel, samples: Sequence[CalibrationSample], folder: Path, advance: Callable[[int], None]
) -> Statistics:
    """Gather statistics of the samples, or go on where a run into the same folder stopped.

    Numbers are the same as without the interruption: batches depend on the samples alone, and are in as a whole or
    not at all. Memory holds a batch and the largest layer, or the whole model where twice as much is free.

    Args:
        model: the model that reads the samples.
        samples: at least one sample.
        folder: folder for the result; `yoj.calibration._statistics.save` says what is in it.
        advance: function that takes the number of samples that are in, those of an earlier run first.

    Raises:
        StatisticsError: the folder holds statistics of another model or of other samples, or a value is NaN or
            infinite.
    """
    statistics = _begin(model, samples, folder)
    done = set(statistics.about.samples)
    advance(len(done))
    session = TracedSession(model.family.graphs, lambda spec: _load(spec, model.checkpoint))
    recorder = None
    for group in batches_by_length([sample.tokens for sample in samples], [1] * len(samples), BATCH_TOKENS):
        batch = [samples[index] for index in group if samples[index].digest not in done]
        if not batch:
            continue
        role = scorer_role(model.preparer.rules.trained_mode)
        recorder = recorder or Recorder(session.module(role), session.module(VISION))
        prepared = [model.preparer.prepare(sample.request) for sample in batch]
        recorder.begin(kinds_of(prepared, model.preparer.rules.layout.separator_id), media_kinds(prepared))
        session.score(prepared, model.preparer.family)
        _check(recorder.layers, batch)
        statistics = statistics.with_batch(recorder.layers, recorder.tokens, [sample.digest for sample in batch])
        save(statistics, folder)
        advance(len(batch))
    session.close()
    return statistics


def kinds_of(batch: Sequence[Prepared], separator_id: int | None) -> NDArray[np.int64]:
    """Kind of each position, by its place in `KINDS`, -1 for padding; int64 [B, L]."""
    rows = [position_kinds(pack, separator_id) for prepared in batch for pack in prepared.packs]
    kinds_BL = np.full((len(rows), max(map(len, rows))), -1, np.int64)
    for kinds_L, row in zip(kinds_BL, rows, strict=True):
        kinds_L[: len(row)] = row
    return kinds_BL


def position_kinds(pack: Pack, separator_id: int | None) -> NDArray[np.int64]:
    """Kind of each token, by its place in `KINDS`; int64 [L].

    A response reaches from its first token to the one that is scored: the text between a separator and its neighbours
    belongs to the responses.
    """
    kinds_L = np.full(len(pack.input_ids_L), KINDS.index("prompt"), np.int64)
    for start, end in zip(pack.response_start_N, pack.response_end_N, strict=True):
        kinds_L[start : end + 1] = KINDS.index("response")
    if separator_id is not None:
        kinds_L[pack.input_ids_L == separator_id] = KINDS.index("separator")
    return kinds_L


def media_kinds(batch: Sequence[Prepared]) -> list[int]:
    """Kind of each distinct image or video, by its place in `KINDS`, in the order of the vision graph's runs."""
    kinds: dict[bytes, int] = {}
    for prepared in batch:
        owners = prepared.packs[0].owners or (0,) * len(prepared.keys)
        for key, owner in zip(prepared.keys, owners, strict=True):
            kinds.setdefault(key, KINDS.index("response" if owner else "prompt"))
    return list(kinds.values())


class Recorder:
    """Recorder of the inputs of every linear layer of a scorer and of the vision tower while they run.

    The value head's layers are left out. Empty slots of Molmo2's pooling windows count as the zeros that they are.
    """

    def __init__(self, scorer: nn.Module, vision: nn.Module):
        """Watch both modules from now on; see `begin`."""
        self.layers: dict[str, LayerStatistics] = {}
        """Statistics of the current batch."""
        self._nothing: dict[str, LayerStatistics] = {}
        self._kinds_T = self._valid_BL = torch.empty(0)
        self._media: Iterator[int] = iter(())
        self._kind = 0
        self._last: tuple[Any, LayerStatistics] | None = None
        vision.register_forward_pre_hook(self._next_medium)
        for prefix, module, note in (("", scorer, self._note), (VISION_PREFIX, vision, self._note_medium)):
            for name, layer in module.named_modules():
                if isinstance(layer, Projection) and not name.startswith("readout"):
                    layer.register_forward_pre_hook(partial(note, prefix + name))
                    self._nothing[prefix + name] = LayerStatistics.nothing(layer.weight.shape[0])

    def begin(self, kinds_BL: NDArray[np.int64], media: Sequence[int]) -> None:
        """Forget the last batch.

        Args:
            kinds_BL: kinds of the next batch's positions, from `kinds_of`.
            media: kinds of its images and videos, from `media_kinds`; each is one run of the vision graph.
        """
        self.layers, self._media, self._last = dict(self._nothing), iter(media), None
        kinds = torch.from_numpy(kinds_BL)
        self._valid_BL = kinds >= 0
        self._kinds_T = kinds[self._valid_BL]

    @property
    def tokens(self) -> dict[Kind, int]:
        """Number of positions of each kind in the batch."""
        counts = torch.bincount(self._kinds_T, minlength=len(KINDS)).tolist()
        return dict(zip(KINDS, counts, strict=True))

    def _next_medium(self, _: nn.Module, __: Any) -> None:
        self._kind = next(self._media)

    def _note(self, name: str, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        (x_BLI,) = inputs
        self._add(name, x_BLI, lambda: measure(x_BLI[self._valid_BL], self._kinds_T))

    def _note_medium(self, name: str, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        (x,) = inputs
        rows_TI = x.flatten(0, -2)
        self._add(name, x, lambda: measure(rows_TI, torch.full((len(rows_TI),), self._kind)))

    def _add(self, name: str, x: torch.Tensor, measured: Callable[[], LayerStatistics]) -> None:
        # Several layers read one tensor: queries, keys and values, or gate and up.
        if self._last is None or self._last[0] is not x:
            self._last = x, measured()
        self.layers[name] = self.layers[name].merged(self._last[1])


def measure(x_TI: torch.Tensor, kinds_T: torch.Tensor) -> LayerStatistics:
    """Statistics of some rows.

    Args:
        x_TI: inputs of the layer in any float type; counted as float32.
        kinds_T: int64 kinds, as places in `KINDS`.
    """
    magnitude_TI = x_TI.float().abs()
    absmax_SI = torch.zeros(len(KINDS), x_TI.shape[1])
    for kind in range(len(KINDS)):
        rows = magnitude_TI[kinds_T == kind]
        if len(rows):
            absmax_SI[kind] = rows.amax(dim=0)
    bin_TI = (magnitude_TI.view(torch.int32) >> ranges.SHIFT).sub_(ranges.FIRST).clamp_(0, ranges.BINS - 1)
    bin_TI += (kinds_T * ranges.BINS).to(torch.int32).unsqueeze(1)
    counts = torch.bincount(bin_TI.flatten(), minlength=len(KINDS) * ranges.BINS)
    return LayerStatistics(absmax_SI.numpy(), counts.view(len(KINDS), ranges.BINS).numpy())


def _begin(model: CalibratedModel, samples: Sequence[CalibrationSample], folder: Path) -> Statistics:
    """Empty statistics, or those that an earlier run left in the folder."""
    about, digests = model.about(), {sample.digest for sample in samples}
    if not (folder / TENSORS).exists():
        if folder.exists() and any(path.name[0] != "." for path in folder.iterdir()):
            raise StatisticsError(f"{folder} exists and holds no statistics. Choose another --out.")
        fresh = Statistics(msgspec.structs.replace(about, waiting=tuple(sorted(digests))), {})
        save(fresh, folder)
        return fresh
    found = load(folder)
    if problems := differences(found.about, about):
        raise StatisticsError(
            f"{folder} holds statistics of another model: {'; '.join(problems)}. Choose another --out."
        )
    if other := {*found.about.samples, *found.about.waiting} ^ digests:
        raise StatisticsError(
            f"{folder} holds statistics of other samples: {len(other)} are in one of both choices only. Repeat the "
            "command with the same --samples, --count and --seed, or choose another --out and merge."
        )
    return found


def _load(spec: GraphSpec, checkpoint: Checkpoint) -> nn.Module:
    """Load the model into memory where there clearly is room, else layer by layer; both compute the same."""
    need, free = 4 * sum(parameter.numel() for parameter in spec.module.parameters()), free_memory()
    return (materialise if free is not None and ROOM * need < free else stream)(spec, checkpoint)


def _check(layers: dict[str, LayerStatistics], batch: Sequence[CalibrationSample]) -> None:
    for name, layer in layers.items():
        if not np.isfinite(layer.absmax_SI).all():
            lines = ", ".join(str(sample.line) for sample in batch)
            raise StatisticsError(
                f"What goes into {name} is NaN or infinite in the batch of lines {lines}. Check the checkpoint's "
                "tensors for NaN with yoj-export verify."
            )
