"""Files of figures, through which every command of ``yoj-bench`` that measures writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ._errors import BenchError
from ._kinds import placed


def write_figures(out: Path | None, figures: Any, environment: Mapping[str, Any], name: str | None = None) -> None:
    """Write figures as JSON, the folder included.

    Args:
        out: path of the file, in which ``{kind}`` becomes the kind of CPU; None to write nothing.
        figures: measured figures; numbers that JSON has not, such as NaN, become null.
        environment: environment from `yoj.bench._environment.describe`; it tells the kind of CPU.
        name: entry of the file that the figures become, beside the others that it holds; None for the whole file.

    Raises:
        BenchError: the file exists, and holds no JSON object to add an entry to.
        OSError: the file cannot be read or written.
    """
    if out is None:
        return
    file = placed(out, environment)
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = figures if name is None else _known(file) | {name: figures}
    file.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")


def _known(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_bytes()) if file.is_file() else {}
    except ValueError as error:
        raise BenchError(f"{file} holds no JSON: {error}. Give another --out, or remove the file.") from error
    if not isinstance(known, dict):
        raise BenchError(f"{file} holds no JSON object to add figures to. Give another --out, or remove the file.")
    return known
