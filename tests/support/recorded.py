"""Checkpoints and pictures of the recorded cases."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[1] / "golden" / "data"
MERGED, ADAPTER = DATA / "checkpoint-merged", DATA / "checkpoint-adapter"
IMAGES = DATA / "images"
