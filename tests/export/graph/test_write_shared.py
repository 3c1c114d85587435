"""Tests share what they trace: nothing is lost on the way, and nothing is shared that tracing would tell apart."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kept_traces
import numpy as np
import onnx_ir as ir
import pytest
import torch
import traces
from kept_traces import folder_in, forget_others
from recorded import MERGED
from tiers import with_variants
from tiny_qwen3_vl import TinyQwen, write_qwen
from traces import SharedTraces, key

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families import GraphSpec
from yoj.export.families.opening import open_family
from yoj.export.graph import write as graph

pytestmark = pytest.mark.export

JOINT = 1


@pytest.fixture(scope="module")
def specs(tmp_path_factory) -> Callable[..., list[GraphSpec]]:
    """specs(kind, **changes) -> the graphs of a tiny model; the changes are of `TinyQwen`."""

    @functools.cache
    def checkpoint(kind: str, **changes: Any) -> Checkpoint:
        if kind == "molmo2":
            return Checkpoint.open([MERGED])
        folder = write_qwen(TinyQwen(**changes), tmp_path_factory.mktemp("qwen") / "c", hidden_state="post_norm")
        return Checkpoint.open([folder])

    return lambda kind="qwen3_vl", **changes: open_family(checkpoint(kind, **changes)).graphs


def described(model: ir.Model) -> list[Any]:
    """All that a graph says, but for the values of weights and where its nodes came from."""
    kept = [(name, value.dtype, value.shape, _constant(value)) for name, value in model.graph.initializers.items()]
    ends = [(v.name, v.dtype, v.shape) for v in (*model.graph.inputs, *model.graph.outputs)]
    nodes = [
        (
            *(node.name, node.domain, node.op_type, *map(_attribute, node.attributes.values())),
            *(value and value.name for value in node.inputs),
            *((value.name, value.dtype, value.shape) for value in node.outputs),
        )
        for node in model.graph
    ]
    return [*kept, *ends, *nodes, dict(model.opset_imports), model.ir_version]


def _attribute(attribute: ir.Attr) -> tuple[Any, ...]:
    value = attribute.value
    if isinstance(value, ir.TensorProtocol):
        value = (value.dtype, value.shape, value.tobytes())
    elif attribute.type == ir.AttributeType.FLOAT:
        value = np.float32(value)  # as every file has it
    return attribute.name, attribute.type, value


def _constant(value: ir.Value) -> bytes | None:
    assert value.const_value is not None
    fake = isinstance(value.const_value.raw, torch._subclasses.FakeTensor)
    return None if fake else value.const_value.tobytes()


@pytest.mark.parametrize("kind", with_variants(["molmo2", "qwen3_vl"]))
def test_a_shared_graph_is_what_is_traced(kind, specs):
    shared = graph.trace
    assert isinstance(shared, SharedTraces)  # what all exports of this run go through
    traced, found = (trace(specs(kind)[JOINT], torch.float32) for trace in (shared.trace, shared))
    assert len(described(traced)) > 100
    assert described(found) == described(traced)
    assert {_constant(found.graph.initializers[name]) for name in specs(kind)[JOINT].sources} == {None}


def test_a_graph_is_traced_once_and_everyone_has_his_own(specs, tmp_path):
    traced = []

    def trace(spec: GraphSpec, _: torch.dtype) -> ir.Model:
        traced.append(spec.role)
        return ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)

    shared = SharedTraces(tmp_path / "traces", trace)
    models = [shared(spec, torch.float32) for _ in range(2) for spec in specs()]
    models += [SharedTraces(tmp_path / "traces", trace)(specs()[0], torch.float32)]  # of another worker
    assert traced == ["vision", "scorer.joint", "scorer.segmented"]
    assert len({id(model) for model in models}) == len(models)


@pytest.mark.thorough
def test_a_process_that_a_test_starts_finds_what_is_traced_here(specs, tmp_path):
    graph.trace(specs()[JOINT], torch.float32)
    folder = write_qwen(TinyQwen(), tmp_path / "checkpoint", hidden_state="post_norm")
    code = """if True:
        import sys, torch
        from pathlib import Path
        from yoj.export.checkpoint.checkpoint import Checkpoint
        from yoj.export.families.opening import open_family
        from yoj.export.graph import write

        spec = open_family(Checkpoint.open([Path(sys.argv[1])])).graphs[1]
        write.trace.trace = None  # whoever traces anew calls it
        print(len(write.trace(spec, torch.float32).graph))
    """
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(graph.trace(specs()[JOINT], torch.float32).graph)


def test_a_test_that_is_not_marked_must_not_trace(specs, monkeypatch):
    monkeypatch.setenv("YOJ_TEST_WITHOUT_EXPORT", "test_x.py::test_y")
    with pytest.raises(AssertionError, match=r"test_x\.py::test_y traces a graph: mark it `export`"):
        graph.trace(specs()[JOINT], torch.float32)


def test_weights_do_not_matter(specs):
    assert key(specs(seed=1)[JOINT], torch.float32) == key(specs(seed=2)[JOINT], torch.float32)


@pytest.mark.parametrize(
    "changes",
    [{"layers": 3}, {"D": 96}, {"rope_theta": 10_000.0}, {"sections": (8, 4, 4)}, {"intermediate": 112}, {"heads": 2}],
)
def test_whatever_is_of_the_model_matters(changes, specs):
    assert key(specs(**changes)[JOINT], torch.float32) != key(specs()[JOINT], torch.float32)


def test_whatever_is_of_the_graph_matters(specs):
    spec = specs()[JOINT]
    others = [
        key(spec, torch.float16),
        key(replace(spec, role="other"), torch.float32),
        key(replace(spec, outputs={"score": spec.outputs["scores"]}), torch.float32),
        key(replace(spec, multiples={"L": 2}), torch.float32),
        key(replace(spec, inputs=dict(reversed(spec.inputs.items()))), torch.float32),
    ]
    assert len({*others, key(specs()[JOINT], torch.float32)}) == len(others) + 1


def test_what_a_layer_is_set_to_matters(specs):
    plain, other = specs()[JOINT], specs()[JOINT]
    norms = [module for module in other.module.modules() if hasattr(module, "eps")]
    norms[-1].eps *= 2
    assert key(plain, torch.float32) != key(other, torch.float32)


def test_values_are_never_part_of_a_key(specs):
    spec = specs()[JOINT]
    real = replace(spec, module=torch.nn.Linear(2, 2), sources={}, constants={})
    with pytest.raises(AssertionError, match="values would be part of the key"):
        key(real, torch.float32)


def test_traces_are_of_this_code_and_these_libraries(tmp_path, monkeypatch):
    code, cache = [tmp_path / "package", tmp_path / "one.py"], tmp_path / "cache"
    code[0].mkdir()
    (code[0] / "module.py").write_text("a = 1")
    code[1].write_text("b = 1")
    folders = [folder_in(cache, code)]
    assert folder_in(cache, code) == folders[0]
    for file in (code[0] / "module.py", code[1], code[0] / "another.py"):
        file.write_text("a = 2")
        folders.append(folder_in(cache, code))
    monkeypatch.setattr(kept_traces, "version", lambda name: f"0.{len(name)}")
    folders.append(folder_in(cache, code))
    assert len(set(folders)) == len(folders)
    for folder in folders:
        folder.mkdir(parents=True)
    forget_others(folders[2])
    assert list(cache.iterdir()) == [folders[2]]


def test_the_folder_is_of_this_code(pytestconfig):
    assert isinstance(graph.trace, SharedTraces)
    assert graph.trace.folder == folder_in(pytestconfig.cache.mkdir("traces"))


def test_a_run_that_is_stopped_leaves_no_half_of_a_graph(specs, tmp_path, monkeypatch):
    def stopped(_: ir.Model, file: Path) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    model = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)
    shared = SharedTraces(tmp_path, lambda *_: model)
    with monkeypatch.context() as patch:
        patch.setattr(traces, "save", stopped)
        with pytest.raises(KeyboardInterrupt):
            shared(specs()[JOINT], torch.float32)
    assert shared(specs()[JOINT], torch.float32).ir_version == 10
