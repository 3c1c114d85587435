"""The models of KServe in its server, driven by the checks that drive Triton."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from inference_v2 import (
    CHECKS,
    PROTOCOLS,
    RESPONSES,
    Server,
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

from examples.serving.triton_server import free_ports
from yoj.runtime import Scorer

MISSING = [name for name in ("kserve", "tritonclient") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.slow
needs_kserve = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (pip install kserve)")


@pytest.fixture(scope="module")
def kserve(bundle, tmp_path_factory) -> Iterator[Server]:
    http, grpc = free_ports(2)
    log = tmp_path_factory.mktemp("kserve") / "kserve.log"
    judge = bundle("qwen3_vl", "assistant")
    command = [sys.executable, "-m", "yoj.serving", "kserve", judge, "--name", "judge"]
    with log.open("wb") as out:
        options = ["--http-port", str(http), "--grpc-port", str(grpc), "--threads", "1", "--max-queue", "8"]
        process = subprocess.Popen([*command, *options], stdout=out, stderr=out)
    try:
        while not is_ready(http):
            assert process.poll() is None, log.read_text("utf-8", "replace")[-4000:]
            time.sleep(0.1)
        # With as many threads: scores depend on their number, in the last bit.
        yield Server(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", Scorer.load(judge, threads=1))
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text("utf-8", "replace")[-4000:]


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@needs_kserve
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("check", CHECKS)
def test_it_answers_as_triton_does(check, protocol, kserve):
    check(kserve, protocol)


@needs_kserve
def test_plain_json_is_answered(kserve):
    check_plain_json(kserve)


@needs_kserve
def test_pictures_may_be_raw_bytes_over_grpc(kserve):
    with kserve.client("grpc") as client:
        found = client.score("Which?", RESPONSES, [picture()])
    same_tensors(found, kserve.scorer.score("Which?", RESPONSES, images=[picture()]))


@needs_kserve
def test_a_text_that_is_not_utf8_is_refused(kserve):
    given = {"PROMPT": values(b"Which?"), "RESPONSES": values(b"ok", b"\xff\xfe")}
    refused(kserve, "grpc", "judge_tensors", given, "RESPONSES[1] is not UTF-8: byte 0 is 0xFF.")


@needs_kserve
def test_an_input_of_another_name_is_refused(kserve):
    given = {"PROMPT": values(b"Which?"), "ANSWERS": values(b"A.", b"B.")}
    refused(kserve, "grpc", "judge_tensors", given, "There is no input 'ANSWERS'; there are PROMPT, RESPONSES, IMAGES.")


@needs_kserve
def test_over_a_full_queue_requests_are_refused_at_once(kserve):
    check_full_queue(kserve, "judge", "8 requests are in the server, which takes 8 at once")


@needs_kserve
def test_protocol_v1_has_instances(kserve):
    lines = [json.loads(line()), json.loads(line(responses=RESPONSES[:2]))]
    found = httpx.post(f"http://{kserve.http}/v1/models/judge:predict", json={"instances": lines}, timeout=60)
    expected = [kserve.scorer.score("Which?", RESPONSES), kserve.scorer.score("Which?", RESPONSES[:2])]
    assert [untimed(one) for one in found.json()["predictions"]] == [untimed(encoded(one)) for one in expected]
    bad = httpx.post(f"http://{kserve.http}/v1/models/judge:predict", json={"instances": [lines[0], 3]}, timeout=60)
    assert (bad.status_code, bad.json()["error"][:29]) == (400, "instances[1] is no object; gi")


@pytest.mark.skipif("kserve" not in MISSING, reason="kserve is installed")
def test_without_kserve_the_command_says_what_to_install():
    command = [sys.executable, "-m", "yoj.serving", "kserve", "judge.yoj"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert "pip install 'yoj[kserve]'" in found.stderr
