"""Value head: read from its file, checked against its settings, never invented."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from yoj.runtime.manifest import HeadType, Readout

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
"""Type of a head -> prefixes of its linear layers' keys; an activation stands between two layers."""
KEYS = {
    kind: tuple(f"{layer}{leaf}" for layer in layers for leaf in ("weight", "bias")) for kind, layers in HEADS.items()
}
"""Type of a head -> keys of its tensors."""


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
    "first": ReadoutKind(row="first", of=lambda first, _: first),
    "response_mean": ReadoutKind(of=None),
    "first_last_concat": ReadoutKind(width=2, of=lambda first, last: torch.cat([first, last], dim=-1)),
    "first_last_add": ReadoutKind(of=lambda first, last: first + last),
    "first_last_sub": ReadoutKind(of=lambda first, last: last - first),
}
"""``resp_repr_mode`` of the YOJO code -> the read-out."""


@dataclass(frozen=True)
class TrainedHead:
    """Value head with its weights in float32.

    It gives out = head(h) / divisor for each response, and the score is out[0]. A Gaussian head has a second
    output: spread = exp(out[1]) is the sigma that it states, in units of the score. That is not calibrated, for sigma
    cannot be identified from preferences alone (arXiv 2605.11865).
    """

    type: HeadType
    activation: str | None
    readout: Readout
    tensors: dict[str, torch.Tensor]
    """Keys as trained: ``weight, bias`` (linear) or ``0.weight, 0.bias, 2.weight, 2.bias`` (mlp)."""
    outputs: int = 1
    """Number of outputs, 1 for the score; 2 for a Gaussian head: rows 0 and 1 of the last layer give mean and log
    sigma."""
    layout: TrainedLayout = MULTI_RESPONSE
    divides_by: float | None = None
    """Divisor of the outputs; None for sqrt(hidden size), as in the YOJO code."""
    notes: tuple[str, ...] = ()
    """Notices for the person who exports it, on how it was read."""

    def divisor(self, hidden_size: int) -> float:
        """Divisor of every output."""
        return divisor(hidden_size) if self.divides_by is None else self.divides_by

    def make(self, linear: Callable[[int, int], nn.Module]) -> nn.Module:
        """Layers of the head without its values, from a function that makes a layer of so many inputs and outputs."""
        first, *others = (linear(*self.tensors[f"{layer}weight"].shape[::-1]) for layer in HEADS[self.type])
        if not others:
            return first
        assert self.activation is not None
        activation = ACTIVATIONS[self.activation]
        return nn.Sequential(first, *(module for layer in others for module in (activation(), layer)))

    def module(self) -> nn.Module:
        """Head as the YOJO code builds it: [..., width] -> [..., outputs], float32, not yet divided."""
        head = self.make(nn.Linear)
        head.load_state_dict(self.tensors)
        return head.eval().requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        """Content of ``reward_model_config.json`` that `read_head` reads as this head."""
        first = self.tensors[KEYS[self.type][0]]
        settings = {
            "value_head_type": self.type,
            "value_head_hidden_dim": first.shape[0] if len(HEADS[self.type]) > 1 else None,
            "value_head_activation": self.activation,
            "value_head_input_dim": first.shape[1],
            "resp_repr_mode": self.readout,
        }
        return settings | ({} if self.outputs == 1 else {"value_head_outputs": self.outputs})


@dataclass(frozen=True)
class HeadShape:
    """Sizes of a value head."""

    type: str
    width: int
    """Number of values that it reads."""
    hidden: int
    """Number of values between two layers."""
    outputs: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor, by its key."""
        layers = HEADS[self.type]
        sizes = [self.width, *[self.hidden] * (len(layers) - 1), self.outputs]
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, width, out in zip(layers, sizes[:-1], sizes[1:], strict=True):
            shapes |= {f"{layer}weight": (out, width), f"{layer}bias": (out,)}
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
    kind, readout = settings.get("value_head_type"), settings.get("resp_repr_mode", "last")
    layers = len(HEADS.get(kind, ())) if isinstance(kind, str) else 0
    activation = settings.get("value_head_activation") if layers > 1 else None
    outputs = settings.get("value_head_outputs", 1)
    problems: list[str] = []
    if not isinstance(kind, str) or kind not in KEYS:
        problems.append(f"value_head_type is {kind!r}; known are {', '.join(KEYS)}")
    if layers > 1 and not (isinstance(activation, str) and activation in ACTIVATIONS):
        problems.append(f"value_head_activation is {activation!r}; known are {', '.join(ACTIVATIONS)}")
    if not isinstance(readout, str) or readout not in READOUTS:
        problems.append(f"resp_repr_mode is {readout!r}; known are {', '.join(READOUTS)}")
    if type(outputs) is not int or outputs not in (1, 2):
        problems.append(f"value_head_outputs is {outputs!r}; known are 1, the score, and 2, mean and log sigma")
    for name in ("value_head_hidden_dim", "value_head_input_dim"):
        if (size := settings.get(name)) is not None and type(size) is not int:
            problems.append(f"{name} is {size!r}, expected a whole number")
    if problems:
        raise CheckpointError(f"{settings_file}: {'; '.join(problems)}. Correct it to what the head was trained with.")
    file, tensors = read_head_file(folder)
    _check_shapes(file, tensors, str(kind), settings, hidden_size * READOUTS[readout].width)
    trained = {key: tensors[key].float() for key in KEYS[str(kind)]}
    return TrainedHead(cast(HeadType, kind), activation, cast(Readout, readout), trained, outputs)


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
    file: Path, tensors: dict[str, torch.Tensor], kind: str, settings: dict[str, Any], width: int
) -> None:
    if sorted(tensors) != sorted(KEYS[kind]):
        raise CheckpointError(
            f"{file} holds {', '.join(sorted(tensors))}; a {kind} head has {', '.join(KEYS[kind])}. Set "
            f"value_head_type in {SETTINGS} to what was trained."
        )
    middle = settings.get("value_head_hidden_dim") or width
    rows = settings.get("value_head_outputs", 1)
    expected = HeadShape(kind, width, middle, rows).tensors()
    problems = [
        f"{key} is {tuple(tensors[key].shape)}, expected {shape}"
        for key, shape in expected.items()
        if tuple(tensors[key].shape) != shape
    ]
    last = tuple(tensors[KEYS[kind][-2]].shape)
    if last[:1] != (rows,):
        said = "value_head_outputs is" if "value_head_outputs" in settings else "without value_head_outputs it is"
        problems.append(f"{SETTINGS}: {said} {rows}, but the last layer is {last}")
    if (stated := settings.get("value_head_input_dim")) not in (None, width):
        problems.append(f"{SETTINGS} says value_head_input_dim {stated}, the backbone and read-out give {width}")
    problems += [f"{key} holds NaN or infinity" for key, value in tensors.items() if not value.isfinite().all()]
    if problems:
        raise CheckpointError(
            f"{file} does not fit the backbone and {SETTINGS}: {'; '.join(problems)}. Use the head that was trained "
            "with this backbone, and set value_head_outputs to 2 for a head with mean and log sigma."
        )
