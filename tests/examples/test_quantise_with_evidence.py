"""The commands from a checkpoint to an 8-bit bundle run as they stand, and the bundle has the evidence."""

from __future__ import annotations

import msgspec
import pytest
from run_examples import run_example

from yoj.calibration._gate import REPORT, Gate
from yoj.runtime.bundle import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.export, pytest.mark.thorough]


def test_the_bundle_says_what_it_lost(tmp_path):
    said = run_example("quantise.sh", tmp_path, 64)
    bundle = Bundle.open(tmp_path / "int8.yoj")
    gate = msgspec.json.decode((bundle.path / REPORT.format(engine="onnxruntime")).read_bytes(), type=Gate)
    assert (gate.precision, gate.requests) == ("int8", 64)
    assert gate.accuracy > 0.9
    assert gate.bytes < gate.bytes_against
    assert "first places changed" in said
