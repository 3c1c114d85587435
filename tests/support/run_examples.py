"""Examples, run by the commands that their table has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_example(*words: object) -> str:
    """Run ``python -m examples.NAME`` or a script at the root of the repository; what it prints."""
    name, *arguments = map(str, words)
    command = ["sh", f"examples/{name}"] if name.endswith(".sh") else [sys.executable, "-m", f"examples.{name}"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
