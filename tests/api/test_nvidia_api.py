"""Every name that yoj uses of TensorRT, TensorRT-RTX and cuda-python is one that they have.

The names are read from the source. They are looked up in what is installed and in recorded lists: of TensorRT, whose
libraries are on few machines, of the oldest and the newest release that the extra allows.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((Path(__file__).parent / "data" / "nvidia_api.json").read_text("utf-8"))
SOURCES = [
    ROOT / "export/yoj/export/tensorrt/_builder.py",
    ROOT / "export/yoj/export/tensorrt/_compile.py",
    *(ROOT / "runtime/yoj/runtime/engines" / f"{name}.py" for name in ("_tensorrt", "_lane", "library", "device")),
]
CLASSES = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "get_error": "ParserError",
    "tensor": "ITensor",
    "layer": "ILayer",
    "attention_input": "IAttentionInputLayer",
    "attention": "IAttention",
    "cache": "ITimingCache",
    "inspector": "EngineInspector",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "runtime_config": "IRuntimeConfig",
    "context": "IExecutionContext",
}
"""How the sources name an object (or the method that returns it) -> its class."""
OURS = {
    "_compile.py": {"engine", "cache", "tensor"},
    "library.py": {"engine"},
}
"""Files in which such a name is something else."""
RTX_ONLY = {
    ("", "ComputeCapability"),
    ("", "CudaGraphStrategy"),
    ("ComputeCapability", "__members__"),
    ("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
    ("IRuntimeConfig", "cuda_graph_strategy"),
}
"""Used where the library has them only."""


def used(module: str) -> set[tuple[str, str]]:
    """(class, attribute) for each use of a module; the class is empty for the module's own attributes."""
    found: set[tuple[str, str]] = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            holder = node.value.func if isinstance(node.value, ast.Call) else node.value
            last = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
            if last == module:
                found.add(("", node.attr))
            elif isinstance(holder, ast.Attribute) and _last(holder.value) == module:
                found |= {(holder.attr, node.attr)} if not holder.attr.startswith("__") else set()
            elif module == "trt" and (name := last.lstrip("_")) in CLASSES and name not in OURS.get(source.name, ()):
                found.add((CLASSES[name], node.attr))
    return found


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def test_the_sources_are_understood():
    """Every class of the table is met, so that a renamed variable does not silence the other tests."""
    met = {holder for holder, _ in used("trt")}
    assert set(CLASSES.values()) <= met
    assert {("", "Builder"), ("BuilderFlag", "TF32"), ("IExecutionContext", "execute_async_v3")} <= used("trt")
    assert {("", "cudaMalloc"), ("cudaError_t", "cudaSuccess")} <= used("cudart")


@pytest.mark.parametrize("release", [name for name in RECORDED if name != "source"])
def test_every_name_is_in_the_recorded_lists(release):
    names = {holder: set(listed.split()) for holder, listed in RECORDED[release].items()}
    missing = []
    for holder, name in used("trt"):
        known = names.get(holder, set()) if holder else names.keys() | {"__name__", "__version__"}
        if name.startswith("__") and holder:
            known = known | ({name} if holder in names else set())
        if name not in known and not (release.startswith("tensorrt 11") and (holder, name) in RTX_ONLY):
            missing.append((holder, name))
    assert not sorted(missing)


def test_what_only_one_library_has_is_really_missing_in_the_other():
    newest = {holder: set(listed.split()) for holder, listed in RECORDED["tensorrt 11.4.0.106"].items()}
    assert not [(h, n) for h, n in RTX_ONLY if n in (newest.get(h, set()) if h else newest.keys())]


@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_bindings", "tensorrt_rtx_bindings"])
def test_every_name_is_in_the_installed_library(module):
    trt = pytest.importorskip(
        module, reason=f"{module} is not installed or cannot be loaded here", exc_type=ImportError
    )
    missing = []
    for holder, name in used("trt"):
        owner = getattr(trt, holder, None) if holder else trt
        if not hasattr(owner, name) and not ("rtx" not in module and (holder, name) in RTX_ONLY):
            missing.append((holder, name))
    assert not sorted(missing)


def test_every_name_is_in_the_installed_cuda_python():
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="pip install 'yoj[trt-rtx]'")
    missing = [
        (holder, name)
        for holder, name in used("cudart")
        if not hasattr(getattr(cudart, holder, None) if holder else cudart, name)
    ]
    assert not missing


def test_the_flags_that_are_set_by_name_exist():
    from yoj.export.tensorrt._builder import BuilderSettings
    from yoj.runtime.engines.library import TYPES

    flags = BuilderSettings(1, version_compatible=True, weight_streaming=True, refit=True).flags()
    for release in RECORDED:
        if release != "source":
            assert set(flags) <= set(RECORDED[release]["BuilderFlag"].split())
            assert set(TYPES.values()) <= set(RECORDED[release]["DataType"].split())


def test_nothing_that_tensorrt_11_removed_is_used():
    """Names of TensorRT 10's weak typing and implicit quantisation (NvInfer.h 11.1)."""
    removed = {"FP16", "INT8", "BF16", "FP8", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"}
    names = {name for holder, name in used("trt") if holder in ("BuilderFlag", "IBuilderConfig")}
    assert not names & (removed | {"int8_calibrator", "algorithm_selector", "set_calibration_profile"})
