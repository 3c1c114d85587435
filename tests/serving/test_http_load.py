"""Load: a bounded queue, batches of alike lengths, callers who go, deadlines, hostile connections, the end."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from servers import command_serving, running

from yoj.runtime import Request
from yoj.serving import HttpSettings
from yoj.serving import _protocol as protocol_module
from yoj.serving._settings import QueueSettings

pytestmark = pytest.mark.export


@pytest.fixture
def gate(scorer, monkeypatch):
    """The engine waits until this event is set; the batches that it has begun with."""
    own, batches, event = scorer("qwen3_vl"), [], threading.Event()
    score = own.score_prepared

    def gated(batch, **settings):
        if threading.current_thread().name.startswith("yoj-engine"):
            batches.append([one.tokens for one in batch])
            event.wait(60)
        return score(batch, **settings)

    monkeypatch.setattr(own, "score_prepared", gated)
    yield event, batches
    event.set()


def eventually(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def in_server(server) -> float:
    return server.service.metrics.in_server._value.get()


def queued(server) -> int:
    return len(server.service.batcher._queue)


def test_over_capacity_is_refused_at_once_and_nothing_is_lost(scorer, gate):
    event, _ = gate
    settings = HttpSettings(queue=QueueSettings(max_queue=4))
    with running(scorer("qwen3_vl"), settings) as server, ThreadPoolExecutor(4) as pool:
        taken = [pool.submit(server.judge, id=k) for k in range(4)]
        eventually(lambda: in_server(server) == 4)
        refused = server.judge()
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert server.client.get("/health").status_code == 200
        event.set()
        assert [one.result().json()["id"] for one in taken] == [0, 1, 2, 3]
        assert server.judge().status_code == 200


def test_what_waits_is_scored_together_with_what_has_its_length(scorer, gate):
    event, batches = gate
    long = "A long answer of many words. " * 40
    tokens = scorer("qwen3_vl").prepare(Request("Which?", ["One.", long])).tokens
    settings = HttpSettings(queue=QueueSettings(batch_tokens=3 * tokens))
    with running(scorer("qwen3_vl"), settings) as server, ThreadPoolExecutor(8) as pool:
        first = pool.submit(server.judge)
        eventually(lambda: len(batches) == 1)
        others = [pool.submit(server.judge, responses=["One.", "Two." if k % 2 else long]) for k in range(6)]
        eventually(lambda: queued(server) == 6)
        event.set()
        found = [one.result().json() for one in (first, *others)]
    assert [one["batch"] for one in found[1:]] == [3] * 6
    assert sorted(map(len, batches)) == [1, 3, 3]
    assert all(max(batch) - min(batch) < 8 for batch in batches)


def test_callers_who_go_leave_the_queue(scorer, gate):
    event, batches = gate
    with running(scorer("qwen3_vl"), HttpSettings()) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.judge)
        eventually(lambda: len(batches) == 1)
        body = json.dumps({"prompt": "Which?", "responses": ["One.", "Two."]}).encode()
        gone = socket.create_connection(("127.0.0.1", server.port))
        gone.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        eventually(lambda: in_server(server) == 2 and queued(server) == 1)
        gone.close()
        eventually(lambda: in_server(server) == 1)
        event.set()
        assert first.result().status_code == 200
        assert server.judge().status_code == 200
        assert [len(batch) for batch in batches] == [1, 1]


def test_a_request_whose_time_is_over_is_answered_and_not_scored(scorer, gate):
    event, batches = gate
    with running(scorer("qwen3_vl"), HttpSettings()) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.judge)
        eventually(lambda: len(batches) == 1)
        body = {"prompt": "Which?", "responses": ["One.", "Two."]}
        late = server.client.post("/v1/judge", json=body, headers={"X-Request-Timeout": "0.05"})
        assert (late.status_code, late.json()["error"]["type"]) == (504, "deadline")
        event.set()
        assert first.result().status_code == 200
        assert [len(batch) for batch in batches] == [1]
    wrong = {"X-Request-Timeout": "soon"}
    with running(scorer("qwen3_vl"), HttpSettings()) as server:
        assert server.client.post("/v1/judge", json=body, headers=wrong).status_code == 400


def test_large_bodies_are_refused_before_they_are_read(scorer):
    settings = HttpSettings(max_body=100_000, max_bytes=150_000)
    with running(scorer("qwen3_vl"), settings) as server:
        told = socket.create_connection(("127.0.0.1", server.port))
        told.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        assert told.recv(4096).startswith(b"HTTP/1.1 413")
        told.close()

        def pieces():
            yield from (b" " * 50_000 for _ in range(10))

        untold = server.client.post("/v1/judge", content=pieces())
        assert (untold.status_code, untold.json()["error"]["type"]) == (413, "body")
        assert server.judge().status_code == 200


def test_slow_callers_do_not_stop_others(scorer, monkeypatch):
    monkeypatch.setattr(protocol_module, "HEAD_SECONDS", 0.2)
    with running(scorer("qwen3_vl"), HttpSettings(body_seconds=0.2)) as server:
        heads = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        for head in heads:
            head.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: a\r\n")
        body = socket.create_connection(("127.0.0.1", server.port))
        body.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
        assert server.judge().status_code == 200
        assert body.recv(4096).startswith(b"HTTP/1.1 413")
        for head in heads:
            head.settimeout(10)
            assert head.recv(4096) == b""  # closed
        endless = socket.create_connection(("127.0.0.1", server.port))
        endless.settimeout(10)
        endless.sendall(b"GET /health HTTP/1.1\r\nX: ")
        with pytest.raises(ConnectionError):
            endless.sendall(b"a" * 2**27)
        assert server.judge().status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx",
        b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx",
    ],
)
def test_bodies_that_no_route_reads_are_not_waited_for(sent, scorer, monkeypatch):
    monkeypatch.setattr(protocol_module, "BODY_SECONDS", 0.3)
    with running(scorer("qwen3_vl"), HttpSettings()) as server:
        one = socket.create_connection(("127.0.0.1", server.port), 20)
        one.sendall(sent)
        while one.recv(65536):
            pass  # until it is closed


def closed_on(port: int, pieces: Iterable[bytes]) -> None:
    """Send pieces until the server closes the connection."""
    one = socket.create_connection(("127.0.0.1", port), 20)
    for piece in pieces:
        one.sendall(piece)
        time.sleep(0.01)
    assert one.recv(100) == b""
    raise ConnectionResetError


def test_trailers_without_end_are_cut_off(scorer):
    head = b"POST /v1/judge HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: "
    with running(scorer("qwen3_vl"), HttpSettings(max_body=100_000)) as server:
        with pytest.raises(ConnectionError):
            closed_on(server.port, [head, *[b"a" * 100_000] * 100])
        assert server.judge().status_code == 200


def test_a_head_of_half_a_mebibyte_is_too_long_however_it_comes(scorer):
    with running(scorer("qwen3_vl"), HttpSettings()) as server:
        with pytest.raises(ConnectionError):
            closed_on(
                server.port, [b"GET /health HTTP/1.1\r\nX: " + b"a" * 200_000, *[b"a" * 100_000] * 4, b"\r\n\r\n"]
            )
        assert server.judge().status_code == 200


def test_callers_who_have_not_sent_their_bodies_hold_no_places(scorer):
    head = b"POST /v1/judge HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n"
    with running(scorer("qwen3_vl"), HttpSettings(queue=QueueSettings(max_queue=2), max_bytes=100_000)) as server:
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
        for one in waiting:
            one.sendall(head)
        time.sleep(0.1)
        assert server.judge().status_code == 200
        for one in waiting:
            one.close()


def test_what_takes_long_to_decode_is_answered_in_time_and_stops_nobody(scorer, monkeypatch):
    own, free = scorer("qwen3_vl"), threading.Event()
    prepare = own.prepare

    def slow(request, *arguments):
        if request.id == "slow":
            assert free.wait(60)
        return prepare(request, *arguments)

    with monkeypatch.context() as patch, running(own, HttpSettings(queue=QueueSettings(intake_threads=2))) as server:
        patch.setattr(own, "prepare", slow)
        line = {"prompt": "Which?", "responses": ["One.", "Two."]}
        lines = [line | {"id": "slow"}, *[line] * 3]
        headers = {"X-Request-Timeout": "0.5"}
        late = server.client.post("/v1/judge/batch", json={"requests": lines}, headers=headers).json()["results"]
        assert late[0]["error"]["type"] == "deadline"
        assert [len(one["scores"]) for one in late[1:]] == [2, 2, 2]
        assert server.judge().status_code == 200
        free.set()


def test_long_texts_are_refused_before_they_are_tokenised(scorer):
    with running(scorer("qwen3_vl"), HttpSettings()) as server:
        found = server.judge(responses=["a b " * 2_000_000, "b"])
        assert (found.status_code, found.json()["error"]["type"]) == (400, "length")
        assert "8,000,007 characters of text" in found.json()["error"]["message"]


def test_compressed_bodies_are_refused(scorer):
    with running(scorer("qwen3_vl"), HttpSettings()) as server:
        found = server.client.post("/v1/judge", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
        assert (found.status_code, found.json()["error"]["type"]) == (415, "encoding")
        assert server.judge().status_code == 200


def test_keys(scorer):
    settings = HttpSettings(api_keys=("first", "second", "schlüssel"))
    with running(scorer("qwen3_vl"), settings) as server:
        assert server.judge().status_code == 401
        body = {"prompt": "Which?", "responses": ["One."]}
        for headers, status in (
            ({"Authorization": "Bearer second"}, 200),
            ({"X-Api-Key": "first"}, 200),
            ({"Authorization": "Bearer schlüssel".encode()}, 200),
            ({"Authorization": "Bearer third"}, 401),
            ({"Authorization": "Basic first"}, 401),
            ({"Authorization": "Bearer"}, 401),
        ):
            assert server.client.post("/v1/judge", json=body, headers=headers).status_code == status
        assert server.client.get("/ready").status_code == 200
        assert server.client.get("/metrics").status_code == 401
        metrics = server.client.get("/metrics", headers={"X-Api-Key": "first"}).text
        assert 'yoj_errors_total{kind="access"} 5.0' in metrics
        assert 'yoj_request_seconds_count{route="/v1/judge",status="401"} 4.0' in metrics


def test_log_lines_hold_nothing_of_a_request_unless_they_are_asked_to(scorer, caplog):
    caplog.set_level("INFO", "yoj.serving")
    secret = {"prompt": "Which?", "responses": ["One."], "xyzzy": 1}
    for log_content in (False, True):
        caplog.clear()
        with running(scorer("qwen3_vl"), replace(HttpSettings(), log_content=log_content)) as server:
            assert server.client.post("/v1/judge", json=secret).status_code == 400
        (record,) = [record for record in caplog.records if record.getMessage() == "request"]
        assert record.fields["status"] == 400
        assert ("xyzzy" in repr(record.fields)) == log_content


def test_a_fault_of_ours_shows_nothing_and_the_next_is_answered(scorer, monkeypatch):
    own = scorer("qwen3_vl")

    def fail(_batch, **_settings):
        raise ZeroDivisionError("a secret path")

    with running(own, HttpSettings()) as server:
        with monkeypatch.context() as patch:
            patch.setattr(own, "score_prepared", fail)
            found = server.judge()
        assert found.status_code == 500
        assert "secret" not in found.text
        assert server.judge().status_code == 200


def test_what_was_taken_is_answered_on_sigterm(bundle):
    lines = [{"prompt": f"Which of {k}?", "responses": ["A long answer. " * 60, "Two."]} for k in range(40)]
    with command_serving(bundle("qwen3_vl", "assistant")) as (child, base, _), ThreadPoolExecutor(1) as pool:
        taken = pool.submit(httpx.post, f"{base}/v1/judge/batch", json={"requests": lines}, timeout=120)
        time.sleep(0.3)
        child.send_signal(signal.SIGTERM)
        answer = taken.result()
        assert child.wait(60) == -signal.SIGTERM  # as uvicorn ends, once all is answered
    assert answer.status_code == 200
    assert all("scores" in one for one in answer.json()["results"])
