"""Requirements that a machine lacks to run an engine, or PyTorch, on a GPU.

yoj-bench needs tensorrt
"""

from __future__ import annotations

import importlib
from typing import Any

from yoj.runtime.engines import load_library, plan_engines
from yoj.runtime.engines.device import compute_capability, load_cuda, target_name
from yoj.runtime.engines.onnxruntime_cuda import NAME, load_provider
from yoj.runtime.errors import EngineError

PYTORCH = "pytorch"
NEEDS = (NAME, *plan_engines(), PYTORCH)


def missing(need: str) -> str | None:
    """Instruction for making something run on the GPU of this machine; None where it can.

    Args:
        need: name from `NEEDS`.
    """
    try:
        capability = compute_capability(load_cuda())
        if need == NAME:
            load_provider()
        elif need == PYTORCH:
            return _missing_in_pytorch()
        else:
            return _missing_kernels(need, load_library(need), target_name(capability).upper())
    except EngineError as error:
        return str(error)
    return None


def _missing_in_pytorch() -> str | None:
    torch: Any = importlib.import_module("torch")
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is a build for CPUs. Install one for CUDA 13 in its place."
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__}, a build for CUDA {torch.version.cuda}, finds no GPU that it can use."
    return None


def _missing_kernels(engine: str, library: Any, capability: str) -> str | None:
    known = getattr(getattr(library, "ComputeCapability", None), "__members__", None)
    if known is None or capability in known:
        return None
    return f"{engine} has no kernels for this GPU, {capability}; it has for {', '.join(known)}."
