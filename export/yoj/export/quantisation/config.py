"""Which matrices a graph has in 8 or 4 bits, and the factors that make their inputs easier: a plan, and its use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..bundle.names import VISION
from ..checkpoint.weights import TensorPlan
from ..errors import CheckpointError
from ..families import GraphSpec, Smoothing
from ..graph.modules import Projection, WideProjection
from .schemes import LARGEST, STORED, BlockProjection, Change, QuantisedEmbedding, QuantisedProjection, Scheme

PLAN, FACTORS = "plan.json", "plan.safetensors"
EMBEDDING = "embedding"
VERSIONS = 1, 2
"""Versions of plans: without matrices of the vision tower, which an older yoj would not find, and with some."""
RANGE = "range."
"""Before the name of a matrix: largest magnitude of its inputs, where the scheme is static."""


class Quantisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A plan, ``plan.json``; the factors are beside it in ``plan.safetensors``."""

    schema_version: int = 1
    scheme: Scheme
    layers: tuple[str, ...]
    """Matrices of the scorer by the names of their modules, and of the vision tower with `VISION` before theirs."""
    embeddings: bool = False
    """Whether the embedding table has 8-bit rows."""
    checkpoint: dict[str, str]
    """Its files, ``folder/name`` -> SHA-256: the plan is for this checkpoint and no other."""
    about: dict[str, Any] = {}
    """How it was found: samples, budget, what was measured."""


@dataclass(frozen=True)
class Plan:
    """A plan with its tensors."""

    said: Quantisation
    factors: dict[str, torch.Tensor]
    """Source of a `Smoothing` -> float32 factors of its channels, and `RANGE` + matrix -> a number."""


def read_plan(folder: Path) -> Plan:
    """Read a plan.

    Raises:
        CheckpointError: it is missing, damaged or of another version.
    """
    file = folder / PLAN
    try:
        said = msgspec.json.decode(file.read_bytes(), type=Quantisation)
        tensors = load_file(folder / FACTORS) if (folder / FACTORS).is_file() else {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{file} is no plan: {error}. Make one with yoj-calibrate plan.") from error
    if said.schema_version not in VERSIONS:
        raise CheckpointError(
            f"{file} has schema version {said.schema_version}, this yoj reads up to {VERSIONS[-1]}. Upgrade yoj."
        )
    return Plan(said, tensors)


def write_plan(plan: Plan, folder: Path) -> None:
    """Write a plan; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in plan.factors.items()}, folder / FACTORS)
    (folder / PLAN).write_bytes(encode_plan(plan))


def encode_plan(plan: Plan) -> bytes:
    """``plan.json``, of the least version that says it."""
    version = VERSIONS[any(name.startswith(VISION) for name in plan.said.layers)]
    said = msgspec.structs.replace(plan.said, schema_version=version)
    return msgspec.json.format(msgspec.json.encode(said), indent=1) + b"\n"


def quantise_graphs(specs: Sequence[GraphSpec], smoothing: Sequence[Smoothing], plan: Plan) -> list[GraphSpec]:
    """The graphs with the plan's matrices in 8 or 4 bits.

    Args:
        specs: of a family, fresh: their modules are changed.
        smoothing: of the same family.
        plan: for this checkpoint.

    Raises:
        CheckpointError: the plan names a matrix that the model has not, or factors of another size.
    """
    return [_quantise(spec, smoothing, plan) for spec in specs]


def _quantise(spec: GraphSpec, smoothing: Sequence[Smoothing], plan: Plan) -> GraphSpec:
    changes = _smooth(spec, smoothing, plan)
    scheme, constants = plan.said.scheme, dict(spec.constants)
    plans = {name: _changed(name, of, changes) for name, of in spec.plans.items()}
    known = matrices(spec)
    for name in plan.said.layers:
        own = spec.own(name)
        if own is None:
            continue
        layer = known.get(name)
        if layer is None:
            raise CheckpointError(f"The plan names the matrix {name}, which {spec.role} has not. Make a new plan.")
        change = replace(changes.get(own, Change(factors=plan.factors)), stored=STORED[scheme])
        of = spec.plans[f"{own}.weight"]
        plans[f"{own}.weight"] = replace(of, change=change)
        plans[f"{own}.weight_scale"] = replace(of, change=replace(change, scale=True))
        with torch.device("meta"):
            quantised = _module(layer, scheme)
        _replace(spec.module, own, quantised)
        if isinstance(quantised, QuantisedProjection):
            constants[f"{own}.input_scale"] = _input_scale(name, quantised, plan)
    if plan.said.embeddings and spec.role != "vision":
        plans |= _quantise_table(spec, plan)
    return replace(spec, plans=plans, constants=constants)


def quantised_module(whole: Projection, plan: Plan, name: str) -> nn.Module:
    """One matrix as the plan has it, with values.

    Args:
        whole: in float32, with the plan's factors in it.
        plan: its scheme, and the range of this matrix where that is static.
        name: of the matrix.
    """
    layer, change = _module(whole, plan.said.scheme), Change(STORED[plan.said.scheme])
    values = {"weight": change.apply(whole.weight.data, torch.float32)}
    values["weight_scale"] = replace(change, scale=True).apply(whole.weight.data, torch.float32)
    if whole.bias is not None:
        values["bias"] = whole.bias.data
    if isinstance(layer, QuantisedProjection):
        values["input_scale"] = _input_scale(name, layer, plan)
    for leaf, value in values.items():
        setattr(layer, leaf, nn.Parameter(value, requires_grad=False))
    return layer


def _module(whole: Projection, scheme: Scheme) -> QuantisedProjection | BlockProjection:
    width, out = whole.weight.shape
    kind = BlockProjection if scheme.endswith("weights") else QuantisedProjection
    return kind(width, out, scheme, whole.bias is not None)


def matrices(spec: GraphSpec) -> dict[str, Projection]:
    """The matrices of a graph that may be quantised, by their names in plans.

    The value head's stay in float, and those that make visual features, whose values float16 may not hold.
    """
    return {
        spec.prefix + name: module
        for name, module in spec.module.named_modules()
        if isinstance(module, Projection) and not isinstance(module, WideProjection) and f"{name}.weight" in spec.plans
    }


def _smooth(spec: GraphSpec, smoothing: Sequence[Smoothing], plan: Plan) -> dict[str, Change]:
    """Module -> how its weights take the factors."""
    changes: dict[str, Change] = {}
    for group in smoothing:
        own, factors = spec.own(group.source), plan.factors.get(group.source)
        if own is None or factors is None:
            continue
        consumers = [name.removeprefix(spec.prefix) for name in group.consumers]
        width = spec.module.get_submodule(consumers[0]).get_parameter("weight").shape[0]
        if tuple(factors.shape) != (width,):
            raise CheckpointError(
                f"The plan has factors {list(factors.shape)} for {group.source}, the model {width} channels. Make a "
                "new plan."
            )
        over = f"{group.source} over"
        outputs = spec.module.get_submodule(own).get_parameter("weight").shape[-1]
        start, stop = group.columns or (0, outputs)
        divisors = torch.ones(outputs)
        divisors[start:stop] = factors
        tensors = plan.factors | {over: divisors}
        source = changes.get(own, Change())
        changes[own] = replace(source, over=over, factors=source.factors | tensors)
        for name in consumers:
            change = changes.get(name, Change())
            changes[name] = replace(change, times=group.source, factors=change.factors | tensors)
    return changes


def _changed(name: str, of: TensorPlan, changes: Mapping[str, Change]) -> TensorPlan:
    owner, _, leaf = name.rpartition(".")
    change = changes.get(owner)
    if change is None or leaf not in ("weight", "bias"):
        return of
    # What a layer adds is divided where its outputs are; its inputs have no part in it.
    return replace(of, change=replace(change, times=None) if leaf == "bias" else change)


def _input_scale(name: str, layer: QuantisedProjection, plan: Plan) -> torch.Tensor:
    if not layer.static:
        return torch.tensor(1.0 / LARGEST[layer.stored])
    if RANGE + name not in plan.factors:
        raise CheckpointError(f"The plan is static and has no range for {name}. Make a new plan.")
    return plan.factors[RANGE + name].float().reshape(()) / LARGEST[layer.stored]


def _quantise_table(spec: GraphSpec, plan: Plan) -> dict[str, TensorPlan]:
    table = spec.module.get_submodule(EMBEDDING)
    rows, width = table.get_parameter("weight").shape
    with torch.device("meta"):
        _replace(spec.module, EMBEDDING, QuantisedEmbedding(rows, width))
    of, change = spec.plans[f"{EMBEDDING}.weight"], Change("int8", rows=True, factors=plan.factors)
    return {
        f"{EMBEDDING}.weight": replace(of, change=change),
        f"{EMBEDDING}.weight_scale": replace(of, change=replace(change, scale=True)),
    }


def _replace(module: nn.Module, name: str, by: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    module.get_submodule(owner).add_module(leaf, by)
