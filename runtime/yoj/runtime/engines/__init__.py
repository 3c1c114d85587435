"""Engines: libraries that execute the graphs of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..bundle import Bundle
from ..errors import EngineError
from ..families import Arrays
from ..manifest import EngineEntry
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
    from .tensorrt import open_tensorrt

    return open_tensorrt(bundle, engine, threads)


OPENERS: dict[str, Callable[[Bundle, EngineEntry, int | None], Session]] = {
    "onnxruntime": open_onnxruntime,
    "onnxruntime-cuda": open_onnxruntime_cuda,
    "tensorrt": _open_tensorrt,
    "tensorrt-rtx": _open_tensorrt,
}


def open_session(bundle: Bundle, engine: EngineEntry, threads: int | None) -> Session:
    """Load the graphs of one engine entry of the manifest.

    Raises:
        EngineError: this version of yoj does not know the engine, or its library is missing.
    """
    if engine.engine not in OPENERS:
        raise EngineError(f"This yoj runs {', '.join(OPENERS)}; {bundle.path} asks for {engine.engine}. Upgrade yoj.")
    return OPENERS[engine.engine](bundle, engine, threads)
