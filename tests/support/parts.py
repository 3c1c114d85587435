"""Parts of yoj: the folders of the wheel."""

from __future__ import annotations

COMMANDS = ("runtime", "export", "calibration", "bench", "training", "serving", "evaluation")
"""Parts that have a command."""
PARTS = (*COMMANDS, "integrations")
