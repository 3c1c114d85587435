"""Model card of a bundle: what it leads to is there, wherever the bundle is."""

from __future__ import annotations

import re
import shlex

import pytest
from click.testing import CliRunner
from recorded import IMAGES

from yoj.runtime.cli import main


@pytest.mark.parametrize("kind", ["merged", "qwen3_vl"])
def test_it_links_to_nothing_that_is_not_in_the_bundle(bundle, kind):
    path = bundle(kind, "assistant")
    card = (path / "README.md").read_text("utf-8")
    targets = [*re.findall(r"\]\(([^)]+)\)", card), *re.findall(r"https?://\S+", card)]
    assert [one for one in targets if not (path / one).is_file()] == []
    said, _ = card.split("\n## Made from")  # files of the checkpoint
    named = re.findall(r"[\w/]+\.(?:json|svg|onnx|md)\b", said)
    assert [one for one in named if not (path / one).is_file()] == []


def test_its_command_scores(bundle, monkeypatch):
    """From the folder of the bundle, with a picture of the reader's."""
    path = bundle("qwen3_vl", "assistant")
    (command,) = re.findall(r"^yoj-score (\. .+)$", (path / "README.md").read_text("utf-8"), re.MULTILINE)
    monkeypatch.chdir(path)
    words = [str(IMAGES / "odd_small.png") if word == "photo.jpg" else word for word in shlex.split(command)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
