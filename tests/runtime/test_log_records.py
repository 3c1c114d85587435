"""What the runtime tells the standard library's logging, and that it is silent where nobody asked."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from yoj.runtime import Scorer

BUNDLE = Path(__file__).parents[1] / "data" / "bundles" / "molmo2-0.1"


def test_the_opening_of_a_bundle_is_logged_with_what_it_holds(caplog):
    with caplog.at_level(logging.INFO, "yoj"):
        Scorer.load(BUNDLE)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("yoj", "INFO")
    assert str(BUNDLE) in record.getMessage()
    assert "molmo2 with onnxruntime float32" in record.getMessage()


def test_graphs_are_logged_for_those_who_look_closer(caplog):
    with caplog.at_level(logging.DEBUG, "yoj"):
        Scorer.load(BUNDLE)
    messages = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    assert any("onnx/scorer.joint.onnx" in message for message in messages)


def test_nothing_is_printed_where_logging_is_not_set_up():
    code = "import sys, logging; from yoj.runtime import Scorer; Scorer.load(sys.argv[1]); "
    code += "logging.getLogger('yoj').warning('for those who listen')"
    done = subprocess.run([sys.executable, "-c", code, BUNDLE], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
