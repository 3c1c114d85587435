"""Optimisation profiles: the shapes that a plan is built for, by axis letter, within the bundle's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from yoj.runtime.batch import BATCH_TOKENS
from yoj.runtime.errors import EngineError
from yoj.runtime.families import FAMILIES
from yoj.runtime.manifest import AXES, Graph, Manifest, ShapeProfile
from yoj.runtime.roles import VISION

Profile = Mapping[str, ShapeProfile]


def _sizes(**sizes: tuple[int, int, int]) -> dict[str, ShapeProfile]:
    return {letter: ShapeProfile(min=low, opt=opt, max=high) for letter, (low, opt, high) in sizes.items()}


LONG = _sizes(B=(1, 1, 2), L=(512, 2048, 8192), N=(2, 4, 64), V=(1, 512, 8192))
"""Profile of one request or two: at 4B, activations of 8 x 8192 tokens take 4.7 GB. Shorter rows are padded to
``min``."""
SHORT = LONG | _sizes(B=(1, 16, 64), L=(16, 128, 512))
"""Profile of many short rows."""
IMAGES = _sizes(C=(1, 9, 64), F=(1, 1, 8), P=(16, 1024, 16384), V=(4, 512, 8192), K=(1, 4, 9))
"""Profile of a few large images. C and V of Molmo2 hold its frames too."""
FRAMES = IMAGES | _sizes(F=(1, 16, 128), P=(16, 256, 1024))
"""Profile of many small frames."""


def profiles_of(
    role: str, graph: Graph, manifest: Manifest, asked: Sequence[Profile] = (), room: int | None = None
) -> tuple[dict[str, ShapeProfile], ...]:
    """Optimisation profiles of one graph.

    Args:
        role: role of the graph.
        graph: graph whose letters need sizes.
        manifest: manifest, whose limits cut larger sizes.
        asked: profiles instead of the default ones; letters that one does not name have their default size.
        room: most bytes of attention where it holds the scores of all heads at once; cuts the default profiles.

    Raises:
        EngineError: the graph has an axis without a default size, or a profile that was asked for begins beyond what
            the bundle allows.
    """
    defaults = (IMAGES, FRAMES) if role == VISION else (LONG, SHORT)
    letters = sorted({axis for spec in graph.inputs for axis in spec.shape if isinstance(axis, str)})
    if missing := set(letters) - defaults[0].keys():
        raise EngineError(f"{graph.file} has axes {', '.join(sorted(missing))}, whose sizes nobody set. Upgrade yoj.")
    found: list[dict[str, ShapeProfile]] = []
    for profile in tuple({**defaults[0], **profile} for profile in asked) or defaults:
        clipped = {letter: _clip(letter, profile[letter], profile, manifest) for letter in letters}
        if beyond := [letter for letter in letters if asked and profile[letter].min > clipped[letter].max]:
            limits = ", ".join(f"{letter} up to {clipped[letter].max}" for letter in beyond)
            raise EngineError(f"The profile {sizes_text(profile)} begins beyond what {role} allows: {limits}.")
        if room is not None and not asked:
            heads = manifest.vision_heads if role == VISION else manifest.attention_heads
            clipped |= _within(room // (4 * heads), clipped, manifest)
        if clipped not in found:
            found.append(clipped)
    return tuple(found)


def sizes_text(profile: Profile) -> str:
    """Profile as text, such as ``L 512/2048/8192, N 2/4/64``."""
    return ", ".join(f"{letter} {size.min}/{size.opt}/{size.max}" for letter, size in profile.items())


def parse_profile(text: str) -> Profile:
    """Parse ``L=512:2048:8192,N=2:4:64`` to min, opt and max by axis letter.

    Raises:
        ValueError: the text does not have this form; the error says what is wrong.
    """
    profile: dict[str, ShapeProfile] = {}
    for part in text.split(","):
        letter, _, sizes = part.strip().partition("=")
        numbers = sizes.split(":")
        if letter not in AXES or letter in profile or len(numbers) != 3 or not all(n.isdecimal() for n in numbers):
            raise ValueError(f"{part!r} is not LETTER=MIN:OPT:MAX with a letter of {', '.join(AXES)}, each once")
        low, opt, high = map(int, numbers)
        if not 1 <= low <= opt <= high:
            raise ValueError(f"{part!r}: the sizes must rise from 1 or more")
        profile[letter] = ShapeProfile(min=low, opt=opt, max=high)
    return profile


def _clip(letter: str, sizes: ShapeProfile, profile: Profile, manifest: Manifest) -> ShapeProfile:
    """Sizes of one axis within the bundle's limits, in multiples that the graph needs."""
    multiple = _multiple(letter, manifest)
    limits = manifest.limits
    rows = min(profile["L"].max if "L" in profile else LONG["L"].max, limits.L)
    # Each visual token has its place in a row, and a batch of several rows has at most BATCH_TOKENS places.
    most = {"L": limits.L, "N": limits.N, "V": max(rows, BATCH_TOKENS), "P": multiple * rows}.get(letter, sizes.max)
    high = max(multiple, min(sizes.max, most) // multiple * multiple)
    low = min(high, -(-sizes.min // multiple) * multiple)
    return ShapeProfile(min=low, opt=max(low, min(high, sizes.opt // multiple * multiple)), max=high)


def _multiple(letter: str, manifest: Manifest) -> int:
    """Number that the size of an axis is always a multiple of."""
    return FAMILIES[manifest.family].multiples(manifest.preprocessing).get(letter, 1)


def _within(room: int, profile: Profile, manifest: Manifest) -> dict[str, ShapeProfile]:
    """Profile with fewer sequences, then shorter ones, so that sequences x length x length is within ``room``."""
    cut: dict[str, ShapeProfile] = {}
    for many, length in (("B", "L"), ("F", "P")):
        if many in profile and length in profile:
            longest = min(profile[length].max, math.isqrt(room))
            cut[length] = _at_most(longest, profile[length], _multiple(length, manifest))
            cut[many] = _at_most(room // cut[length].max ** 2, profile[many], 1)
    return cut


def _at_most(limit: int, sizes: ShapeProfile, multiple: int) -> ShapeProfile:
    high = max(multiple, min(sizes.max, limit) // multiple * multiple)
    return ShapeProfile(min=min(sizes.min, high), opt=min(sizes.opt, high), max=high)
