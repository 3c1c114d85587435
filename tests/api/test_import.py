"""The promise of a thin runtime: what importing it costs, and what it must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest
from parts import COMMANDS

from yoj.bench._runtime_cost import measure_import

HEAVY = (
    "torch", "transformers", "onnx", "onnxruntime", "tokenizers", "PIL", "av", "click", "logging", "urllib.request",
)  # fmt: skip


@pytest.mark.slow
def test_import_is_small_and_loads_nothing_heavy():
    """How long it takes is for the bench (`yoj-bench runtime-cost`): seconds fail on a busy machine."""
    assert measure_import()["import_MiB"] <= 60
    code = f"import sys, yoj.runtime; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("part", COMMANDS)
def test_the_help_of_a_command_loads_no_pytorch(part):
    code = f"import sys, yoj.{part}.cli; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_scoring_loads_neither_torch_nor_transformers(bundle):
    code = f"""
import sys
from yoj.runtime import Scorer
Scorer.load({str(bundle("merged", "assistant"))!r}).score("Why?", ["Because.", "No."])
print([name for name in ("torch", "transformers", "onnx", "safetensors") if name in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_public_names():
    import yoj.runtime

    assert sorted(yoj.runtime.__all__) == [
        "BundleError", "DimensionScores", "EngineError", "EngineMemoryError", "Explanation", "HubError", "Image",
        "Judgement", "Knockout", "LeftOutRegion", "LeftOutSentence", "LengthError", "LimitError", "MediaError",
        "Message", "Policy", "Prepared", "Rationale", "Reading", "Request", "RequestError", "ScoreError", "Scorer",
        "ShownPicture", "TokenCounts", "Truncation", "Video", "YojError", "__version__", "decode_request",
        "encode_judgement", "knockout",
    ]  # fmt: skip
    assert all(hasattr(yoj.runtime, name) for name in yoj.runtime.__all__)
