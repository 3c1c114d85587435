"""Access to the GPU through ``cuda-python``: every call that fails becomes an `EngineError` that says what to do."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import EngineError, EngineMemoryError

CUDA = 13000
"""CUDA version of the libraries that the extras install, as drivers count it: 1000 x major + 10 x minor."""


def load_cuda() -> Any:
    """Module ``cuda.bindings.runtime``.

    Raises:
        EngineError: cuda-python is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise EngineError(
            f"cuda-python is missing ({error}). Install it with: pip install 'cuda-python>=13'"
        ) from error


def check(cudart: Any, answer: tuple[Any, ...], what: str) -> Any:
    """Values that a CUDA call returned beside its status: nothing, one value, or a tuple of them.

    Args:
        cudart: module from `load_cuda`.
        answer: return value of the call.
        what: action in progress, for the error's text.

    Raises:
        EngineMemoryError: the GPU's memory is full.
        EngineError: the status is not success.
    """
    status, *values = answer
    if status == cudart.cudaError_t.cudaSuccess:
        return values[0] if len(values) == 1 else tuple(values)
    _, name = cudart.cudaGetErrorName(status)
    name = name.decode() if isinstance(name, bytes) else str(name)
    if status == cudart.cudaError_t.cudaErrorMemoryAllocation:
        raise EngineMemoryError(
            f"The GPU has too little memory free to {what} ({name}). Close what else uses it, build plans with "
            "smaller profiles (yoj-export compile --profile), or with --weight-streaming."
        )
    raise EngineError(f"CUDA could not {what}: {name}.")


def driver_version(cudart: Any) -> int:
    """CUDA version of the installed driver, 1000 x major + 10 x minor; 0 where there is none."""
    return int(check(cudart, cudart.cudaDriverGetVersion(), "ask the driver for its version"))


def compute_capability(cudart: Any) -> tuple[int, int]:
    """Compute capability of the first visible GPU, such as (8, 6) for ``sm86``.

    Raises:
        EngineError: there is no driver or no GPU, or the driver is too old.
    """
    driver = driver_version(cudart)
    if not driver:
        raise EngineError(
            "There is no NVIDIA driver on this machine, so no GPU to run on. Use the engine onnxruntime here; plans of "
            "tensorrt-rtx can be built without a GPU, with yoj-export compile --target."
        )
    if driver < CUDA:
        raise EngineError(
            f"The NVIDIA driver serves CUDA up to {driver // 1000}.{driver % 1000 // 10}, the engine needs "
            f"{CUDA // 1000}.{CUDA % 1000 // 10}. Install a newer driver, or use the engine onnxruntime."
        )
    status, count = cudart.cudaGetDeviceCount()
    if status == cudart.cudaError_t.cudaErrorNoDevice or (status == cudart.cudaError_t.cudaSuccess and not count):
        raise EngineError("The NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES set?). Use the engine onnxruntime.")
    check(cudart, (status, count), "count the GPUs")
    kinds = cudart.cudaDeviceAttr
    return tuple(  # pyright: ignore[reportReturnType]
        int(check(cudart, cudart.cudaDeviceGetAttribute(kind, 0), "ask the GPU for its compute capability"))
        for kind in (kinds.cudaDevAttrComputeCapabilityMajor, kinds.cudaDevAttrComputeCapabilityMinor)
    )


def target_name(capability: tuple[int, int]) -> str:
    """Name of a compute capability, such as ``sm86`` for (8, 6)."""
    return f"sm{capability[0]}{capability[1]}"
