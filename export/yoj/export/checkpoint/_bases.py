"""Base models that adapters cannot be merged into: quantised ones, and others than they were trained over."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._errors import CheckpointError
from ._text_files import read_json
from .adapter_files import ADAPTER_CONFIG
from .weights import DTYPES

QUANTISED = re.compile(
    r"([-_]?(unsloth[-_])?(bnb[-_]?)?([48][-_]?bit)|[-_](fp8|nvfp4|awq|gptq|int[48]|w4a16|w8a8|dynamic|block))+$", re.I
)
"""Endings of the names of quantised models, behind the name of the model that they were made from."""
COMMIT = re.compile(r"[0-9a-f]{40}")
"""Name of a folder in the hub's cache, which says nothing of the model."""


def check_floating(trunk: Path, config: Mapping[str, Any], adapters: Sequence[Path]) -> None:
    """Refuse a quantised base, naming the one to take instead where a name tells it.

    Args:
        trunk: folder of the base.
        config: content of its ``config.json``.
        adapters: adapters over it, which may name its origin.

    Raises:
        CheckpointError: some weights are neither float32 nor of 16 bits.
    """
    settings = config.get("quantization_config")
    quantised = _first_quantised(trunk)
    if quantised is None:
        return
    file, name, dtype = quantised
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    named = [read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") for folder in adapters[:1]]
    candidates = [str(said) for said in (*named, config.get("_name_or_path"), trunk.resolve().name) if said]
    original = next((new for said in candidates if (new := QUANTISED.sub("", said)) != said), None)
    of = f", {Path(original).name} by its name" if original else ""
    way = (
        f"Give the 16-bit model that it was made from{of}, with --base"
        if adapters
        else f"Train or merge over the 16-bit model that it was made from{of}, and export that"
    )
    raise CheckpointError(
        f"{trunk} is quantised{f' ({method})' if method else ''}: {name} in {file.name} is {dtype}, and only "
        f"{', '.join(DTYPES)} can be exported. {way}. yoj quantises by itself: yoj-export --precision, yoj-calibrate."
    )


def trained_over_quantised(trunk: Path, adapters: Sequence[Path]) -> list[str]:
    """Notices about adapters whose base was quantised in training, and is not here."""
    names = {str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "") for folder in adapters}
    return [
        f"trained over {name}, which is quantised by its name, and merged into {trunk.name}: scores differ by what the "
        "quantisation changes"
        for name in sorted(names)
        if QUANTISED.search(name)
    ]


def trained_over_another(trunk: Path, adapters: Sequence[Path]) -> list[str]:
    """Notices about adapters that name a base of another name; a folder may have been renamed, so it is no error."""
    names = {str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "") for folder in adapters}
    place = str(trunk.resolve()).lower()  # the hub's cache has the name above the folder
    return [
        f"trained over {name} by its {ADAPTER_CONFIG}, and merged into {trunk.resolve().name}: see that these are one "
        "model"
        for name in sorted(names)
        if Path(name).name.lower() not in place and not QUANTISED.search(name) and not COMMIT.fullmatch(Path(name).name)
    ]


def _first_quantised(trunk: Path) -> tuple[Path, str, str] | None:
    """File, name and dtype of the first tensor that is no float of 16 bits or more; damaged files are skipped."""
    for file in sorted(trunk.glob("*.safetensors")):
        try:
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(length)) if length < file.stat().st_size else {}
            entries = {name: entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
        except (struct.error, ValueError, KeyError, TypeError, AttributeError, OSError):
            continue
        for name, dtype in entries.items():
            if dtype not in DTYPES:
                return file, name, str(dtype)
    return None
