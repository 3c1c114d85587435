"""The committed pictures of the method are those that its script draws, and what they say is true of the packing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from experiments.method_picture import DARK, LIGHT, RESPONSES, SCORES, draw, main

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_committed_pictures_are_current(tmp_path):
    done = CliRunner().invoke(main, [str(tmp_path)])
    assert done.exit_code == 0, done.output
    drawn = {file.name: file.read_text("utf-8") for file in tmp_path.iterdir()}
    assert drawn == {name: (IMAGES / name).read_text("utf-8") for name in ("method-light.svg", "method-dark.svg")}, (
        "run: python -m experiments.method_picture docs/images"
    )


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_it_needs_nothing_from_elsewhere(theme):
    text = draw(theme).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|href|url\(|@import|<script|<style|<image", text)
    assert text.count("<text ") > 20  # letters are letters


def contrast(first: str, second: str) -> float:
    """Ratio of luminances as WCAG 2 computes it."""
    light = []
    for colour in (first, second):
        parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        light.append(linear @ [0.2126, 0.7152, 0.0722])
    return (max(light) + 0.05) / (min(light) + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_words_can_be_read(theme):
    root = ElementTree.fromstring(draw(theme))
    width = float(root.get("width"))
    for word in root.iter(f"{SVG}text"):
        large = float(word.get("font-size", 17)) * 390 / width  # pixels on a phone
        assert large >= 8, word.text
        assert contrast(word.get("fill", root.get("fill")), theme.ground) >= 3, word.text


def test_figures_are_the_softmax_of_the_scores():
    words = [word.text for word in ElementTree.fromstring(draw(LIGHT)).iter(f"{SVG}text")]
    expected = np.exp(SCORES) / np.exp(SCORES).sum()
    assert [int(word[:-1]) for word in words if word.endswith("%")] == [round(100 * one) for one in expected]
    assert len(SCORES) == len(RESPONSES)


def test_what_a_token_sees_is_what_the_packing_says():
    """Cells of the two pictures of attention, beside causal masks with and without segments."""
    fills = {LIGHT.kinds[kind]: kind for kind in range(1, 5)}
    cells = [box for box in ElementTree.fromstring(draw(LIGHT)).iter(f"{SVG}rect") if box.get("width") == "12"]
    cells = [box for box in cells if box.get("height") == "12"]
    segments = np.repeat([0, 1, 2, 3], [4, 2, 2, 2])
    causal = np.tri(10, dtype=bool)
    isolated = causal & ((segments[:, None] == segments) | (segments == 0))
    drawn = np.array([fills.get(box.get("fill"), 0) for box in cells]).reshape(2, 10, 10)
    for found, mask in zip(drawn, (causal, isolated), strict=True):
        assert np.array_equal(found, np.where(mask, segments + 1, 0))
