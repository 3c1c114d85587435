"""The model repository in the stock server, from the wheel of nvidia-pytriton."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from inference_v2 import (
    CHECKS,
    PROTOCOLS,
    RESPONSES,
    Server,
    check_concurrent_clients,
    check_full_queue,
    check_plain_json,
    encoded,
    line,
    picture,
    refused,
    same_tensors,
    untimed,
    values,
)

from examples.serving.triton_server import libpython, running, venv_packages
from yoj.runtime import Scorer, decode_request
from yoj.serving.triton._repository import TritonSettings, write_repository

ROOT = Path(__file__).parents[2]
VENV = Path(os.environ.get("YOJ_TRITON_VENV") or ROOT / ".venv-triton")


def missing() -> str | None:
    if importlib.util.find_spec("tritonclient") is None:
        return "tritonclient[grpc,http] is not installed"
    if not (venv_packages(VENV) / "pytriton" / "tritonserver").is_dir():
        return f"{VENV} does not hold nvidia-pytriton for this Python (make {VENV.name}/.ready, or YOJ_TRITON_VENV)"
    return None if libpython() else "this Python has no shared library, which Triton's process for models links"


pytestmark = [pytest.mark.export, pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@dataclass(frozen=True)
class Triton(Server):
    log: Path


@pytest.fixture(scope="module")
def triton(bundle, tmp_path_factory) -> Iterator[Triton]:
    """The server with models in two environments: that of the wheel with NumPy 1, and this one with NumPy 2."""
    folder = tmp_path_factory.mktemp("triton")
    repository, judge = folder / "repository", bundle("qwen3_vl", "assistant")
    write_repository(judge, repository, TritonSettings("judge", threads=1, max_delay=0.005, copy=True))
    write_repository(judge, repository, TritonSettings("small", ("json",), threads=1, max_queue=1, max_batch=1))
    here = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{sys.prefix}" }} }}\n'
    for path in write_repository(judge, repository, TritonSettings("here", ("json", "utf8"), threads=1)):
        with (path / "config.pbtxt").open("a") as config:
            config.write(here)
    with running(VENV, repository, folder, ["judge", "judge_tensors", "small", "here_utf8"]) as server:
        # With as many threads: scores depend on their number, in the last bit.
        yield Triton(server.http, server.grpc, Scorer.load(judge, threads=1), server.log)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("check", CHECKS)
def test_it_answers_as_the_scorer_does(check, protocol, triton):
    check(triton, protocol)


def test_plain_json_is_answered(triton):
    check_plain_json(triton)


def page(kind: str, beginning: str) -> str:
    """The block of the page on Triton that begins so."""
    text = (ROOT / "docs" / "triton.md").read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return next(block for of, block in blocks if of == kind and block.startswith(beginning))


def test_the_python_of_the_page_runs(triton, tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.jpg").write_bytes(picture())
    monkeypatch.chdir(tmp_path)
    exec(page("python", "import numpy").replace("localhost:8001", triton.grpc), found := {})
    found["client"].close()
    expected = triton.scorer.score("What is shown?", ["A cat.", "A red bus."], images=[picture()])
    assert capsys.readouterr().out.strip() == str(np.array([expected.scores], np.float32))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_of_the_page_runs(triton):
    command = page("", "curl").replace("localhost:8000", triton.http)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    outputs = {one["name"]: one["data"] for one in json.loads(done.stdout)["outputs"]}
    assert np.float32(outputs["SCORES"]).tolist() == list(triton.scorer.score("Which?", ["This.", "That."]).scores)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pictures_may_be_raw_bytes(protocol, triton):
    with triton.client(protocol) as client:
        found = client.score("Which?", RESPONSES, [picture()])
    same_tensors(found, triton.scorer.score("Which?", RESPONSES, images=[picture()]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_text_that_is_not_utf8_is_refused(protocol, triton):
    given = {"PROMPT": values(b"Which?"), "RESPONSES": values(b"ok", b"\xff\xfe")}
    refused(triton, protocol, "judge_tensors", given, "RESPONSES[1] is not UTF-8: byte 0 is 0xFF.")


def test_requests_that_come_together_are_scored_together(triton):
    check_concurrent_clients(triton, "grpc")
    with triton.client("grpc") as client:
        (stats,) = client.connection.get_inference_statistics("judge_tensors", as_json=True)["model_stats"]
    assert int(stats["inference_count"]) > int(stats["execution_count"]) > 0


def test_over_a_full_queue_requests_are_refused_at_once(triton):
    check_full_queue(triton, "small", "Exceeds maximum queue size")


@pytest.mark.skipif(int(np.__version__[0]) < 2, reason="this environment has NumPy 1")
class TestBackendOlderThanNumpy:
    """What happens beside NumPy 2, which is newer than the Python backend of this server."""

    def test_requests_are_read_from_uint8(self, triton):
        text = line(metadata="é")
        (expected,) = triton.scorer.score_batch([decode_request(text)])
        with triton.client("http") as client:
            found = client.infer("here_utf8", {"REQUEST": np.frombuffer(text, np.uint8)[None]})
        assert untimed(json.loads(found["JUDGEMENT"].tobytes())) == untimed(encoded(expected))
        assert "PyCapsule" not in triton.log.read_text("utf-8", "replace")

    def test_two_requests_in_one_are_refused(self, triton):
        two = np.frombuffer(line() * 2, np.uint8).reshape(2, -1)
        refused(triton, "grpc", "here_utf8", {"REQUEST": two}, f"REQUEST has the shape [2, {len(line())}]; give [1,")

    def test_a_model_that_would_die_of_bytes_is_not_loaded(self, triton):
        from tritonclient.utils import InferenceServerException

        with triton.client("http") as client:
            with pytest.raises(InferenceServerException, match=f"is older than NumPy {np.__version__}, and dies of"):
                client.connection.load_model("here")
            assert client.connection.is_model_ready("judge")
