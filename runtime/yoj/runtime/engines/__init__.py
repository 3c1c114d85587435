"""Engines: libraries that execute the graphs of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..bundle import Bundle
from ..errors import EngineError
from ..families import Arrays
from ..manifest import EngineEntry
from .library import TENSORRT, TENSORRT_RTX, Library, load
from .onnxruntime import open_onnxruntime
from .onnxruntime_cuda import open_onnxruntime_cuda


class Session(Protocol):
    """Loaded graphs of one bundle. Safe to use from several threads."""

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one graph. Inputs and outputs are by name, with shapes as the manifest gives them."""
        ...

    def open(self, role: str) -> None:
        """Load one graph now rather than at its first run."""
        ...

    def close(self) -> None:
        """Release all memory; nothing can be run afterwards."""
        ...


def _open_tensorrt(bundle: Bundle, engine: EngineEntry, threads: int | None) -> Session:
    # Most who import the runtime run no plans, and importing what does would be a tenth of the cost.
    from ._tensorrt import open_tensorrt

    return open_tensorrt(bundle, engine, threads)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Engine: a library that executes the graphs of a bundle on one kind of device."""

    open: Callable[[Bundle, EngineEntry, int | None], Session]
    """Function that loads the graphs of a manifest's entry; the last argument is the number of threads."""
    executes: str
    """Engine whose entries of the manifest it executes: its own name, or that of an engine with the same graphs."""
    gpu: bool
    """Whether it needs a GPU."""
    library: Library | None
    """Library of NVIDIA whose plans its entries hold, which yoj-export compile builds; None where they hold graphs."""


ENGINES = {
    "onnxruntime": Engine(open=open_onnxruntime, executes="onnxruntime", gpu=False, library=None),
    "onnxruntime-cuda": Engine(open=open_onnxruntime_cuda, executes="onnxruntime", gpu=True, library=None),
    "tensorrt": Engine(open=_open_tensorrt, executes="tensorrt", gpu=True, library=TENSORRT),
    "tensorrt-rtx": Engine(open=_open_tensorrt, executes="tensorrt-rtx", gpu=True, library=TENSORRT_RTX),
}
"""Name of an engine in manifests and options -> the engine."""


GPU_ENGINES = " and ".join(", ".join(name for name, engine in ENGINES.items() if engine.gpu).rsplit(", ", 1))
"""Names of the engines that need a GPU, for the help of commands."""


def plan_engines() -> list[str]:
    """Names of the engines that execute TensorRT plans."""
    return [name for name, engine in ENGINES.items() if engine.library is not None]


def load_library(engine: str) -> Any:
    """Load the library of NVIDIA that executes the plans of an engine.

    Raises:
        EngineError: the library is missing, or yoj does not know its version.
    """
    library = ENGINES[engine].library
    assert library is not None, f"{engine} executes no plans"
    return load(library)


def open_session(bundle: Bundle, engine: EngineEntry, threads: int | None) -> Session:
    """Load the graphs of one engine entry of the manifest.

    Raises:
        EngineError: this version of yoj does not know the engine, or its library is missing.
    """
    if engine.engine not in ENGINES:
        raise EngineError(f"This yoj runs {', '.join(ENGINES)}; {bundle.path} asks for {engine.engine}. Upgrade yoj.")
    return ENGINES[engine.engine].open(bundle, engine, threads)
