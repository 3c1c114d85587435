"""Statistics of the inputs of a model's linear layers, by kind of position: gathered, merged, saved.

Shapes: S kinds of position (`KINDS`), I input channels of a layer, H bins of a histogram (`yoj.calibration._ranges`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from yoj.runtime.manifest import Layout, Mode

from . import _ranges as ranges
from ._errors import StatisticsError

Kind: TypeAlias = Literal["prompt", "response", "separator"]

KINDS: tuple[Kind, ...] = ("prompt", "response", "separator")
"""Kinds of positions: tokens of a response up to the scored one are its own, all others the prompt's. In the vision
tower rows are of the kind in which their image or video stands."""
TENSORS, ABOUT = "statistics.safetensors", "statistics.json"
SCHEMA_VERSION = 3
SHOWN = 4
"""Most values that an error names."""


class StatisticsHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of ``statistics.json``: the origin of the numbers."""

    schema_version: int
    family: str
    mode: Mode
    """Mode in which the responses were read."""
    layout: Layout
    checkpoint: dict[str, str]
    """SHA-256 of the model's files, by folder and name."""
    bins: tuple[int, int, int]
    """Smallest and largest exponent of the histograms, and bits of the mantissa that tell bins apart."""
    samples: tuple[str, ...] = ()
    """Hash of each request that is in, sorted; see `content_hash`."""
    waiting: tuple[str, ...] = ()
    """Hashes of those that were chosen and are not in yet, sorted; none where the run came to its end."""
    tokens: dict[Kind, int] = msgspec.field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    """Number of positions of each kind that the scorer saw."""


@dataclass(frozen=True)
class LayerStatistics:
    """Statistics of one linear layer's inputs; empty where it did not run, as the vision tower for texts."""

    absmax_SI: NDArray[np.float32]
    """Largest magnitude of each channel; 0 where no position of the kind was seen."""
    histogram_SH: NDArray[np.int64]
    """Number of values by magnitude, all channels together."""

    @classmethod
    def nothing(cls, width: int) -> LayerStatistics:
        """Statistics of a layer with so many channels that has not run."""
        return cls(np.zeros((len(KINDS), width), np.float32), np.zeros((len(KINDS), ranges.BINS), np.int64))

    def merged(self, other: LayerStatistics) -> LayerStatistics:
        """Merge two statistics; exact, in any order.

        Raises:
            StatisticsError: the numbers of channels differ.
        """
        if self.absmax_SI.shape != other.absmax_SI.shape:
            channels = self.absmax_SI.shape[1], other.absmax_SI.shape[1]
            raise StatisticsError(f"One has {channels[0]} channels, the other {channels[1]}.")
        absmax_SI = np.maximum(self.absmax_SI, other.absmax_SI)
        return LayerStatistics(absmax_SI, self.histogram_SH + other.histogram_SH)

    def channels(self, kinds: Sequence[Kind] = KINDS) -> NDArray[np.float32]:
        """Largest magnitude of each channel over some kinds of position, float32 [I]."""
        return self.absmax_SI[_rows(kinds)].max(axis=0)

    def largest(self, kinds: Sequence[Kind] = KINDS) -> float:
        """Largest magnitude over some kinds of position."""
        return float(self.channels(kinds).max())

    def counts(self, kinds: Sequence[Kind] = KINDS) -> NDArray[np.int64]:
        """Number of values by magnitude over some kinds of position, int64 [H]."""
        return self.histogram_SH[_rows(kinds)].sum(axis=0)

    def percentile(self, q: float, kinds: Sequence[Kind] = KINDS) -> float:
        """Magnitude below which ``q`` percent of the values lie; right within a bin, which is 3 to 6 % wide."""
        return ranges.percentile(self.counts(kinds), self.largest(kinds), q)

    def mse_range(self, kinds: Sequence[Kind] = KINDS) -> float:
        """The magnitude that becomes 127 with the least mean squared error; see `yoj.calibration._ranges.mse_range`."""
        return ranges.mse_range(self.counts(kinds), self.largest(kinds))

    def entropy_range(self, kinds: Sequence[Kind] = KINDS) -> float:
        """The one that entropy calibration chooses; see `yoj.calibration._ranges.entropy_range`."""
        return ranges.entropy_range(self.counts(kinds), self.largest(kinds))

    def outliers(self, kinds: Sequence[Kind] = KINDS) -> float:
        """Ratio of the largest channel to the median channel; infinite where the median one is 0."""
        channels = self.channels(kinds)
        median = float(np.median(channels))
        return float(channels.max()) / median if median else float("inf") if channels.any() else 1.0


@dataclass(frozen=True)
class Statistics:
    """Statistics of all linear layers of a scorer and of the vision tower."""

    about: StatisticsHeader
    layers: dict[str, LayerStatistics]
    """Statistics by the name of the layer's module, as quantisation configs have it; empty before the first batch."""

    def with_batch(
        self, layers: Mapping[str, LayerStatistics], tokens: Mapping[Kind, int], samples: Iterable[str]
    ) -> Statistics:
        """Copy of the statistics with one more batch.

        Args:
            layers: statistics of the batch.
            tokens: number of positions of each kind in the batch.
            samples: `content_hash` of its requests, which wait no longer.

        Raises:
            StatisticsError: the layers differ.
        """
        added = set(samples)
        about = msgspec.structs.replace(
            self.about,
            samples=tuple(sorted({*self.about.samples, *added})),
            waiting=tuple(sorted({*self.about.waiting} - added)),
            tokens={kind: self.about.tokens[kind] + tokens[kind] for kind in KINDS},
        )
        return Statistics(about, _merged(self.layers, layers) if self.layers else dict(layers))


def merge(parts: Sequence[Statistics], names: Sequence[str]) -> Statistics:
    """Merge statistics of several runs over one model, as if they had been gathered in one.

    Args:
        parts: at least one set of statistics.
        names: name of each in errors.

    Raises:
        StatisticsError: a part is of another model, mode or layout, of the same samples, or of a run that was
            interrupted.
    """
    whole = parts[0]
    for part, name in zip(parts, names, strict=True):
        if part.about.waiting:
            total = len(part.about.samples) + len(part.about.waiting)
            raise StatisticsError(
                f"{name} has {len(part.about.samples)} of its {total} samples: the run was interrupted. Repeat its "
                "command, which goes on where it stopped."
            )
    for part, name in zip(parts[1:], names[1:], strict=True):
        if problems := differences(whole.about, part.about):
            raise StatisticsError(
                f"{names[0]} and {name} cannot be merged: {'; '.join(problems)}. Gather both from one checkpoint in "
                "the same way."
            )
        if twice := sorted({*whole.about.samples} & {*part.about.samples}):
            shown = ", ".join([*(digest[:16] for digest in twice[:SHOWN]), *(["..."] if len(twice) > SHOWN else [])])
            raise StatisticsError(
                f"{name} has {len(twice)} samples that are in already ({shown}), "
                "which would count twice. Gather it from other requests."
            )
        whole = whole.with_batch(part.layers, part.about.tokens, part.about.samples)
    return whole


def differences(one: StatisticsHeader, other: StatisticsHeader) -> list[str]:
    """Reasons why numbers of the two do not belong together; none where they do."""
    problems: list[str] = []
    if {*one.checkpoint.values()} != {*other.checkpoint.values()}:
        named = {name for name, _ in {*one.checkpoint.items()} ^ {*other.checkpoint.items()}}
        problems.append(f"files of the checkpoints differ ({', '.join(sorted(named)[:SHOWN])})")
    for name in ("family", "mode", "bins"):
        if getattr(one, name) != getattr(other, name):
            problems.append(f"{name} is {getattr(one, name)} and {getattr(other, name)}")
    if one.layout != other.layout:
        both = one.layout.name, other.layout.name
        problems.append(f"layout is {both[0]} and {both[1]}" if both[0] != both[1] else "the layouts' texts differ")
    return problems


def save(statistics: Statistics, folder: Path) -> None:
    """Write statistics into a folder, made where there is none, so that a crash at any moment leaves what was there.

    ``statistics.safetensors`` is complete in itself, its header repeats ``statistics.json``, and it takes its place
    at once; the JSON, for people and other programs, follows.
    """
    from safetensors.numpy import save as encode

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{name}.absmax": layer.absmax_SI for name, layer in statistics.layers.items()}
    tensors |= {f"{name}.histogram": layer.histogram_SH for name, layer in statistics.layers.items()}
    about = msgspec.json.format(msgspec.json.encode(statistics.about), indent=2)
    _replace(folder / TENSORS, encode(tensors, {ABOUT: about.decode()}))
    _replace(folder / ABOUT, about + b"\n")


def load(folder: Path) -> Statistics:
    """Read statistics that `save` wrote.

    Raises:
        StatisticsError: nothing is there, or the file is damaged or of another version of yoj.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as decode

    file = folder / TENSORS
    if not file.is_file():
        raise StatisticsError(f"{file} is missing. Give a folder that yoj-calibrate statistics wrote.")
    content = file.read_bytes()
    try:
        tensors = decode(content)
        length = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + length])["__metadata__"][ABOUT]
        version = json.loads(about).get("schema_version")
        if version == SCHEMA_VERSION:
            return Statistics(msgspec.json.decode(about, type=StatisticsHeader), _layers(tensors))
    except (SafetensorError, msgspec.MsgspecError, ValueError, KeyError) as error:
        raise StatisticsError(f"{file} is damaged: {error}. Gather the statistics again.") from error
    raise StatisticsError(
        f"{file} is of version {version}, this yoj reads {SCHEMA_VERSION}. Gather the statistics again."
    )


def _layers(tensors: Mapping[str, NDArray[Any]]) -> dict[str, LayerStatistics]:
    names = [name.removesuffix(".absmax") for name in tensors if name.endswith(".absmax")]
    # Layer 10 comes behind layer 9.
    names.sort(
        key=lambda name: [(part.isdecimal(), int(part) if part.isdecimal() else part) for part in name.split(".")]
    )
    return {name: LayerStatistics(tensors[f"{name}.absmax"], tensors[f"{name}.histogram"]) for name in names}


def _merged(one: Mapping[str, LayerStatistics], other: Mapping[str, LayerStatistics]) -> dict[str, LayerStatistics]:
    if unknown := sorted(one.keys() ^ other.keys()):
        raise StatisticsError(f"Layers of one are not in the other: {', '.join(unknown[:SHOWN])}.")
    merged: dict[str, LayerStatistics] = {}
    for name, layer in one.items():
        try:
            merged[name] = layer.merged(other[name])
        except StatisticsError as error:
            raise StatisticsError(f"{name}: {error}") from error
    return merged


def _rows(kinds: Sequence[Kind]) -> list[int]:
    return [KINDS.index(kind) for kind in kinds]


def _replace(file: Path, content: bytes) -> None:
    """Write a file under a fixed temporary name and rename it, so that the next run overwrites a half-written one."""
    spare = file.with_name(f".{file.name}.tmp")
    with spare.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    spare.replace(file)
