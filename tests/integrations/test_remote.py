"""A judge behind HTTP gives what the scorer gives, and waits for a server that is busy or away."""

from __future__ import annotations

import pickle
import re
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image
from servers import running

from yoj.integrations import GroupReward, RemoteError, RemoteJudge, RewardSettings, _remote, trl
from yoj.runtime import Image as Picture
from yoj.runtime import Judgement, MediaError, Message, Request, RequestError, Scorer, Video, YojError
from yoj.serving import HttpSettings

pytestmark = [pytest.mark.export, pytest.mark.slow]

KEY = "the-key-of-the-tests"
RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing."]
GREY = Image.radial_gradient("L").resize((41, 30))
COLOURS = Image.merge("RGB", [GREY, GREY.rotate(90, expand=False), GREY.point(lambda v: 255 - v)])


def turned() -> Image.Image:
    """A picture with an orientation that is to be applied."""
    image = COLOURS.copy()
    image.getexif()[0x0112] = 6
    return image


PICTURES = {
    "RGB": COLOURS,
    "grey": GREY,
    "bilevel": GREY.convert("1"),
    "palette": COLOURS.quantize(16),
    "transparent": Image.merge("RGBA", [*COLOURS.split(), GREY]),
    "transparent grey": Image.merge("LA", [GREY, GREY.rotate(180)]),
    "16 bits": Image.fromarray(np.asarray(GREY, np.uint16) * 200),
    "turned": turned(),
    "array": np.asarray(COLOURS)[:, ::-1],
}


@pytest.fixture(scope="module")
def judge(scorer) -> Scorer:
    return scorer("qwen3_vl")


@pytest.fixture(scope="module")
def url(judge):
    with running(judge, HttpSettings(api_keys=(KEY,))) as server:
        yield f"http://127.0.0.1:{server.port}"


def both(judge: Scorer, url: str, request: Request) -> tuple[Judgement | YojError, Judgement | YojError]:
    (here,) = judge.score_batch([request], on_error="return")
    (there,) = RemoteJudge(url, key=KEY).score_batch([request])
    return here, there


def same(here: Judgement, there: Judgement) -> None:
    """All but the times. A picture of the short form travels as a part of the prompt."""

    def told(judgement: Judgement) -> dict:
        notices = [notice.replace("images[0]", "prompt[0]") for notice in judgement.notices]
        return vars(judgement) | {"timings_ms": {}, "batch": 1, "notices": notices}

    assert told(here) == told(there)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_arrives_with_its_pixels(name, judge, url):
    here, there = both(judge, url, Request("Which?", RESPONSES, images=[PICTURES[name]], id=name))
    same(here, there)
    assert here.scores != judge.score("Which?", RESPONSES).scores


def test_all_forms_of_a_request_arrive(judge, url, tmp_path):
    file, frames = tmp_path / "a.png", tmp_path / "frames"
    COLOURS.save(file)
    frames.mkdir()
    for number in range(3):
        COLOURS.rotate(30 * number).save(frames / f"{number}.png")
    requests = [
        Request("Which?", RESPONSES, images=[file, str(file), file.read_bytes()], id=7, metadata={1}),
        Request(["Look: ", Picture(file), "Which?"], RESPONSES),
        Request([Message("system", "Be strict."), {"role": "user", "content": "Which?"}], RESPONSES, orders=2),
        Request("Which <image>?", RESPONSES, images=[file], placeholders="media"),
        Request("Which <image>?", RESPONSES, placeholders="text", mode="isolated"),
        Request("Which?", [[Picture(file), "A cat."], "A dog."]),
        Request("Which?", ["A cat.", "A dog.", "A cat."], duplicates="score"),
        Request("Which?", RESPONSES, video=frames, fps=3.0),
        Request([Video(sorted(frames.iterdir()), timestamps=[0, 1.5, 7])], RESPONSES),
    ]
    for request in requests:
        same(*both(judge, url, request))
    together = RemoteJudge(url, key=KEY).score_batch(requests * 3)
    for here, there in zip(judge.score_batch(requests) * 3, together, strict=True):
        np.testing.assert_allclose(here.scores, there.scores, atol=1e-5)


def test_an_error_has_the_scorers_class_and_text(judge, url):
    requests = [
        Request("Which?", ["word " * 30_000]),
        Request("Which?", RESPONSES, images=[b"\x89PNG\r\n\x1a\n no picture"]),
        Request("Which?", []),
        Request("Which?", RESPONSES, orders=4),
        Request("Which?", RESPONSES, dimension="quality"),
    ]
    for request in requests:
        here, there = both(judge, url, request)
        assert type(here) is type(there)
        if not isinstance(here, MediaError):  # which names the picture by its place in what was sent
            assert str(here) == str(there)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("gone.png", "gone.png cannot be read"),
        (COLOURS.convert("CMYK"), "is an image of the mode CMYK, which no PNG file holds; convert it to RGB"),
        (np.zeros((3, 3)), r"is an array of float64 \[3, 3\]; give uint8 \[H, W, 3\]"),
        (7, "images\\[0\\] is a int; give a path, bytes"),
    ],
)
def test_a_picture_that_cannot_be_sent_is_the_requests_error(image, text, url):
    results = RemoteJudge(url, key=KEY).score_batch(
        [Request("Which?", RESPONSES, images=[image]), Request("Which?", RESPONSES)]
    )
    with pytest.raises(MediaError, match=text):
        raise results[0]
    assert isinstance(results[1], Judgement)


def test_the_reward_of_a_group_is_that_of_the_bundle(judge, url):
    settings = RewardSettings(orders=2, spread_floor=0.0)
    groups = [Request("Which?", RESPONSES, images=[COLOURS], id=f"3:{k}") for k in range(4)] + [Request("Which?", [])]
    here = GroupReward(judge, settings).rewards(groups)
    there = GroupReward(pickle.loads(pickle.dumps(RemoteJudge(url, key=KEY))), settings).rewards(groups)
    for ours, theirs in zip(here, there, strict=True):
        assert ours.orders == theirs.orders
        if ours.rewards is not None:
            np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=1e-5)
    assert str(here[-1].error) == str(there[-1].error)


def test_a_wrong_key_or_address_is_told_at_once(url):
    request = Request("Which?", RESPONSES)
    with pytest.raises(RemoteError, match=r"answers 401: .*No valid API key"):
        RemoteJudge(url, key="another").score_batch([request])
    with pytest.raises(RemoteError, match=r"answers 404: .* Leave the route out, here '/v1', unless a proxy") as error:
        RemoteJudge(f"{url}/v1/", key=KEY).score_batch([request])
    assert str(error.value).count(url) == 1
    assert KEY not in repr(RemoteJudge(url, key=KEY))


@pytest.mark.parametrize(
    "wrong",
    ["judge.yoj", "ftp://host", "http://", "http://host:port", "localhost:8000", "http://a b", "http://a..b", None],
)
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(RequestError, match="is no address of a server; give http://HOST:PORT"):
        RemoteJudge(wrong)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"url": "http://me:secret@host"}, "has a '@', as of a user or a password; give key=..."),
        ({"url": "http://host/?token=secret"}, r"has a '\?', as of a query; give http://HOST:PORT alone"),
        (
            {"key": "secret\n"},
            "The key has spaces around it, a line break, or what is no printable ASCII; give that of the server",
        ),
        ({"key": "secret\u00e9"}, "The key has spaces around it, a line break, or what is no printable ASCII"),
        ({"key": ""}, "The key is empty"),
        ({"key": b"secret"}, "The key is of the type bytes"),
        ({"timeout": "secret"}, "timeout is 'secret'; give seconds above 0"),
        ({"timeout": 0}, "timeout is 0; give seconds above 0"),
    ],
)
def test_what_a_remote_judge_cannot_have_is_refused_without_a_secret(wrong, text):
    with pytest.raises(RequestError, match=text) as error:
        RemoteJudge(**({"url": "http://host"} | wrong))
    assert "timeout" in wrong or "secret" not in str(error.value)


@contextmanager
def answering(*answers: tuple[int, dict, bytes]):
    """A server that gives these answers one after the other, and what it was asked."""
    asked, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            status, headers, body = left.pop(0) if left else answers[-1]
            if status == 0:
                self.connection.close()
                return
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def error(message: str, kind: str, code: int) -> bytes:
    return b'{"message": "%b", "type": "%b", "param": null, "code": %d}' % (message.encode(), kind.encode(), code)


FULL = (429, {"Retry-After": "0"}, b'{"error": ' + error("The server is full.", "overloaded", 429) + b"}")
GOOD = (
    b'{"scores": [1, 2.5], "probabilities": [0, 1], "ranks": [2, 1], "best": 1, "margin": 1.5, "entropy": 0, '
    b'"calibrated": false}'
)
JUDGED = (200, {}, b'{"results": [' + GOOD + b"]}")
NO_MEMORY = (200, {}, b'{"results": [{"error": ' + error("No memory.", "memory", 503) + b"}]}")
TWO = Request("Which?", ["a", "b"])


@pytest.mark.parametrize("first", [FULL, NO_MEMORY, (503, {}, b"<html>a proxy's</html>"), (0, {}, b"")])
def test_a_server_that_is_busy_or_away_is_asked_again(first):
    with answering(first, first, JUDGED) as (url, asked):
        (judgement,) = RemoteJudge(url, timeout=60).score_batch([TWO])
    assert judgement.scores == (1.0, 2.5)
    assert len(asked) == 3
    assert asked[0][2] == asked[2][2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def waits(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "yoj.integrations"]


@pytest.mark.parametrize(("timeout", "first"), [(0.5, 30.0), (300.0, 0.5)])
def test_a_server_that_was_never_reached_stops_all(timeout, first, monkeypatch, caplog):
    monkeypatch.setattr(_remote, "FIRST_CONTACT", first)
    url = f"http://127.0.0.1:{free_port()}"
    text = rf"^{url} never answered; the last try: ConnectionRefusedError: .*Give the address of a running yoj-serve"
    reward = GroupReward(RemoteJudge(url, timeout=timeout))
    with pytest.raises(RemoteError, match=text):
        reward.rewards([TWO])
    (wait,) = waits(caplog)
    assert re.match(rf"{url}: ConnectionRefusedError: .*\. It is asked again for up to 0\.\d s\.$", wait)
    with pytest.raises(RemoteError, match=text):  # the adapter of TRL, which gives None for a group that fails
        trl.GroupReward(RemoteJudge(url, timeout=0.5), 2, on_error="none")(["Which?"] * 2, ["a", "b"])


def test_what_does_not_pass_stops_all_at_once(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it was waited for"))
    with pytest.raises(RemoteError, match=r"http://nowhere\.invalid:8000: the name of the host is not known here"):
        RemoteJudge("http://nowhere.invalid:8000").score_batch([TWO])
    with (
        answering(JUDGED) as (url, asked),
        pytest.raises(RemoteError, match=r"does not speak TLS .*Give http:// where the server has no certificate"),
    ):
        RemoteJudge(url.replace("http:", "https:")).score_batch([TWO])
    assert not asked


def test_a_server_of_something_else_stops_all():
    """It takes connections and speaks no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.sendall(b"SSH-2.0-a\r\n")

        threading.Thread(target=greet, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RemoteError, match=f"{url} never answered; the last try: "):
            RemoteJudge(url, timeout=0.7).score_batch([TWO])
        server.shutdown(socket.SHUT_RDWR)


def test_a_server_that_stays_away_is_given_up(monkeypatch, caplog):
    """Once it was reached it is waited for, for the whole time, and what was not scored are errors."""
    with answering(JUDGED) as (url, _):
        judge = RemoteJudge(url, timeout=1.0)
        judge.score_batch([TWO])
    monkeypatch.setattr(_remote, "FIRST_CONTACT", 0.0)
    for one in (judge, pickle.loads(pickle.dumps(judge))):
        first, second = one.score_batch([TWO, TWO])
        for found in (first, second):
            assert isinstance(found, RemoteError)
            assert f"{url} did not score 2 requests within 1 s; the last try: ConnectionRefusedError" in str(found)
    assert len(waits(caplog)) == 2


def test_a_server_that_takes_too_long_was_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:  # the system takes its connections
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        (one,) = RemoteJudge(url, timeout=0.5).score_batch([TWO])
    assert f"{url} did not score 1 requests within 0.5 s; the last try: TimeoutError" in str(one)


def test_a_server_that_stays_full_is_given_up():
    with answering(FULL) as (url, asked):
        (one,) = RemoteJudge(url, timeout=1.0).score_batch([TWO])
    assert "the last try: " in str(one)
    assert "The server is full." in str(one)
    assert len(asked) > 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, {}, b"hello"), "answers .*hello.* to 1 requests; is it a yoj-serve"),
        ((200, {}, b'{"results": []}'), "answers 0 results to 1 requests"),
        ((200, {}, b'{"results": [{"scores": "high"}]}'), "answers what is no judgement"),
        ((500, {}, b'{"error": ' + error("The server failed.", "internal", 500) + b"}"), "The server failed."),
    ],
)
def test_an_answer_that_is_none_is_an_error(answer, text):
    with answering(answer) as (url, asked):
        (one,) = RemoteJudge(url, timeout=60).score_batch([TWO])
    with pytest.raises(RemoteError, match=text):
        raise one
    assert len(asked) == 1


def test_a_restarted_server_is_waited_for(judge):
    """It comes back at the same port while the judge asks."""
    with running(judge, HttpSettings()) as server:
        port = server.port
    found: list = []
    asking = threading.Thread(
        target=lambda: found.extend(RemoteJudge(f"http://127.0.0.1:{port}", timeout=60).score_batch([TWO]))
    )
    asking.start()
    with running(judge, HttpSettings(), port=port):
        asking.join(60)
    assert found[0].scores == judge.score("Which?", ["a", "b"]).scores
