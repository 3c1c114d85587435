"""Benchmarks of a server: what they count is right, on a real server of a tiny bundle."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from commands import run_here

from yoj.bench import _soak as soak_module
from yoj.bench._errors import BenchError
from yoj.bench._serve import ServeSettings, measure
from yoj.bench._server import Server, made_requests, scored_alone
from yoj.bench._soak import _client, _Soak
from yoj.runtime import Scorer

pytestmark = pytest.mark.export


def test_figures_of_serving(bundle):
    found = measure(bundle("qwen3_vl", "assistant"), ServeSettings(requests=60, rounds=1, threads=1))
    (one,) = found["rounds"]
    assert one["answered"] + one["refused"] == 60
    assert one["answered"] > 0
    assert found["ratio"] == one["served"] / one["offline"] > 0
    assert one["direct_p50_ms"] > 0
    assert found["added_p50_ms"] == one["http_p50_ms"] - one["direct_p50_ms"]


@pytest.mark.slow
def test_a_soak_ends_the_server_on_the_way_and_finds_every_answer_once(bundle, tmp_path):
    out = tmp_path / "soak.json"
    options = ["--requests", "400", "--clients", "4", "--restarts", "3", "--out", str(out)]
    printed = run_here("yoj-bench", "soak", str(bundle("qwen3_vl", "assistant")), *options)
    assert "400 requests of 4 clients: 0 lost, 0 doubled, 0 wrong" in printed.stdout, printed.stderr
    found = json.loads(out.read_text())
    assert found["counts"]["answered"] == 400
    assert found["counts"]["ConnectionRefusedError"] > 0  # while it started again
    assert len(found["lives"]) == 4


class _Wrong(BaseHTTPRequestHandler):
    """Server that answers with another request's id every time, and with wrong scores."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"id": 0, "scores": [0.0, 1.0]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_soak_sees_lost_doubled_and_wrong_answers(bundle, monkeypatch):
    from tqdm import tqdm

    monkeypatch.setattr(soak_module, "ABANDONED", 0.0)
    path = bundle("qwen3_vl", "assistant")
    bodies = made_requests(64, 3)
    with Scorer.load(path) as scorer:
        expected = scored_alone(scorer, bodies)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Wrong) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with tqdm(total=3, file=open(os.devnull, "w")) as bar:
            soak = _Soak(Server(path, port=server.server_port), bodies, expected, iter(range(3)), bar)
            _client(soak, 0)
        server.shutdown()
    assert soak.answered == {0: 3}
    assert len(soak.wrong) == 3


def test_a_server_that_does_not_start_is_an_error_with_its_last_words(tmp_path):
    with pytest.raises(BenchError, match=r"did not start: .*missing"):
        Server(tmp_path / "missing.yoj").start()
