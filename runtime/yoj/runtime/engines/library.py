"""NVIDIA's two builders with one API: TensorRT, for all its GPUs, and TensorRT-RTX, for those of workstations."""

from __future__ import annotations

import importlib
from collections import deque
from dataclasses import dataclass
from typing import Any

from ..errors import EngineError
from ..manifest import TensorSpec


@dataclass(frozen=True)
class Library:
    """Where a library is found, and which of its versions this yoj was written against."""

    engine: str
    modules: tuple[str, ...]
    """Names under which it can be imported: of the full package, then of its bindings alone."""
    extra: str
    oldest: tuple[int, int]
    newest: tuple[int, int]
    """The first version that is too new."""


LIBRARIES = {
    "tensorrt": Library("tensorrt", ("tensorrt", "tensorrt_bindings"), "trt", (11, 1), (12, 0)),
    "tensorrt-rtx": Library("tensorrt-rtx", ("tensorrt_rtx", "tensorrt_rtx_bindings"), "trt-rtx", (1, 7), (1, 8)),
}
"""Engine -> library. The versions are those of the extras in pyproject.toml."""


TYPES = {"int64": "INT64", "int32": "INT32", "float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "bool": "BOOL"}
"""The manifest's name of a type -> the library's."""


def load_library(engine: str) -> Any:
    """The module ``tensorrt`` or ``tensorrt_rtx``.

    Raises:
        EngineError: it is not installed, one of its own libraries is missing, or yoj does not know its version.
    """
    library = LIBRARIES[engine]
    install = f"Install it with: pip install 'yoj[{library.extra}]'"
    for name in library.modules:
        try:
            module: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise EngineError(f"The library of engine {engine} cannot be loaded ({error}). {install}") from error
        except (ImportError, OSError) as error:
            raise EngineError(f"The library of engine {engine} cannot be loaded ({error}). {install}") from error
        else:
            _check_known(library, str(module.__version__))
            return module
    raise EngineError(f"The library of engine {engine} is missing. {install}")


def make_logger(trt: Any) -> Any:
    """An ``ILogger`` that prints nothing and keeps, in ``errors``, what the library says of its failures."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message.strip())

    return Logger()


def same_shape(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    """Whether a shape of the library's, with -1 for what is free or not known yet, is that of the manifest."""
    return len(shape) == len(spec.shape) and all(
        isinstance(axis, str) or size in (axis, -1) for size, axis in zip(shape, spec.shape, strict=True)
    )


def version_of(text: str) -> tuple[int, int]:
    """Major and minor of ``1.7.1.116``."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _check_known(library: Library, version: str) -> None:
    if not library.oldest <= version_of(version) < library.newest:
        oldest, newest = (".".join(map(str, bound)) for bound in (library.oldest, library.newest))
        raise EngineError(
            f"Engine {library.engine} needs version {oldest} or newer and older than {newest} of its library, "
            f"{version} is installed. Run: pip install 'yoj[{library.extra}]'"
        )
