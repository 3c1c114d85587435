"""Modules -> ONNX graphs whose weights were never in memory together.

A module is traced on fake tensors; each parameter becomes a reference into ``weights.data``, which is written from
the checkpoint one tensor at a time and shared by all graphs of the bundle.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch._subclasses.fake_tensor import FakeTensorMode

from yoj.runtime.manifest import AXES, Graph, TensorSpec

from ..checkpoint.weights import TensorSource, Weights, write_blocks
from ..families import GraphSpec
from ..quantisation._unsigned import write_unsigned
from ._blocked_attention import query_blocks, split_queries

OPSET = 23
"""Opset: the first with Attention, RMSNormalization and RotaryEmbedding, which ONNX Runtime and TensorRT both read."""
ALIGNMENT = 4096
"""Alignment in bytes of each tensor in the weight file, so that it can be mapped."""
INLINE_BYTES = 1024
"""Largest constant in bytes that stays inside the graph; larger ones are shared through the weight file."""
EXAMPLE_SIZES = {"B": 2, "L": 24, "N": 3, "V": 6, "C": 2, "K": 4, "F": 3, "P": 2, "S": 5}
"""Traced sizes, times `GraphSpec.multiples`. None is 0 or 1, which tracing would take for constants."""
NUMPY_NAMES = {torch.int64: "int64", torch.float32: "float32"}
ONNX_TYPES = {
    torch.float32: ir.DataType.FLOAT,
    torch.float16: ir.DataType.FLOAT16,
    torch.bfloat16: ir.DataType.BFLOAT16,
    torch.int8: ir.DataType.INT8,
    torch.uint8: ir.DataType.UINT8,
    torch.float8_e4m3fn: ir.DataType.FLOAT8E4M3FN,
}


@dataclass
class WeightFile:
    """Weight file ``weights.data`` under construction: raw tensors one after the other, each written once."""

    path: Path
    weights: Weights
    progress: Callable[[int], None]
    """Function that takes the bytes of each block that was written."""
    size: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)
    _places: dict[TensorSource | str, tuple[int, int]] = field(default_factory=dict)

    def place(self, source: TensorSource, dtype: torch.dtype) -> tuple[int, int]:
        """Offset and length of a tensor, written now unless an earlier graph had it."""
        if source not in self._places:
            self._places[source] = self.append(write_blocks(self.weights, source, dtype))
        return self._places[source]

    def place_constant(self, value: torch.Tensor) -> tuple[int, int]:
        """Offset and length of a value that no checkpoint tensor holds; equal values are written once."""
        data = value.contiguous().numpy().tobytes()
        key = hashlib.sha256(data).hexdigest()
        if key not in self._places:
            self._places[key] = self.append(iter([data]))
        return self._places[key]

    def append(self, blocks: Iterator[bytes]) -> tuple[int, int]:
        """Write one tensor at the next aligned offset."""
        with self.path.open("ab") as stream:
            padding = bytes(-self.size % ALIGNMENT)
            begin = end = self.size + len(padding)
            for block in itertools.chain([padding], blocks):
                stream.write(block)
                self._digest.update(block)
                self.progress(len(block))
                end += len(block)
            end -= len(padding)
        self.size = end
        return begin, end - begin

    @property
    def sha256(self) -> str:
        """SHA-256 of everything written so far; saves reading gigabytes again."""
        return self._digest.hexdigest()


def write_graph(spec: GraphSpec, folder: Path, weight_file: WeightFile, dtype: torch.dtype) -> Graph:
    """Trace one graph and write it with references into the weight file.

    Args:
        spec: graph to trace.
        folder: folder of the bundle; the graph goes to ``onnx/<role>.onnx``.
        weight_file: weight file, in ``onnx/`` as well.
        dtype: type of the backbone's weights and arithmetic; inputs, outputs, rotary tables and value head are float32.

    Returns:
        Entry for the manifest.
    """
    model = trace(spec, dtype)
    sources = _cut_weights(model.graph, spec.sources)
    for name, value in list(model.graph.initializers.items()):
        if name in sources:
            source = sources[name]
            shape, stored = weight_file.weights.stored_shape(source), source.change.dtype(dtype)
            value.const_value = _external(name, weight_file.place(source, dtype), shape, stored, weight_file)
        elif name in spec.constants:
            constant = spec.constants[name]
            if constant.nbytes > INLINE_BYTES:
                place = weight_file.place_constant(constant)
                value.const_value = _external(name, place, tuple(constant.shape), constant.dtype, weight_file)
            else:
                value.const_value = ir.tensor(constant.numpy(), name=name)
    _check_complete(model, sources.keys() | spec.constants.keys())
    optimizer.optimize_ir(model, should_fold=_without_weights)
    if query_blocks(dtype) > 1:
        split_queries(model)
    forget_origin(model)
    file = f"onnx/{spec.role}.onnx"
    ir.save(model, folder / file)
    inputs = tuple(TensorSpec(name=n, dtype=NUMPY_NAMES[d], shape=axes) for n, (d, axes) in spec.inputs.items())
    outputs = tuple(TensorSpec(name=n, dtype="float32", shape=axes) for n, axes in spec.outputs.items())
    return Graph(file=file, inputs=inputs, outputs=outputs, unsigned=write_unsigned(folder, file))


def _external(
    name: str, place: tuple[int, int], shape: tuple[int, ...], dtype: torch.dtype, weight_file: WeightFile
) -> ir.ExternalTensor:
    offset, length = place
    return ir.ExternalTensor(
        weight_file.path.name,
        offset,
        length,
        ONNX_TYPES[dtype],
        shape=ir.Shape(shape),
        name=name,
        base_dir=weight_file.path.parent,
    )


def trace(spec: GraphSpec, dtype: torch.dtype) -> ir.Model:
    """ONNX graph of a module, with fake weights of this type."""
    # It warns that torchvision, which nothing needs, is missing.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    letters = sorted({axis for _, axes in spec.inputs.values() for axis in axes if isinstance(axis, str)})
    assert set(letters) <= AXES.keys(), f"{spec.role}: axes {letters} are not all among {list(AXES)}"
    dims = {letter: torch.export.Dim(letter) for letter in letters}
    dims |= {letter: multiple * dims[letter] for letter, multiple in spec.multiples.items()}
    sizes = {letter: spec.multiples.get(letter, 1) * EXAMPLE_SIZES[letter] for letter in letters}
    module = spec.make_module(dtype)
    with FakeTensorMode(allow_non_fake_inputs=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own internals
        module = module.to_empty(device="cpu").eval()
        example = {
            name: torch.zeros([sizes[axis] if isinstance(axis, str) else axis for axis in axes], dtype=dtype)
            for name, (dtype, axes) in spec.inputs.items()
        }
        program = torch.onnx.export(
            module,
            kwargs=example,
            dynamo=True,
            optimize=False,
            opset_version=OPSET,
            output_names=list(spec.outputs),
            dynamic_shapes={
                name: {i: dims[axis] for i, axis in enumerate(axes) if isinstance(axis, str)}
                for name, (_, axes) in spec.inputs.items()
            },
            verbose=False,
        )
    assert program is not None
    graph = program.model.graph
    # A multiple, or a size that follows from others, is traced as a formula; it has its letter all the same.
    shapes = {name: axes for name, (_, axes) in spec.inputs.items()} | dict(spec.outputs)
    for value in (*graph.inputs, *graph.outputs):
        assert value.name is not None
        value.shape = ir.Shape(shapes[value.name])
    return program.model


def _without_weights(node: ir.Node) -> bool | None:
    """Fold constants, but never one whose values are still in the checkpoint."""
    external = any(value is not None and isinstance(value.const_value, ir.ExternalTensor) for value in node.inputs)
    return False if external else None


def _is_fake(value: ir.Value) -> bool:
    return "Fake" in repr(type(value.const_value))


def forget_origin(model: ir.Model) -> None:
    """Remove the exporter's notes on everything: stack traces, with the paths of this machine."""
    for item in (model, model.graph, *model.graph, *(out for node in model.graph for out in node.outputs)):
        item.metadata_props.clear()
        item.doc_string = None if not isinstance(item, ir.Value) else item.doc_string
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _cut_weights(graph: ir.Graph, sources: Mapping[str, TensorSource]) -> dict[str, TensorSource]:
    """Rules of a graph in which no weight is sliced: a slice of one becomes a weight of its own."""
    found = dict(sources)
    for node in [node for node in graph if node.op_type == "Slice"]:
        source, *where = node.inputs
        if source is None or source.name is None or source.name not in sources:
            continue
        start, stop, axis = (_number(value) for value in where[:3])
        name = f"{source.name}.{start}_{stop}"
        if name not in found:
            found[name] = replace(sources[source.name], cut=(axis, start, stop))
            part = ir.Value(name=name, shape=node.outputs[0].shape, type=source.type, const_value=source.const_value)
            graph.register_initializer(part)
        node.outputs[0].replace_all_uses_with(graph.initializers[name])
        graph.remove(node, safe=True)
        if not source.uses():
            del graph.initializers[source.name]
    return found


def _number(value: ir.Value | None) -> int:
    """Number of a constant, behind which casts and reshapes were traced."""
    assert value is not None
    tensor, producer = ir.convenience.get_const_tensor(value), value.producer()
    if tensor is not None:
        return int(tensor.numpy().item())
    assert producer is not None
    assert producer.op_type in ("Cast", "Reshape"), f"a weight is sliced by {producer.op_type}"
    return _number(producer.inputs[0])


def _check_complete(model: ir.Model, known: Set[str]) -> None:
    fake = [n for n, v in model.graph.initializers.items() if n not in known and _is_fake(v)]
    assert not fake, f"initializers without a source: {fake}"
