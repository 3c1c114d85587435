"""Plans of a bundle that writes rationales are of its scorers and its vision tower alone."""

from __future__ import annotations

import pytest
from quiet import Quiet
from rationales import export, write_source

from yoj.export.tensorrt._compile import CompileJob, compile_bundle
from yoj.export.tensorrt._profiles import parse_profile
from yoj.runtime import Request, Scorer
from yoj.runtime.bundle import Bundle

pytestmark = pytest.mark.export

pytest.importorskip("tensorrt_rtx_bindings", reason="plans are built for real: pip install 'yoj[trt-rtx]'")

SMALL = [parse_profile("B=1:1:2,L=16:64:256,N=2:4:8,V=1:16:64,F=1:1:4,P=16:16:64")]


class Heard(Quiet):
    """Notes of a command, kept."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_no_plan_is_built_of_the_language_graph_and_it_is_said(tmp_path):
    path = export(write_source("qwen3_vl", tmp_path / "checkpoint"), tmp_path / "judge.yoj")
    heard = Heard()
    (entry,) = compile_bundle(CompileJob(path, "tensorrt-rtx", ["sm86"], SMALL), heard)
    assert set(entry.graphs) == {"vision", "scorer.joint", "scorer.segmented"}
    assert "no plan is built of the graph language; engine onnxruntime executes it" in heard.notes
    assert "language" in Bundle.open(path).engine("onnxruntime").graphs
    assert Scorer.load(path).rationale(Request("Which?", ["one"]), 0, max_tokens=2).tokens
