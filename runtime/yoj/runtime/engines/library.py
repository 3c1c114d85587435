"""TensorRT, for all of NVIDIA's GPUs, and TensorRT-RTX, for those of workstations, through their common API."""

from __future__ import annotations

import importlib
from collections import deque
from dataclasses import dataclass
from typing import Any

from ..errors import EngineError
from ..manifest import TensorSpec


@dataclass(frozen=True)
class Library:
    """Names of a library's packages, and the versions that this yoj was written for."""

    engine: str
    modules: tuple[str, ...]
    """Import names of the library: of the full package, then of its bindings alone."""
    extra: str
    oldest: tuple[int, int]
    newest: tuple[int, int]
    """First version that is too new."""


# The versions are those of the extras in pyproject.toml.
TENSORRT = Library("tensorrt", ("tensorrt", "tensorrt_bindings"), "trt", (11, 1), (12, 0))
TENSORRT_RTX = Library("tensorrt-rtx", ("tensorrt_rtx", "tensorrt_rtx_bindings"), "trt-rtx", (1, 7), (1, 8))

TYPES = {"int64": "INT64", "int32": "INT32", "float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "bool": "BOOL"}
"""Name of a type in the manifest -> in the library."""


def load(library: Library) -> Any:
    """Module ``tensorrt`` or ``tensorrt_rtx``.

    Raises:
        EngineError: it is not installed, one of its own libraries is missing, or yoj does not know its version.
    """
    what, install = f"The library of engine {library.engine}", f"Install it with: pip install 'yoj[{library.extra}]'"
    for name in library.modules:
        try:
            module: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise EngineError(f"{what} cannot be loaded ({error}). {install}") from error
        except (ImportError, OSError) as error:
            raise EngineError(f"{what} cannot be loaded ({error}). {install}") from error
        else:
            _check_known(library, str(module.__version__))
            return module
    raise EngineError(f"{what} is missing. {install}")


def make_logger(trt: Any) -> Any:
    """``ILogger`` that prints nothing and keeps the library's error messages in ``errors``."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message.strip())

    return Logger()


def same_shape(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    """Whether a shape of the library, with -1 for free or unknown sizes, is that of the manifest."""
    return len(shape) == len(spec.shape) and all(
        isinstance(axis, str) or size in (axis, -1) for size, axis in zip(shape, spec.shape, strict=True)
    )


def version_of(text: str) -> tuple[int, int]:
    """Major and minor number of a version such as ``1.7.1.116``."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _check_known(library: Library, version: str) -> None:
    if not library.oldest <= version_of(version) < library.newest:
        oldest, newest = (".".join(map(str, bound)) for bound in (library.oldest, library.newest))
        raise EngineError(
            f"Engine {library.engine} needs version {oldest} or newer and older than {newest} of its library, "
            f"{version} is installed. Run: pip install 'yoj[{library.extra}]'"
        )
