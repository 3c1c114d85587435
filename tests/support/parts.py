"""Parts of yoj: the folders of the wheel."""

from __future__ import annotations

PARTS = ("runtime", "export", "calibration", "bench", "training", "serving")
