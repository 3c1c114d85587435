"""8-bit graphs under emulation of CPUs that this machine may not be: with AVX2 and no more, and without AVX.

Debian's package qemu-user has the emulator; without it every test here is skipped and says so.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiers import with_variants

EMULATOR = shutil.which("qemu-x86_64")
CPUS = {"Haswell": {"AVX2"}, "Nehalem": {"SSE42"}}
"""CPU of the emulator -> what NumPy must find there, and of this list nothing beyond."""
LISTED = ("SSE42", "AVX2", "AVX512F")

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 alone has several kinds of 8-bit products"),
    pytest.mark.skipif(EMULATOR is None, reason="qemu-x86_64 is missing: apt install qemu-user"),
]
UNGUARDED = """
import onnxruntime
from yoj.runtime.engines import exact
from yoj.runtime.manifest import EngineEntry
engine = EngineEntry(engine="onnxruntime", precision="int8", base_precision="float32", graphs={})
exact.check_products(onnxruntime, engine, onnxruntime.SessionOptions())
"""


def emulated(cpu: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(EMULATOR), "-cpu", cpu, sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", with_variants([*CPUS]))
def test_products_are_exact_on_the_emulated_cpu(cpu):
    found = emulated(cpu, "-c", "import numpy as n; print(n._core._multiarray_umath.__cpu_features__)").stdout
    best = [name for name in LISTED if f"'{name}': True" in found][-1]
    assert {best} == CPUS[cpu]
    file = str(Path(__file__).parent / "test_exact_products.py")
    done = emulated(cpu, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-o", "addopts=", file)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_without_the_session_entry_a_cpu_without_vnni_is_refused():
    done = emulated("Haswell", "-c", UNGUARDED)
    assert "EngineError" in done.stderr
    assert "has no exact kernel for int8 with float32" in done.stderr
