"""Where traced graphs are kept from run to run: as long as neither the code nor the libraries change.

Apart from ``traces.py``, which loads PyTorch.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = (ROOT / "export", ROOT / "runtime", Path(__file__).with_name("traces.py"))
LIBRARIES = ("torch", "transformers", "onnx", "onnx-ir", "onnxscript")


def folder_in(cache: Path, code: Iterable[Path] = CODE) -> Path:
    """The folder for traces of this code, read now, and of these libraries; it may not be there yet."""
    digest = hashlib.sha256(repr([platform.python_version(), *map(version, LIBRARIES)]).encode())
    for root in code:
        for file in sorted(root.rglob("*.py")) or [root]:
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root)} {len(content)} ".encode() + content)
    return cache / digest.hexdigest()[:16]


def forget_others(folder: Path) -> None:
    """Remove what was traced by other code."""
    for other in folder.parent.glob("*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
