"""Where media may come from: folders, links, hosts, sizes. Servers of the tests are on this machine."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from yoj.runtime import MediaError
from yoj.runtime._fetch import check_url
from yoj.runtime.errors import LimitError
from yoj.runtime.sources import Policy, is_base64, policy_of_files

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
BASE64 = base64.b64encode(PNG).decode()


def refused(policy: Policy, source: object, kind: type[Exception] = MediaError) -> str:
    with pytest.raises(kind) as caught:
        policy.image(source, "image")
    return str(caught.value)


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with a picture in it, a picture beside it, and links."""
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    for file in (folder / "a.png", folder / "sub" / "b.png", tmp_path / "secret.png"):
        file.write_bytes(PNG)
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "in.png").symlink_to(folder / "a.png")
    (folder / "up").symlink_to(tmp_path)
    return folder


def test_files_in_the_root_are_found_however_they_are_written(root):
    policy = Policy(root)
    a = root / "a.png"
    for source in ("a.png", "./sub/../a.png", str(a), a.as_uri(), "in.png", {"path": "a.png"}):
        assert policy.image(source, "image") == a
    assert policy.image("sub/b.png", "image") == root / "sub" / "b.png"
    assert policy.image("none.png", "image") == root / "none.png"


@pytest.mark.parametrize("source", ["../secret.png", "sub/../../secret.png", "out.png", "up/secret.png", "/etc/hosts",
                                    "file:///etc/hosts", "/", ".."])  # fmt: skip
def test_files_outside_of_the_root_are_refused_with_its_name_and_how_to_widen_it(source, root):
    message = refused(Policy(root), source)
    assert f"lies outside of {root}, the folder that media may come from" in message
    assert "--media-root DIR" in message


def test_a_folder_whose_name_only_begins_like_the_roots_is_outside(root):
    (root.parent / "root2").mkdir()
    assert "lies outside" in refused(Policy(root), "../root2/a.png")


def test_frames_that_are_links_out_of_the_root_are_refused(root):
    frames = root / "frames"
    frames.mkdir()
    (frames / "0.png").symlink_to(root / "a.png")
    assert Policy(root).video("frames", "video") == frames
    (frames / "1.png").symlink_to(root.parent / "secret.png")
    with pytest.raises(MediaError, match=r"video has the frame '1\.png', which lies outside"):
        Policy(root).video("frames", "video")


def test_a_list_is_a_list_of_frames_each_by_the_policy(root):
    assert Policy(root).video(["a.png", BASE64], "video") == [root / "a.png", PNG]
    with pytest.raises(MediaError, match=r"video\[1\] is '\.\./secret\.png'"):
        Policy(root).video(["a.png", "../secret.png"], "video")


def test_without_a_root_no_file_is_read():
    assert "files are not read here. Send it as a data URL" in refused(Policy(), "a.png")


def test_relative_paths_begin_at_the_folder_of_the_file_where_the_root_holds_it(root, tmp_path):
    inside = policy_of_files(root, tmp_path)
    assert inside.image("a.png", "image") == root / "a.png"
    assert inside.image("../secret.png", "image") == tmp_path / "secret.png"
    elsewhere = policy_of_files(tmp_path / "other", root)
    assert elsewhere.image("a.png", "image") == root / "a.png"
    assert policy_of_files(root).image("a.png", "image") == root / "a.png"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a\0b", "image is no path"),
        ("  ", "image is an empty text"),
        (None, "image is None; give a path"),
        (["a.png"], "image is ['a.png']; give a path"),
        ({"bytes": None, "path": None}, "image holds nothing"),
        ({"bytes": BASE64, "id": 3}, "image holds 'bytes', 'id'"),
        ({"bytes": "!!!!"}, "image.bytes is no base64"),
        ("data:image/png,abc", "give data:image/png;base64,"),
        ("data:image/png;base64,a", "image is no base64"),
        ("s3://bucket/a.png", "image is a s3 URL"),
        ("ftp://host/a.png", "image is a ftp URL"),
        ("file://host/a.png", "image is on the host 'host'; write three slashes"),
    ],
)
def test_what_is_no_source_is_an_error_that_says_what_is(source, said, root):
    assert said in refused(Policy(root), source)


def test_a_long_text_is_shortened_in_the_error(root):
    assert len(refused(Policy(root), {"x" * 9000: 1})) < 400
    assert len(refused(Policy(root), "s3://" + "x" * 9000)) < 400
    assert len(refused(Policy(root), "../" + "x" * 9000)) < 600


def test_media_in_the_request_may_be_forbidden_and_are_bounded(root):
    url = f"data:image/png;base64,{BASE64}"
    assert Policy().image(url, "image") == PNG
    assert Policy().image("\n".join(BASE64[k : k + 76] for k in range(0, len(BASE64), 76)), "image") == PNG
    for source in (url, BASE64, {"bytes": BASE64}):
        assert "not allowed here" in refused(Policy(root, data=False), source)
        assert "50 bytes are the limit" in refused(Policy(root, max_bytes=50), source, LimitError)


@pytest.mark.parametrize("begin", [b"\x89PNG", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\1\2\3\4WEBP", b"BM", b"II*\0",
                                   b"\0\0\0\x20ftypavif", b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3"])  # fmt: skip
def test_base64_is_told_from_a_path_by_how_files_begin(begin):
    assert is_base64(base64.b64encode(begin + bytes(80)).decode())


@pytest.mark.parametrize("path", ["a.png", "iVBORw0KGgo", "photos/" + "a" * 80, "/9j/" + "a" * 80 + ".jpg", "é" * 90])
def test_paths_are_not_taken_for_base64(path):
    assert not is_base64(path)


class Handler(BaseHTTPRequestHandler):
    """A picture, a redirect, an error, one that is too long or too slow."""

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        if self.path == "/a.png":
            self.wfile.write(PNG)
        for _ in range(40 if self.path == "/slow" else 0):
            self.wfile.write(b"x")
            time.sleep(0.1)
        if self.path == "/long":
            self.wfile.write(bytes(200_000))

    def log_message(self, *_):
        pass


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with serving() as found:
        yield found


def allowing(*hosts: str, **limits) -> Policy:
    return Policy(hosts=frozenset(hosts), **limits)


def test_media_are_fetched_from_hosts_that_are_written_in_the_policy(host):
    assert allowing(host).image(f"http://{host}/a.png", "image") == PNG
    assert allowing(host).image(f"HTTP://{host}/to//a.png", "image") == PNG


def test_by_default_nothing_is_fetched(host):
    message = refused(Policy(), f"http://{host}/a.png")
    assert f"--allow-host {host}" in message


@pytest.mark.slow
def test_redirects_are_held_to_the_policy(host):
    with serving() as other:
        url = f"http://{host}/to/http://{other}/a.png"
        assert f"is a redirect to 'http://{other}/a.png', which is on the host {other}" in refused(allowing(host), url)
        assert allowing(host, other).image(url, "image") == PNG
    assert "Redirection to url 'file:///etc/hosts' is not allowed" in refused(
        allowing(host), f"http://{host}/to/file:///etc/hosts"
    )


def test_a_name_that_leads_into_the_own_network_is_refused(host):
    port = host.partition(":")[2]
    message = refused(allowing(f"localhost:{port}"), f"http://localhost:{port}/a.png")
    assert "localhost has the address" in message
    assert "which is no public one" in message


@pytest.mark.parametrize("address", ["169.254.169.254", "[fe80::1]", "[fe80::1%25eth0]", "[::ffff:169.254.169.254]"])
def test_link_local_addresses_are_refused_even_where_they_are_allowed(address):
    assert "from which nothing is ever fetched" in refused(allowing(address), f"http://{address}/latest/meta-data")


def test_attachments_are_found_by_name():
    policy = Policy(attachments={"photo": PNG, "other": b""})
    assert policy.image("cid:photo", "image") == PNG
    assert policy.video(["CID:photo"], "video") == [PNG]
    assert refused(policy, "cid:photos") == (
        "image is the file 'photos', which was not sent with the request; sent were photo, other."
    )
    assert "which was not sent with the request; sent were none" in refused(Policy(), "cid:photo")


@pytest.mark.slow
def test_size_time_and_status_are_bounded(host):
    assert "more than 1,000 bytes" in refused(allowing(host, max_bytes=1000), f"http://{host}/long", LimitError)
    assert "took longer than 0.3 s" in refused(allowing(host, timeout=0.3), f"http://{host}/slow")
    assert "the host answers 404" in refused(allowing(host), f"http://{host}/none")
    assert "cannot be fetched" in refused(allowing("127.0.0.1:1"), "http://127.0.0.1:1/a.png")


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://example.com/a", {"example.com"}),
        ("https://EXAMPLE.com./a", {"Example.com"}),
        ("http://example.com:80/a", {"example.com"}),
        ("https://example.com:8443/a", {"example.com:8443"}),
        ("http://[::1]/a", {"::1"}),
        ("http://[::1]:8000/a", {"[::1]:8000"}),
    ],
)
def test_hosts_that_are_allowed(url, hosts):
    check_url(url, frozenset(hosts), "image")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://sub.example.com/a", {"example.com"}),
        ("https://example.com.evil.org/a", {"example.com"}),
        ("https://example.com:8443/a", {"example.com"}),
        ("https://example.com@evil.org/a", {"example.com"}),
        ("https://user:word@example.com/a", {"example.com"}),
        ("https://evil.org/#example.com", {"example.com"}),
        ("https:///a", {"example.com"}),
        ("https://example.com:x/a", {"example.com"}),
        ("https://[::1/a", {"::1"}),
        ("file://example.com/a", {"example.com"}),
    ],
)
def test_hosts_that_are_not(url, hosts):
    with pytest.raises(MediaError):
        check_url(url, frozenset(hosts), "image")
