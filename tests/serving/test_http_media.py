"""Media that the server fetches or refuses: hosts, redirects, bombs, large pictures. All hosts are loopback."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image
from servers import Served, running
from test_app import RESPONSES, data_url, picture, right, untimed

from yoj.serving import HttpSettings

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """A host with a picture, redirects and a path that never ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", self.path[4:])
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            if self.path == "/never":
                time.sleep(5)
            self.wfile.write(picture())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def allowing(scorer, host) -> Iterator[Served]:
    with running(scorer("qwen3_vl"), HttpSettings(hosts=frozenset({host}))) as server:
        yield server


def refused(server: Served, image: str) -> str:
    found = server.judge(image=image)
    assert (found.status_code, found.json()["error"]["type"]) == (400, "media"), found.text
    assert server.judge().status_code == 200
    return found.json()["error"]["message"]


def test_a_picture_of_an_allowed_host_is_fetched(allowing, host, scorer):
    found = allowing.judge(responses=RESPONSES, image=f"http://{host}/a.png")
    assert untimed(found.json()) == untimed(right(scorer, "Which?", RESPONSES, [picture()]))


def test_by_default_nothing_is_fetched_and_no_file_is_read(served, host):
    assert f"--allow-host {host}" in refused(served, f"http://{host}/a.png")
    assert "files are not read here" in refused(served, "/etc/hostname")
    assert "files are not read here" in refused(served, "file:///etc/hostname")


def test_redirects_are_checked_again(allowing, host):
    port = host.partition(":")[2]
    assert "is a redirect to 'http://127.0.0.2" in refused(allowing, f"http://{host}/to/http://127.0.0.2:{port}/a.png")
    for target in ("http://169.254.169.254/latest", "file:///etc/hostname"):
        refused(allowing, f"http://{host}/to/{target}")


def test_names_of_private_addresses_and_link_local_ones_are_never_fetched_from(scorer, host):
    port = host.partition(":")[2]
    hosts = frozenset({f"localhost:{port}", "169.254.169.254"})
    with running(scorer("qwen3_vl"), HttpSettings(hosts=hosts)) as server:
        assert "which is no public one" in refused(server, f"http://localhost:{port}/a.png")
        assert "nothing is ever fetched" in refused(server, "http://169.254.169.254/latest/meta-data")


def test_a_host_that_answers_slowly_stops_nobody(allowing, host):
    slow = threading.Thread(target=allowing.judge, kwargs={"image": f"http://{host}/never"})
    slow.start()
    for _ in range(3):
        assert allowing.judge().status_code == 200
    assert slow.is_alive()
    slow.join()


def test_a_host_that_never_answers_is_given_up_in_time(allowing, host):
    body = {"prompt": "Which?", "responses": RESPONSES, "image": f"http://{host}/never"}
    found = allowing.client.post("/v1/judge", json=body, headers={"X-Request-Timeout": "0.3"})
    assert (found.status_code, found.json()["error"]["type"]) == (504, "deadline")


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def test_a_picture_bomb_is_refused_before_it_is_decoded(served):
    found = served.judge(image=data_url(bomb(60_000, 60_000)))
    assert found.status_code == 400
    assert "pixels" in found.json()["error"]["message"]
    assert served.judge().status_code == 200


def test_a_picture_of_fifty_megabytes_is_refused_by_its_size_and_taken_where_that_is_allowed(scorer, served):
    out = io.BytesIO()
    Image.effect_noise((7_000, 2_500), 90).convert("RGB").save(out, "BMP")
    form = {"request": (None, json.dumps({"prompt": "Which?", "responses": RESPONSES, "image": "cid:photo"}))}
    form |= {"photo": out.getvalue()}
    found = served.client.post("/v1/judge", files=form)
    assert found.status_code == 413
    assert "33,554,432 bytes, which are the limit" in found.json()["error"]["message"]
    assert served.judge().status_code == 200
    with running(scorer("qwen3_vl"), HttpSettings(max_body=64 * 2**20)) as server:
        found = server.client.post("/v1/judge", files=form)
    assert untimed(found.json()) == untimed(right(scorer, "Which?", RESPONSES, [out.getvalue()]))
