"""Quantisation config: the matrices of a graph in 8 or 4 bits, the smoothing factors of their inputs, and their use."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from yoj.runtime import roles
from yoj.runtime.schemes import SCHEMES

from .._errors import CheckpointError
from ..bundle.names import QUANTISATION, VISION_PREFIX
from ..checkpoint.weights import TensorSource
from ..families import GraphSpec, Smoothing
from ..graph.modules import Projection, WideProjection
from .schemes import INT8, STORAGES, BlockProjection, QuantisedEmbedding, QuantisedProjection, StorageTransform

FACTORS = "quantisation.safetensors"
OLD_NAMES = {QUANTISATION: "plan.json", FACTORS: "plan.safetensors"}
"""Names of both files up to yoj 0.2, still read."""
EMBEDDING = "embedding"
VERSIONS = 1, 2
"""Schema versions: without matrices of the vision tower, which an older yoj would not find, and with some."""
RANGE = "range."
"""Prefix of a matrix' name for the largest magnitude of its inputs, where the scheme is static."""


class QuantisationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Content of ``quantisation.json``; the factors are beside it in ``quantisation.safetensors``."""

    schema_version: int = 1
    scheme: str
    """Name of a scheme in `yoj.runtime.schemes.SCHEMES`."""
    layers: tuple[str, ...]
    """Matrices of the scorer by the names of their modules, and of the vision tower with `VISION_PREFIX` before."""
    embeddings: bool = False
    """Whether the embedding table has 8-bit rows."""
    checkpoint: dict[str, str]
    """Files of the checkpoint that the config is for, ``folder/name`` -> SHA-256; it fits no other."""
    about: dict[str, Any] = {}
    """Origin: samples, budget, measurements."""


@dataclass(frozen=True)
class QuantisationConfig:
    """Quantisation config with its tensors."""

    spec: QuantisationSpec
    factors: dict[str, torch.Tensor]
    """Source of a `Smoothing` -> float32 factors of its channels, and `RANGE` + matrix -> a number."""


def read_config(folder: Path) -> QuantisationConfig:
    """Read a quantisation config, also one whose files have their old names.

    Raises:
        CheckpointError: the file is missing, damaged or of another version.
    """
    file, factors = _found(folder)
    try:
        spec = msgspec.json.decode(file.read_bytes(), type=QuantisationSpec)
        tensors = load_file(factors) if factors.is_file() else {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} is no quantisation config: {error}. Make one with yoj-calibrate quantisation."
        ) from error
    if spec.schema_version not in VERSIONS:
        raise CheckpointError(
            f"{file} has schema version {spec.schema_version}, this yoj reads up to {VERSIONS[-1]}. Upgrade yoj."
        )
    if spec.scheme not in SCHEMES:
        raise CheckpointError(
            f"{file}: scheme is {spec.scheme!r}; this yoj knows {', '.join(SCHEMES)}. Upgrade yoj, or choose matrices "
            "for one of these with yoj-calibrate quantisation --scheme."
        )
    return QuantisationConfig(spec, tensors)


def _found(folder: Path) -> tuple[Path, Path]:
    """Paths of the two files of a quantisation config."""
    if not (folder / QUANTISATION).is_file() and (old := folder / OLD_NAMES[QUANTISATION]).is_file():
        warnings.warn(
            f"{old} has the name of earlier versions, which the next one will not read. Rename it to {QUANTISATION}, "
            f"and {OLD_NAMES[FACTORS]} beside it to {FACTORS}.",
            FutureWarning,
            stacklevel=3,
        )
        return old, folder / OLD_NAMES[FACTORS]
    return folder / QUANTISATION, folder / FACTORS


def write_config(config: QuantisationConfig, folder: Path) -> None:
    """Write a quantisation config into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in config.factors.items()}, folder / FACTORS)
    (folder / QUANTISATION).write_bytes(encode_spec(config))


def encode_spec(config: QuantisationConfig) -> bytes:
    """Content of ``quantisation.json``, with the lowest schema version that can say it."""
    version = VERSIONS[any(name.startswith(VISION_PREFIX) for name in config.spec.layers)]
    spec = msgspec.structs.replace(config.spec, schema_version=version)
    return msgspec.json.format(msgspec.json.encode(spec), indent=1) + b"\n"


def quantise_graphs(
    specs: Sequence[GraphSpec], smoothing: Sequence[Smoothing], config: QuantisationConfig
) -> list[GraphSpec]:
    """Graphs with the matrices of a quantisation config in 8 or 4 bits.

    Args:
        specs: graphs of a family.
        smoothing: smoothing of the same family.
        config: quantisation config for this checkpoint.

    Raises:
        CheckpointError: the config names a matrix that the model has not, or factors of another size.
    """
    return [_quantise(spec, smoothing, config) for spec in specs]


def _quantise(spec: GraphSpec, smoothing: Sequence[Smoothing], config: QuantisationConfig) -> GraphSpec:
    spec = replace(spec, module=copy.deepcopy(spec.module))
    changes = _smooth(spec, smoothing, config)
    scheme, constants = config.spec.scheme, dict(spec.constants)
    storage = STORAGES[SCHEMES[scheme].storage]
    sources = {name: _changed(name, of, changes) for name, of in spec.sources.items()}
    known = matrices(spec)
    for name in config.spec.layers:
        own = spec.own(name)
        if own is None:
            continue
        layer = known.get(name)
        if layer is None:
            raise CheckpointError(
                f"The quantisation config names the matrix {name}, which {spec.role} has not. Make a new one."
            )
        change = replace(changes.get(own, StorageTransform(factors=config.factors)), storage=storage)
        of = spec.sources[f"{own}.weight"]
        sources[f"{own}.weight"] = replace(of, change=change)
        sources[f"{own}.weight_scale"] = replace(of, change=replace(change, scale=True))
        with torch.device("meta"):
            quantised = _module(layer, scheme)
        _replace(spec.module, own, quantised)
        if isinstance(quantised, QuantisedProjection):
            constants[f"{own}.input_scale"] = _input_scale(name, quantised, config)
    if config.spec.embeddings and spec.role != roles.VISION:
        sources |= _quantise_table(spec, config)
    return replace(spec, sources=sources, constants=constants)


def quantised_module(whole: Projection, config: QuantisationConfig, name: str) -> nn.Module:
    """One quantised matrix with its values.

    Args:
        whole: matrix in float32, with the config's factors in it.
        config: quantisation config, with the range of this matrix where that is static.
        name: name of the matrix.
    """
    scheme = config.spec.scheme
    layer, change = _module(whole, scheme), StorageTransform(STORAGES[SCHEMES[scheme].storage])
    values = {"weight": change.apply(whole.weight.data, torch.float32)}
    values["weight_scale"] = replace(change, scale=True).apply(whole.weight.data, torch.float32)
    if whole.bias is not None:
        values["bias"] = whole.bias.data
    if isinstance(layer, QuantisedProjection):
        values["input_scale"] = _input_scale(name, layer, config)
    for leaf, value in values.items():
        setattr(layer, leaf, nn.Parameter(value, requires_grad=False))
    return layer


def _module(whole: Projection, scheme: str) -> QuantisedProjection | BlockProjection:
    width, out = whole.weight.shape
    known = SCHEMES[scheme]
    return STORAGES[known.storage].projection(width, out, known.static, whole.bias is not None)


def matrices(spec: GraphSpec) -> dict[str, Projection]:
    """Matrices of a graph that may be quantised, by their names in quantisation configs.

    The value head's stay in float, and those that make visual features, whose values float16 may not hold.
    """
    return {
        spec.prefix + name: module
        for name, module in spec.module.named_modules()
        if isinstance(module, Projection)
        and not isinstance(module, WideProjection)
        and f"{name}.weight" in spec.sources
    }


def _smooth(spec: GraphSpec, smoothing: Sequence[Smoothing], config: QuantisationConfig) -> dict[str, StorageTransform]:
    """Module -> the way in which its weights take the factors."""
    changes: dict[str, StorageTransform] = {}
    for group in smoothing:
        own, factors = spec.own(group.source), config.factors.get(group.source)
        if own is None or factors is None:
            continue
        consumers = [name.removeprefix(spec.prefix) for name in group.consumers]
        width = spec.module.get_submodule(consumers[0]).get_parameter("weight").shape[0]
        if tuple(factors.shape) != (width,):
            raise CheckpointError(
                f"The quantisation config has factors {list(factors.shape)} for {group.source}, the model {width} "
                "channels. Make a new one."
            )
        over = f"{group.source} over"
        outputs = spec.module.get_submodule(own).get_parameter("weight").shape[-1]
        start, stop = group.columns or (0, outputs)
        divisors = torch.ones(outputs)
        divisors[start:stop] = factors
        tensors = config.factors | {over: divisors}
        source = changes.get(own, StorageTransform())
        changes[own] = replace(source, over=over, factors=source.factors | tensors)
        for name in consumers:
            change = changes.get(name, StorageTransform())
            changes[name] = replace(change, times=group.source, factors=change.factors | tensors)
    return changes


def _changed(name: str, of: TensorSource, changes: Mapping[str, StorageTransform]) -> TensorSource:
    owner, _, leaf = name.rpartition(".")
    change = changes.get(owner)
    if change is None or leaf not in ("weight", "bias"):
        return of
    # What a layer adds is divided where its outputs are; its inputs have no part in it.
    return replace(of, change=replace(change, times=None) if leaf == "bias" else change)


def _input_scale(name: str, layer: QuantisedProjection, config: QuantisationConfig) -> torch.Tensor:
    if not layer.static:
        return torch.tensor(1.0 / layer.storage.largest)
    if RANGE + name not in config.factors:
        raise CheckpointError(f"The quantisation config is static and has no range for {name}. Make a new one.")
    return config.factors[RANGE + name].float().reshape(()) / layer.storage.largest


def _quantise_table(spec: GraphSpec, config: QuantisationConfig) -> dict[str, TensorSource]:
    table = spec.module.get_submodule(EMBEDDING)
    rows, width = table.get_parameter("weight").shape
    with torch.device("meta"):
        _replace(spec.module, EMBEDDING, QuantisedEmbedding(rows, width))
    of, change = spec.sources[f"{EMBEDDING}.weight"], StorageTransform(INT8, rows=True, factors=config.factors)
    return {
        f"{EMBEDDING}.weight": replace(of, change=change),
        f"{EMBEDDING}.weight_scale": replace(of, change=replace(change, scale=True)),
    }


def _replace(module: nn.Module, name: str, by: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    module.get_submodule(owner).add_module(leaf, by)
