"""Identities: equal for what is the same, unlike for what is not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from yoj.integrations._identity import identity
from yoj.runtime import Image, MediaError, Message, Video

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


def without_none(value):
    if isinstance(value, dict):
        return {name: without_none(one) for name, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list) else value


def exact(value) -> str:
    """A text that is the same for the same values alone, whatever the order of their names."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name!r}:{exact(value[name])}" for name in sorted(value)) + "}"
    return "[" + ",".join(map(exact, value)) + "]" if isinstance(value, list) else repr(value)


@given(plain, plain)
def test_identities_are_equal_where_values_are_the_same_but_for_fields_of_none(one, other):
    same = exact(without_none(one)) == exact(without_none(other))
    assert (identity(one)[0] == identity(other)[0]) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Message("user", "Why?"), {"role": "user", "content": "Why?"}),
        (Image(b"x"), {"type": "image", "image": b"x", "text": None}),
        (Video("a", fps=2.0), {"type": "video", "video": "a", "fps": 2.0}),
        (("a", "b"), ["a", "b"]),
        (np.float64(0.5), 0.5),
        (np.str_("a"), "a"),
        (bytearray(b"x"), b"x"),
        (Pillow.new("RGB", (3, 2), "red"), Pillow.new("RGB", (3, 2), "red")),
    ],
)
def test_what_is_the_same_in_another_form(one, other):
    assert identity(one) == identity(other)


def test_pictures_differ_by_all_that_changes_how_they_are_read():
    red = Pillow.new("RGB", (3, 2), "red")
    turned = red.copy()
    turned.info["exif"] = b"Exif\0\0"
    palette = red.convert("P")
    other = palette.copy()
    other.putpalette([1, 2, 3] * 256)
    clear = palette.copy()
    clear.info["transparency"] = 0
    array = np.asarray(red)
    named = [red, turned, palette, other, clear, red.resize((2, 3)), Pillow.new("RGB", (3, 2), "blue"), array]
    named += [array.astype(np.int8), array.reshape(3, 2, 3), array.tobytes(), Path("red.png"), "red.png", None, [red]]
    assert len({identity(one)[0] for one in named}) == len(named)


def test_bytes_are_counted():
    assert identity([b"x" * 1000, np.zeros((20, 20, 3), np.uint8)])[1] == pytest.approx(2200, abs=50)


@pytest.mark.parametrize("value", [io.BytesIO(b"x"), object(), [{"image": io.BytesIO(b"x")}]])
def test_what_cannot_be_compared_is_refused(value):
    with pytest.raises(MediaError, match="Give pictures as bytes, paths, PIL images or uint8 arrays"):
        identity(value)
