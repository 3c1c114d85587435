"""The measurement of bulk scoring: its variants agree, and what it counts is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from commands import run_here
from recorded import IMAGES, MERGED

from yoj.bench import BenchError
from yoj.bench._bulk import BulkSettings, lines_of, measure, table
from yoj.bench.memory import PeakOfChildren, memory_below

pytestmark = pytest.mark.slow


@pytest.mark.export
def test_variants_agree_and_are_counted(bundle, tmp_path):
    picture = IMAGES / "odd_small.png"
    (tmp_path / "a.png").write_bytes(picture.read_bytes())
    lines = [
        {"prompt": f"What is {k}?", "responses": ["A cat.", "Two dogs.", "Nothing."][: 1 + k % 3]}
        | ({"image": "a.png"} if k % 2 else {})
        for k in range(20)
    ]
    requests = tmp_path / "requests.jsonl"
    requests.write_text("\n".join(map(json.dumps, lines)))
    threads = os.cpu_count() or 1
    found = measure(BulkSettings(bundle("merged", "assistant"), requests, 18, MERGED, threads, 2), 1)
    names = ["plain loop", "batches of 16", "pipeline", "pipeline, 2 workers", "PyTorch"]
    assert [*found["variants"]] == names
    assert found["requests"] == 18
    for of in found["variants"].values():
        assert of["requests_per_s"] > 0
        assert 0 < of["busy"] < 1
        assert of["difference"] <= 1e-4
        assert of["peak_bytes"] > 20e6
    assert all(name in table(found) for name in names)


@pytest.mark.export
@pytest.mark.thorough
def test_the_command_writes_its_figures(bundle, tmp_path):
    out = tmp_path / "bulk.json"
    options = ["--count", "20", "--repeats", "1", "--workers", "1", "--out", str(out), "--name", "tiny"]
    printed = run_here("yoj-bench", "bulk", str(bundle("qwen3_vl", "assistant")), *options)
    assert "pipeline" in printed.stdout, printed.stderr
    assert [*json.loads(out.read_text())["tiny"]["variants"]] == ["plain loop", "batches of 16", "pipeline"]


def test_a_file_without_requests_is_an_error(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    with pytest.raises(BenchError, match=r"empty\.jsonl has no requests"):
        lines_of(BulkSettings(tmp_path, empty, 10, None, 1, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_children_is_seen():
    with PeakOfChildren() as peak:
        before = memory_below(os.getpid())
        script = "x = bytearray(50_000_000); print('there', flush=True); input()"
        command = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"there\n"
            peak.read()
            child.communicate(b"\n")
        assert peak.read() - before >= 50_000_000
