"""Heads of single-response reward models, wherever a trainer leaves them: shards, an adapter, or a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from .._errors import CheckpointError
from ._edits import Stored
from ._head_files import HEAD_FILES, head_files, read_head_file
from ._text_files import read_json
from ._trained_layouts import (
    LAYOUTS,
    OPENRLHF,
    VALUE_HEAD,
    TrainedLayout,
    architectures,
    bare_name,
    head_name,
    layout_of,
)
from .adapter_files import read_adapter_tensors
from .head import SETTINGS, TrainedHead, read_head
from .weights import StoredTensor

LARGEST = 1e30
"""Magnitude of a reward beyond which something is wrong."""
THOUGHT = (
    "LLaMA-Factory's template qwen3_vl puts an empty thought before each response, qwen3_vl_nothink none, and no file "
    "of the checkpoint tells which was used: the chat template of the checkpoint is taken as it is"
)


_Tensor: TypeAlias = Stored | torch.Tensor


@dataclass(frozen=True)
class Search:
    """Places where a head may be."""

    folders: tuple[Path, ...]
    """Folder of the merged checkpoint, or folders of the adapters in their order."""
    trunk: Path
    """Folder of the backbone."""
    config: Mapping[str, Any]
    """Content of the backbone's ``config.json``."""
    tensors: Mapping[str, StoredTensor]
    """Tensors of its shards."""
    hidden_size: int
    adapters: tuple[Path, ...] = ()
    """Folders of the adapters' weights, in their order."""

    def head_config(self) -> tuple[Path, Mapping[str, Any]]:
        """Content of the ``config.json`` that describes the trained model: the last adapter's, where it has one."""
        file = self.folders[-1] / "config.json"
        return (file, read_json(file)) if file.is_file() else (self.trunk / "config.json", self.config)


@dataclass(frozen=True)
class _Place:
    """File or folder that holds tensors of a head."""

    path: Path
    tensors: Mapping[str, _Tensor]
    """Tensors by bare name."""

    def read(self, name: str) -> torch.Tensor:
        """One tensor in float32."""
        stored = self.tensors[name]
        return (stored if isinstance(stored, torch.Tensor) else stored.rows()).float()


def find_head(search: Search) -> TrainedHead:
    """Read the head of a checkpoint in whichever layout its trainer wrote.

    Raises:
        CheckpointError: there is no head, there are two, or it is of no known layout.
    """
    file, config = search.head_config()
    prefix = head_prefix(config, file)
    stored = _stored(search, prefix)
    folder = search.folders[-1]
    if head_files(folder):
        path, tensors = read_head_file(folder)
        if not (tensors and all(head_name(name, prefix) for name in tensors)):
            if stored:
                raise _two_heads(path, stored[0])
            return read_head(folder, search.hidden_size)
        beside = _Place(path, {bare_name(name): tensor for name, tensor in tensors.items()})
        if stored and not _same(beside, stored[0]):
            raise _two_heads(path, stored[0])
        stored = [beside]
    if stored:
        _check_settings(folder / SETTINGS, stored[0])
        return _single(stored[0], file, config, search.hidden_size)
    if (folder / SETTINGS).is_file():
        return read_head(folder, search.hidden_size)
    raise _no_head(search)


def head_prefix(config: Mapping[str, Any], file: Path) -> str | None:
    """Module of OpenRLHF's head that a ``config.json`` names, which has no other use; None where it names none.

    Raises:
        CheckpointError: the setting is no name.
    """
    prefix = config.get("value_head_prefix")
    if prefix is not None and not (isinstance(prefix, str) and prefix):
        raise CheckpointError(f"{file}: value_head_prefix is {prefix!r}, expected the name of the head's module.")
    return prefix


def _stored(search: Search, prefix: str | None) -> list[_Place]:
    """Tensors of a head in the adapters, the last first, and then in the shards: later ones replace earlier ones."""
    places: list[_Place] = []
    for folder in reversed(search.adapters):
        by_file: dict[Path, dict[str, _Tensor]] = {}
        for name, (file, tensor) in read_adapter_tensors(folder).items():
            by_file.setdefault(file, {})[name] = tensor
        places += [_Place(file, _bare(file, tensors, prefix)) for file, tensors in by_file.items()]
    places.append(_Place(search.trunk, _bare(search.trunk, search.tensors, prefix)))
    return [place for place in places if place.tensors]


def _bare(where: Path, tensors: Mapping[str, _Tensor], prefix: str | None) -> dict[str, _Tensor]:
    found: dict[str, _Tensor] = {}
    for name, tensor in tensors.items():
        if (bare := head_name(name, prefix)) is None:
            continue
        if bare in found:
            raise CheckpointError(f"{where} holds {bare} twice, once as {name}. Remove the one that was not trained.")
        found[bare] = tensor
    return found


def _single(place: _Place, config_file: Path, config: Mapping[str, Any], hidden_size: int) -> TrainedHead:
    if "CriticModel" in architectures(config):
        raise CheckpointError(
            f"{config_file} says CriticModel, which PPO trains beside its policy. Give a reward model."
        )
    layout = layout_of(frozenset(place.tensors), config)
    if layout is None:
        raise CheckpointError(
            f"{place.path} holds {', '.join(sorted(place.tensors))}, which is no head that is known:\n{_known()}\n"
            f"Save a head of several layers as {HEAD_FILES[0]} with its settings in {SETTINGS}."
        )
    weight, *bias = sorted(place.tensors, key=lambda name: not name.endswith(".weight"))
    _check(place, {weight: (1, hidden_size), **dict.fromkeys(bias, (1,))})
    shift, scale, notes = _normalisation(layout, config_file, config)
    offset = (place.read(bias[0]) if bias else torch.zeros(1)) - shift
    notes = (f"{layout.name} layout ({layout.written_by}), head in {place.path.name}", *notes)
    tensors = {"weight": place.read(weight), "bias": offset}
    return TrainedHead("linear", None, "last", tensors, layout=layout, divides_by=scale, notes=notes)


def _check_settings(file: Path, place: _Place) -> None:
    """Refuse settings of another head than the one that was found."""
    settings = read_json(file) if file.is_file() else {}
    wrong = [
        f"{name} {settings[name]!r}"
        for name, plain in (("value_head_type", "linear"), ("resp_repr_mode", "last"), ("value_head_outputs", 1))
        if settings.get(name) not in (None, plain)
    ]
    if wrong:
        raise CheckpointError(
            f"{file} says {', '.join(wrong)}, but {place.path} holds {', '.join(sorted(place.tensors))}: one linear "
            "layer over the last token. Remove the settings, or copy the head that they are of."
        )


def _normalisation(
    layout: TrainedLayout, file: Path, config: Mapping[str, Any]
) -> tuple[float, float, tuple[str, ...]]:
    """Offset and scale that the library applies to a score, and notices about them."""
    if layout is VALUE_HEAD:
        return 0.0, 1.0, (THOUGHT,)
    if layout is not OPENRLHF or not {"mean", "std"} & config.keys():
        return 0.0, 1.0, ()
    applied, (mean, std) = config.get("normalize_reward"), (_number(config.get(name)) for name in ("mean", "std"))
    if math.isnan(mean) or not std > 0 or applied not in (True, False, None):
        raise CheckpointError(
            f"{file}: mean is {config.get('mean')!r}, std is {config.get('std')!r}, normalize_reward is {applied!r}; "
            "expected two numbers, std above 0, and true or false. Correct them to what the training wrote."
        )
    if applied is False:
        return 0.0, 1.0, (f"normalize_reward of {file.name} is false: mean {mean:g} and std {std:g} are not applied",)
    told = f"scores are (r - {mean:g}) / {std:g}, as {file.name} says"
    return mean, std, (told if applied else f"{told}; it has no normalize_reward, which is taken for true",)


def _number(value: Any) -> float:
    """Finite number of JSON; NaN where the value is something else."""
    return float(value) if type(value) in (int, float) and abs(value) < LARGEST else math.nan


def _check(place: _Place, expected: Mapping[str, tuple[int, ...]]) -> None:
    problems = [
        f"{name} is {tuple(place.tensors[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if tuple(place.tensors[name].shape) != shape
    ]
    empty = any(0 in tensor.shape for tensor in place.tensors.values())
    if not problems:
        problems = [f"{name} holds NaN or infinity" for name in expected if not place.read(name).isfinite().all()]
    if problems:
        way = (
            "It was saved under ZeRO-3 without gathering: convert the training's checkpoint with zero_to_fp32.py."
            if empty
            else "A single-response reward model has a linear head with one output that reads the backbone."
        )
        raise CheckpointError(f"{place.path}: {'; '.join(problems)}. {way}")


def _same(a: _Place, b: _Place) -> bool:
    return a.tensors.keys() == b.tensors.keys() and all(torch.equal(a.read(name), b.read(name)) for name in a.tensors)


def _two_heads(path: Path, other: _Place) -> CheckpointError:
    return CheckpointError(
        f"{path} holds a head, and {other.path} another ({', '.join(sorted(other.tensors))}). Remove the one that was "
        "not trained last."
    )


def _no_head(search: Search) -> CheckpointError:
    alike = [
        name
        for name, tensor in search.tensors.items()
        if tuple(tensor.shape) == (1, search.hidden_size) and name.count(".") <= 1
    ]
    hint = (
        f" {alike[0]} has the shape of one: if it is OpenRLHF's, write its module's name as value_head_prefix into "
        f"{search.trunk / 'config.json'}."
        if alike
        else ""
    )
    return CheckpointError(
        f"{search.folders[-1]} has no head, so there is nothing that scores.{hint} Known are:\n{_known()}\n"
        "Copy what is missing from the training checkpoint; a head is never made up."
    )


def _known() -> str:
    lines = [f"  {layout.name} ({layout.written_by}): {' and '.join(layout.tensors)}" for layout in LAYOUTS[1:]]
    return "\n".join([f"  {LAYOUTS[0].name} ({LAYOUTS[0].written_by}): {HEAD_FILES[0]} and {SETTINGS}", *lines])
