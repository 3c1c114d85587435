"""The small products that the runtime ships are those that an export makes today."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from tiers import with_variants

from yoj.export.quantisation._probes import model_of, unsigned
from yoj.runtime.engines import exact

pytestmark = pytest.mark.slow


def content(model: onnx.ModelProto) -> list[object]:
    """What is computed, whatever the names."""
    nodes = [(node.domain, node.op_type, sorted(map(str, node.attribute))) for node in model.graph.node]
    constants = sorted(
        (t.data_type, tuple(t.dims), onnx.numpy_helper.to_array(t).tobytes()) for t in model.graph.initializer
    )
    return [nodes, constants]


@pytest.mark.parametrize("arithmetic", exact.ARITHMETIC)
@pytest.mark.parametrize("scheme", with_variants([*exact.LARGEST_WEIGHT], always=2))
def test_the_shipped_probe_is_what_an_export_traces(scheme, arithmetic):
    made = model_of(scheme, getattr(torch, arithmetic))
    shipped = onnx.load(exact.probe(scheme, arithmetic))
    assert content(shipped) == content(ir.to_proto(made)), "Write them anew: python -m yoj.export.quantisation._probes"
    if scheme in exact.UNSIGNED and arithmetic == "float32":
        shipped = onnx.load(exact.probe(scheme, arithmetic, unsigned=True))
        assert content(shipped) == content(unsigned(made)), "Write them anew: python -m yoj.export.quantisation._probes"
