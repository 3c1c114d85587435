"""Graphs that are traced once by the tests, whichever test, worker and run wants them first.

Nine tenths of the time that a tiny export takes are PyTorch's tracing, and many tests export models that differ in
their weights alone, which tracing never sees. Later runs find what earlier ones traced, until the code changes.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import onnx_ir as ir
import torch
from filelock import FileLock
from onnx_ir import tensor_adapters
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from yoj.export.families import GraphSpec

Trace: TypeAlias = Callable[[GraphSpec, torch.dtype], ir.Model]


class SharedTraces:
    """`yoj.export.graph.write.trace` with a folder in which all processes find what another has traced."""

    def __init__(self, folder: Path, trace: Trace):
        self.folder = folder
        self.trace = trace
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, spec: GraphSpec, dtype: torch.dtype) -> ir.Model:
        """The graph of a module, with fake weights of this type; a copy of its own for each call."""
        unmarked = os.environ.get("YOJ_TEST_WITHOUT_EXPORT")
        assert not unmarked, f"{unmarked} traces a graph: mark it `export`, for the quick tests leave those out"
        file = self.folder / f"{key(spec, dtype)}.onnx"
        with FileLock(f"{file}.lock"):
            if not file.exists():
                part = file.with_suffix(".part")  # a run that is stopped leaves no half of a graph to later ones
                save(self.trace(spec, dtype), part)
                part.replace(file)
        return load(file)


def key(spec: GraphSpec, dtype: torch.dtype) -> str:
    """Equal only where all that tracing looks at is equal: the module with its settings and the types and shapes of its
    parameters, names and axes of what goes in and out. For the code itself see `kept_traces`."""
    module = spec.make_module(dtype)
    assert all(value.is_meta for value in module.state_dict().values()), "values would be part of the key"
    traced = (spec.role, spec.inputs, spec.outputs, spec.multiples, dtype, module)
    return hashlib.sha256(pickle.dumps(traced)).hexdigest()


def save(model: ir.Model, file: Path) -> None:
    """Write a traced graph; its fake weights become references to nothing."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        assert tensor is not None
        if isinstance(tensor.raw, FakeTensor):
            shape = ir.Shape(tensor.shape)
            value.const_value = ir.ExternalTensor("fake", 0, 0, tensor.dtype, shape=shape, name=value.name or "")
    ir.save(model, file)


def load(file: Path) -> ir.Model:
    """Read a traced graph, with fake weights where it had them."""
    model = ir.load(file)
    with FakeTensorMode():
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                fake = torch.empty(tensor.shape.numpy(), dtype=tensor_adapters.to_torch_dtype(tensor.dtype))
                value.const_value = tensor_adapters.TorchTensor(fake, name=value.name)
    return model
