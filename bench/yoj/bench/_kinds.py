"""Kinds of CPU, between which ratios differ: the results of each have a folder of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "instruction_sets"
"""Entry of a run's environment; results of yoj 0.1 lack it."""
UNKNOWN = "unknown (older results)"
PLACE = "{kind}"
"""Placeholder of the kind in the name of a file."""
KINDS: dict[str, set[str]] = {
    "amx": {"amx_int8"},
    "avx512-vnni": {"avx512f", "avx512_vnni"},
    "avx512": {"avx512f"},
    "avx2-vnni": {"avx2", "avx_vnni"},
    "avx2": {"avx2"},
}
"""Name of a kind -> instruction sets that it has; the first that fits holds. VNNI multiplies 8 bits exactly in one
step."""


def kind(environment: Mapping[str, Any]) -> str:
    """Kind of the CPU of a run; for CPUs that have none of these instruction sets, the architecture.

    Args:
        environment: environment from `yoj.bench._environment.describe`.
    """
    have = set[str](environment.get(KEY) or ())
    return next((name for name, needs in KINDS.items() if needs <= have), str(environment.get("machine", "unknown")))


def placed(file: Path, environment: Mapping[str, Any]) -> Path:
    """Path of a file with the kind of the CPU in place of ``{kind}``."""
    return Path(str(file).replace(PLACE, kind(environment)))


def instruction_sets_text(environment: Mapping[str, Any]) -> str:
    """Instruction sets of a run, for readers."""
    return ", ".join(environment[KEY]) if environment.get(KEY) else UNKNOWN
