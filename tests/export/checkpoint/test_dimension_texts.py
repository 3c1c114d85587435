"""Texts that ask for dimensions: read as pieces, and refused where a place cannot be filled."""

from __future__ import annotations

import json

import pytest

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint._dimension_texts import DimensionText, read_dimension_texts, text_of
from yoj.runtime.manifest import Piece


def test_a_text_becomes_pieces_and_back():
    text = "Look {{here}}: {text_prompt}. And {text_prompt}!"
    pieces = tuple(DimensionText("a", text).pieces())
    assert sum(piece.kind == "prompt" for piece in pieces) == 2
    shown = "".join("P" if piece.kind == "prompt" else piece.value for piece in pieces)
    assert shown == text.format(text_prompt="P")
    assert text_of((*pieces, Piece(kind="token", value="<|end|>"), Piece(kind="text", value="tail"))) == text


def write(tmp_path, content: object):
    file = tmp_path / "dimensions.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_the_file_gives_the_texts_in_their_order(tmp_path):
    file = write(tmp_path, [{"name": "b", "text": "{text_prompt}"}, {"name": "a", "text": "{text_prompt}?"}])
    assert [one.name for one in read_dimension_texts(file)] == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[", "cannot be read as"),
        ({"name": "a"}, "cannot be read as"),
        ([{"name": "a"}], "cannot be read as"),
        ([{"name": "a", "text": "What?"}], "text [0], of 'a': it has no {text_prompt}"),
        ([{"name": "a", "text": "{text_prompt} {other}"}], "'other' in braces is no place that is filled"),
        ([{"name": "a", "text": "{text_prompt!r}"}], "'text_prompt' in braces is no place that is filled"),
        ([{"name": "a", "text": "{text_prompt"}], "text [0], of 'a'"),
    ],
)
def test_what_cannot_be_filled_is_refused(content, told, tmp_path):
    file = write(tmp_path, content)
    with pytest.raises(CheckpointError) as error:
        read_dimension_texts(file)
    assert told in str(error.value)
    assert str(file) in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot be read as"):
        read_dimension_texts(tmp_path / "none.json")
