"""Facts about this machine that speed and room depend on, as its system tells them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

MATTERING = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
"""Names, as Linux writes them, of the instruction sets that matter to matrix products."""
LIBRARIES = (
    "yoj",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt_rtx_cu13_libs",
    "tokenizers",
    "pillow",
    "pyarrow",
)
"""Packages on whose versions scores, speed or files may depend."""


def instruction_sets() -> tuple[str, ...]:
    """Names of `MATTERING` that the CPU has, in that order; none on systems other than Linux, which do not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ()
    # x86 calls the line "flags", ARM "Features"; every core has one, and they are alike.
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").partition(":")[2].split()
    return tuple(name for name in MATTERING if name in flags)


def free_memory() -> int | None:
    """Bytes that can be allocated without swapping, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those of some packages that are installed, by name."""
    from importlib.metadata import PackageNotFoundError, version  # which takes long to import

    found: dict[str, str] = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
