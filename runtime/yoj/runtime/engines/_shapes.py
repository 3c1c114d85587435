"""Requests of any shape on plans with a few optimisation profiles: choice of profile, padding, and rows of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..families import Arrays
from ..manifest import Graph, ShapeProfile, TensorSpec

STEPS = {"B": 1, "L": 64, "N": 4, "V": 64, "C": 1}
"""Axes that may be padded -> the multiple that a size is rounded up to, so that few shapes repeat often and their CUDA
graphs can be kept. Patches and slots to pool are never padded: the vision tower would attend to them."""
ABSENT = {"segment_ids": -1, "response_start": -1, "response_end": -1}
"""Padding values other than zero, as in `yoj.runtime.batch.scorer_inputs`."""

Profile = Mapping[str, ShapeProfile]


def sizes_of(specs: Sequence[TensorSpec], arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Size of each axis letter, which all arrays must have in common.

    Raises:
        EngineError: an array is missing, or has another type or shape than its spec.
    """
    sizes: dict[str, int] = {}
    problems: list[str] = []
    for spec in specs:
        array = arrays.get(spec.name)
        if array is None:
            problems.append(f"{spec.name} is missing")
        elif array.dtype.name != spec.dtype or not _agrees(spec, array.shape, sizes):
            takes = f"{spec.dtype} [{', '.join(map(str, spec.shape))}]"
            problems.append(f"{spec.name} is {array.dtype} {list(array.shape)}, the graph takes {takes}")
    if problems:
        raise EngineError("The inputs do not fit the graph:\n  " + "\n  ".join(problems))
    return sizes


def _agrees(spec: TensorSpec, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Whether a shape is the spec's; letters that are met for the first time are noted in ``sizes``."""
    expected = [
        sizes.setdefault(axis, size) if isinstance(axis, str) else axis
        for axis, size in zip(spec.shape, shape, strict=False)
    ]
    return list(shape) == expected and len(shape) == len(spec.shape)


def choose_profile(role: str, profiles: Sequence[Profile], sizes: Mapping[str, int]) -> tuple[int, dict[str, int]]:
    """Find the optimisation profile that takes these sizes with the least padding.

    Returns:
        Index of the profile, and the sizes after padding.

    Raises:
        EngineError: no profile takes them; the text lists all.
    """
    fitting: list[tuple[int, int, dict[str, int]]] = []
    for index, profile in enumerate(profiles):
        padded = {letter: _padded(letter, size, profile[letter]) for letter, size in sizes.items()}
        if all(profile[letter].min <= size <= profile[letter].max for letter, size in padded.items()):
            fitting.append((int(np.prod(list(padded.values()))), index, padded))
    if fitting:
        _, index, padded = min(fitting, key=lambda choice: choice[:2])
        return index, padded
    asked = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
    held = "\n  ".join(describe_profile(profile) for profile in profiles)
    wider = ",".join(
        f"{letter}={min(p[letter].min for p in profiles)}:{size}:{size}"
        for letter, size in sizes.items()
        if size > max(profile[letter].max for profile in profiles)
    )
    fix = f"build plans for it: yoj-export compile --profile {wider}" if wider else "build plans with such a profile"
    raise EngineError(
        f"No profile of {role} takes {asked}. Its plan has (smallest..largest):\n  {held}\n"
        f"Shorten the request, {fix}, or use the engine onnxruntime."
    )


def describe_profile(profile: Profile) -> str:
    """Ranges of a profile as text, such as ``B 1..8, L 512..8192``."""
    return ", ".join(f"{letter} {size.min}..{size.max}" for letter, size in profile.items())


def rows_at_once(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> int:
    """Largest B that some profile takes of a batch of these sizes; the whole B where there is no such axis.

    Rows do not see each other, so a batch of more rows than a profile has can be run in parts.
    """
    if "B" not in sizes:
        return 1
    others = {letter: size for letter, size in sizes.items() if letter != "B"}
    able = [
        profile["B"].max for profile in profiles if all(size <= profile[letter].max for letter, size in others.items())
    ]
    return max(able, default=sizes["B"])


def parts(graph: Graph, inputs: Arrays, rows: int) -> Iterator[Arrays]:
    """Split inputs into parts of at most so many rows; inputs without the axis B are in every part."""
    by_row = {spec.name for spec in graph.inputs if spec.shape[0] == "B"}
    total = max((len(inputs[name]) for name in by_row), default=1)
    for begin in range(0, total, rows) if by_row else (0,):
        yield {n: a[begin : begin + rows] if n in by_row else a for n, a in inputs.items()}


def fill(target: NDArray[Any], name: str, array: NDArray[Any]) -> None:
    """Write ``array`` to the beginning of every axis of ``target``, and padding behind it."""
    if target.shape != array.shape:
        target[...] = ABSENT.get(name, 0)
    target[tuple(slice(size) for size in array.shape)] = array


def cut(array: NDArray[Any], spec: TensorSpec, sizes: Mapping[str, int]) -> NDArray[Any]:
    """Copy of an output without the rows that padding of the inputs added."""
    return array[tuple(slice(sizes.get(axis) if isinstance(axis, str) else None) for axis in spec.shape)].copy()


def _padded(letter: str, size: int, profile: ShapeProfile) -> int:
    if letter not in STEPS or size > profile.max:
        return size
    return min(profile.max, max(profile.min, -(-size // STEPS[letter]) * STEPS[letter]))
