"""Value head: read from its file, checked against its settings, never invented."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from yoj.runtime.manifest import Dimension, HeadType, Piece, Pooling, Readout, ValueHead

from .._errors import CheckpointError
from ._head_files import read_head_file
from ._text_files import read_json
from ._trained_layouts import MULTI_RESPONSE, TrainedLayout

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}
SETTINGS = "reward_model_config.json"
HEADS: dict[str, tuple[str, ...]] = {"linear": ("",), "mlp": ("0.", "2.")}
"""Type of a head -> prefixes of its linear layers' keys; an activation stands between two layers. An ``mlp`` may have
more of them, whose numbers go on in steps of two."""
DIMENSION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""Form of a dimension's name, which is a part of the keys of tensors."""


def layer_prefixes(kind: str, hidden_layers: int) -> tuple[str, ...]:
    """Prefixes of the keys of a head's linear layers.

    Args:
        kind: type of the head, one of `HEADS`.
        hidden_layers: number of layers before the last; a ``linear`` head has none, whatever is said.
    """
    return HEADS[kind] if len(HEADS[kind]) == 1 else tuple(f"{2 * number}." for number in range(hidden_layers + 1))


@dataclass(frozen=True, kw_only=True)
class ReadoutKind:
    """Read-out: the rule by which the tokens of a response become the input of the head."""

    row: Literal["first", "last"] | None = None
    """The one token that is read; None where several are."""
    width: int = 1
    """Number of hidden states that the head reads side by side."""
    of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None
    """Function of the hidden states [..., D] of the first and the last token; None for the mean over all tokens."""


READOUTS: dict[str, ReadoutKind] = {
    "last": ReadoutKind(row="last", of=lambda _, last: last),
    "token": ReadoutKind(row="last", of=lambda _, last: last),
    "first": ReadoutKind(row="first", of=lambda first, _: first),
    "response_mean": ReadoutKind(of=None),
    "first_last_concat": ReadoutKind(width=2, of=lambda first, last: torch.cat([first, last], dim=-1)),
    "first_last_add": ReadoutKind(of=lambda first, last: first + last),
    "first_last_sub": ReadoutKind(of=lambda first, last: last - first),
}
"""``resp_repr_mode`` of the YOJO code -> the read-out. ``token`` is of none of its heads: the special token that the
head reads, ``value_head_token``, stands where ``response_end`` says, so that the graph is that of ``last``."""


class DimensionHeads(nn.Module):
    """Heads of named dimensions side by side, each a submodule by its dimension's name."""

    def __init__(self, heads: Mapping[str, nn.Module]):
        super().__init__()
        for name, head in heads.items():
            self.add_module(name, head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of every head: [..., width] -> [..., J, outputs]."""
        return torch.stack([head(x) for head in self.children()], dim=-2)


@dataclass(frozen=True)
class TrainedHead:
    """Value head with its weights in float32.

    It gives out = head(h) / divisor for each response, and the score is out[0]. A Gaussian head has a second
    output: spread = exp(out[1]) is the sigma that it states, in units of the score. That is not calibrated, for sigma
    cannot be identified from preferences alone (arXiv 2605.11865). Where dimensions are named, each has a head of its
    own, of the same type and sizes.
    """

    type: HeadType
    activation: str | None
    readout: Readout
    tensors: dict[str, torch.Tensor]
    """Keys as trained: ``weight, bias`` (linear) or ``0.weight, 0.bias, 2.weight, 2.bias`` and so on (mlp); where
    dimensions are named, behind the dimension: ``quality.0.weight``."""
    outputs: int = 1
    """Number of outputs of a dimension, 1 for the score; 2 for a Gaussian head: rows 0 and 1 of the last layer give
    mean and log sigma."""
    layout: TrainedLayout = MULTI_RESPONSE
    divides_by: float | None = None
    """Divisor of the outputs; None for sqrt(hidden size), as in the YOJO code."""
    notes: tuple[str, ...] = ()
    """Notices for the person who exports it, on how it was read."""
    dimensions: tuple[str, ...] = ()
    """Names of the dimensions, in the order of the graph's outputs; empty for the one score without a name."""
    pooling: Pooling = "mean"
    """Rule by which the dimensions become the score."""
    asks: tuple[tuple[Piece, ...], ...] = ()
    """Pieces behind the response where each dimension is read; empty where nothing is asked."""

    def manifest_entry(self, hidden_size: int, hidden_state: Literal["post_norm", "pre_norm"]) -> ValueHead:
        """Entry of the head in a bundle's manifest.

        Args:
            hidden_size: D of the backbone.
            hidden_state: hidden state that the head reads.
        """
        asks = self.asks or ((),) * len(self.dimensions)
        return ValueHead(
            type=self.type,
            activation=self.activation,
            readout=self.readout,
            hidden_state=hidden_state,
            divisor=self.divisor(hidden_size),
            outputs=self.outputs,
            dimensions=tuple(Dimension(name=name, asks=ask) for name, ask in zip(self.dimensions, asks, strict=True)),
            pooling=self.pooling,
        )

    def divisor(self, hidden_size: int) -> float:
        """Divisor of every output."""
        return divisor(hidden_size) if self.divides_by is None else self.divides_by

    def make(self, linear: Callable[[int, int], nn.Module]) -> nn.Module:
        """Layers of the head without its values, from a function that makes a layer of so many inputs and outputs."""
        if not self.dimensions:
            return self._stack("", linear)
        return DimensionHeads({name: self._stack(f"{name}.", linear) for name in self.dimensions})

    def _stack(self, prefix: str, linear: Callable[[int, int], nn.Module]) -> nn.Module:
        """Layers of the head whose keys begin with ``prefix``."""
        first, *others = (linear(*shape[::-1]) for shape in self._weights(prefix))
        if not others:
            return first
        assert self.activation is not None
        activation = ACTIVATIONS[self.activation]
        return nn.Sequential(first, *(module for layer in others for module in (activation(), layer)))

    def _weights(self, prefix: str) -> list[torch.Size]:
        """Shapes [out, in] of the weights of the head whose keys begin with ``prefix``, by layer."""
        own = [key for key in self.tensors if key.startswith(prefix) and key.endswith("weight")]
        layers = layer_prefixes(self.type, len(own) - 1)
        return [self.tensors[f"{prefix}{layer}weight"].shape for layer in layers]

    def module(self) -> nn.Module:
        """Head as the YOJO code builds it: [..., width] -> [..., outputs], float32, not yet divided.

        Where dimensions are named, [..., J, outputs].
        """
        head = self.make(nn.Linear)
        head.load_state_dict(self.tensors)
        return head.eval().requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        """Content of ``reward_model_config.json`` that `read_head` reads as this head."""
        first, *others = self._weights(f"{self.dimensions[0]}." if self.dimensions else "")
        hidden = [first[0], *(weight[0] for weight in others)][:-1]
        settings: dict[str, Any] = {
            "value_head_type": self.type,
            "value_head_hidden_dim": hidden if len(hidden) > 1 else hidden[0] if hidden else None,
            "value_head_activation": self.activation,
            "value_head_input_dim": first[1],
            "resp_repr_mode": self.readout,
        }
        if self.outputs != 1:
            settings["value_head_outputs"] = self.outputs
        if self.dimensions:
            settings |= {"value_head_dimensions": list(self.dimensions), "value_head_pooling": self.pooling}
        if self.asks:
            *texts, token = self.asks[0]
            settings |= {"value_head_ask": "".join(piece.value for piece in texts), "value_head_token": token.value}
        return settings


@dataclass(frozen=True)
class HeadShape:
    """Sizes of a value head."""

    type: str
    width: int
    """Number of values that it reads."""
    hidden: int | tuple[int, ...]
    """Number of values between two layers; several numbers for a head of more layers."""
    outputs: int
    dimensions: tuple[str, ...] = ()
    """Names of its dimensions, each with layers of these sizes; empty for one head without a name."""

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor, by its key."""
        hidden = self.hidden if isinstance(self.hidden, tuple) else (self.hidden,)
        layers = layer_prefixes(self.type, len(hidden))
        sizes = [self.width, *hidden[: len(layers) - 1], self.outputs]
        shapes: dict[str, tuple[int, ...]] = {}
        for dimension in [f"{name}." for name in self.dimensions] or [""]:
            for layer, width, out in zip(layers, sizes[:-1], sizes[1:], strict=True):
                shapes |= {f"{dimension}{layer}weight": (out, width), f"{dimension}{layer}bias": (out,)}
        return shapes

    def fresh(self, init_std: float, seed: int) -> dict[str, torch.Tensor]:
        """Values before training: weights N(0, init_std), biases 0 (as the YOJO code begins, with 0.01)."""
        generator = torch.Generator().manual_seed(seed)
        return {
            key: torch.zeros(shape) if len(shape) == 1 else torch.randn(*shape, generator=generator) * init_std
            for key, shape in self.tensors().items()
        }


def transposed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights [out, in] of a head's file as the graph multiplies by them, [in, out], or back; biases as they are."""
    return {key: value.t().contiguous() for key, value in tensors.items()}


def read_head(folder: Path, hidden_size: int) -> TrainedHead:
    """Read and check the value head of a checkpoint folder.

    Args:
        folder: folder with ``reward_model_config.json`` and ``value_head.safetensors`` (preferred) or
            ``value_head.pt``.
        hidden_size: D of the backbone; the head reads D values, or 2D with ``first_last_concat``.

    Raises:
        CheckpointError: a file is missing or unreadable, a setting unknown, a shape does not fit, or two files hold
            different heads.
    """
    settings_file = folder / SETTINGS
    settings = _read_settings(settings_file)
    if problems := list(_problems(settings)):
        raise CheckpointError(f"{settings_file}: {'; '.join(problems)}. Correct it to what the head was trained with.")
    kind, readout = settings["value_head_type"], settings.get("resp_repr_mode", "last")
    width = hidden_size * READOUTS[readout].width
    middle = settings.get("value_head_hidden_dim") or width
    shape = HeadShape(
        kind,
        width,
        tuple(middle) if isinstance(middle, list) else middle,
        settings.get("value_head_outputs", 1),
        tuple(settings.get("value_head_dimensions") or ()),
    )
    file, tensors = read_head_file(folder)
    _check_shapes(file, tensors, shape, settings)
    return TrainedHead(
        cast(HeadType, kind),
        settings["value_head_activation"] if len(HEADS[kind]) > 1 else None,
        cast(Readout, readout),
        {key: tensors[key].float() for key in shape.tensors()},
        shape.outputs,
        dimensions=shape.dimensions,
        pooling=settings.get("value_head_pooling", "mean"),
        asks=asks_before(settings["value_head_token"], settings.get("value_head_ask", ""), shape.dimensions)
        if readout == "token"
        else (),
    )


def asks_before(token: str, ask: str, dimensions: Sequence[str]) -> tuple[tuple[Piece, ...], ...]:
    """Pieces behind the response by dimension, where one token is read for all of them.

    Args:
        token: special token that the head reads.
        ask: text between a response and the token; may be empty.
        dimensions: names of the dimensions.
    """
    asked = (Piece(kind="text", value=ask),) if ask else ()
    return ((*asked, Piece(kind="token", value=token)),) * len(dimensions)


def _problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings of a head that are not known."""
    kind, readout = settings.get("value_head_type"), settings.get("resp_repr_mode", "last")
    layers = len(HEADS.get(kind, ())) if isinstance(kind, str) else 0
    activation, outputs = settings.get("value_head_activation"), settings.get("value_head_outputs", 1)
    if not layers:
        yield f"value_head_type is {kind!r}; known are {', '.join(HEADS)}"
    if layers > 1 and not (isinstance(activation, str) and activation in ACTIVATIONS):
        yield f"value_head_activation is {activation!r}; known are {', '.join(ACTIVATIONS)}"
    if not isinstance(readout, str) or readout not in READOUTS:
        yield f"resp_repr_mode is {readout!r}; known are {', '.join(READOUTS)}"
    token = settings.get("value_head_token")
    if (readout == "token") != isinstance(token, str):
        yield f"resp_repr_mode is {readout!r} and value_head_token {token!r}; a token that is read needs both"
    if readout == "token" and not settings.get("value_head_dimensions"):
        yield "resp_repr_mode token needs value_head_dimensions, if only one"
    if type(outputs) is not int or outputs not in (1, 2):
        yield f"value_head_outputs is {outputs!r}; known are 1, the score, and 2, mean and log sigma"
    hidden, width = settings.get("value_head_hidden_dim"), settings.get("value_head_input_dim")
    several = isinstance(hidden, list) and len(hidden) > 1
    if hidden is not None and not all(map(_is_size, hidden if several else [hidden])):
        yield f"value_head_hidden_dim is {hidden!r}, expected a whole number, or several for a head of more layers"
    if width is not None and not _is_size(width):
        yield f"value_head_input_dim is {width!r}, expected a whole number"
    yield from _dimension_problems(settings)


def _is_size(stated: object) -> bool:
    return type(stated) is int and stated > 0


def _dimension_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """Faults of the names of dimensions and of their pooling."""
    stated, pooling = settings.get("value_head_dimensions"), settings.get("value_head_pooling", "mean")
    if pooling not in get_args(Pooling):
        yield f"value_head_pooling is {pooling!r}; known are {', '.join(get_args(Pooling))}"
    if stated is None:
        return
    if not isinstance(stated, list) or not stated or not all(isinstance(name, str) for name in stated):
        yield f"value_head_dimensions is {stated!r}, expected a list of names"
        return
    yield from wrong_names(stated, "value_head_dimensions")


def wrong_names(names: Sequence[str], setting: str) -> Iterator[str]:
    """Faults of the names of dimensions, as a setting has them: such that cannot be parts of keys, and equal ones."""
    if wrong := [name for name in names if not DIMENSION_NAME.fullmatch(name) or hasattr(nn.Module(), name)]:
        yield (
            f"{setting} has {', '.join(map(repr, wrong))}; a name begins with a letter, goes on with letters, digits, "
            "- and _, and is none that every PyTorch module has"
        )
    if len(set(names)) < len(names):
        yield f"{setting} is {list(names)!r}, which names one twice"


def divisor(hidden_size: int) -> float:
    """Divisor sqrt(D): the YOJO code divides every output by it, also where the head reads 2D values."""
    return math.sqrt(hidden_size)


def _read_settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CheckpointError(
            f"{file} is missing; it says which head was trained. Copy it from the training checkpoint, or write it: "
            '{"value_head_type": "mlp", "value_head_hidden_dim": 1024, "value_head_activation": "silu", '
            '"value_head_input_dim": 2560, "resp_repr_mode": "last"} with the values used in training.'
        )
    return read_json(file)


def _check_shapes(
    file: Path, tensors: Mapping[str, torch.Tensor], shape: HeadShape, settings: Mapping[str, Any]
) -> None:
    expected = shape.tensors()
    if sorted(tensors) != sorted(expected):
        dimensions = f" with the dimensions {', '.join(shape.dimensions)}" if shape.dimensions else ""
        raise CheckpointError(
            f"{file} holds {', '.join(sorted(tensors))}; a {shape.type} head{dimensions} has {', '.join(expected)}. "
            f"Set value_head_type, value_head_dimensions and, of a head of more layers, the list value_head_hidden_dim "
            f"in {SETTINGS} to what was trained."
        )
    problems = [
        f"{key} is {tuple(tensors[key].shape)}, expected {size}"
        for key, size in expected.items()
        if tuple(tensors[key].shape) != size
    ]
    last = tuple(tensors[list(expected)[-2]].shape)
    if last[:1] != (shape.outputs,):
        said = "value_head_outputs is" if "value_head_outputs" in settings else "without value_head_outputs it is"
        problems.append(f"{SETTINGS}: {said} {shape.outputs}, but the last layer is {last}")
    if (stated := settings.get("value_head_input_dim")) not in (None, shape.width):
        problems.append(f"{SETTINGS} says value_head_input_dim {stated}, the backbone and read-out give {shape.width}")
    problems += [f"{key} holds NaN or infinity" for key, value in tensors.items() if not value.isfinite().all()]
    if problems:
        raise CheckpointError(
            f"{file} does not fit the backbone and {SETTINGS}: {'; '.join(problems)}. Use the head that was trained "
            "with this backbone, and set value_head_outputs to 2 for a head with mean and log sigma."
        )
