"""Groups over HTTP: samples that come one by one get the rewards of their group, whatever becomes of the callers."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from servers import Served, command_serving, running
from test_app import data_url, picture

from yoj.integrations import GroupReward, MeetingSettings, RewardedGroup, RewardSettings
from yoj.runtime import Request
from yoj.serving import HttpSettings
from yoj.serving._settings import GroupSettings, QueueSettings

pytestmark = pytest.mark.export

TEXTS = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A cat and a dog."]


def settings(timeout: float = 60.0, **fields) -> HttpSettings:
    queue = fields.pop("queue", QueueSettings())
    reward = RewardSettings(**{name: fields.pop(name) for name in ("reward",) if name in fields})
    return HttpSettings(queue=queue, groups=GroupSettings(MeetingSettings(timeout, **fields), reward))


@pytest.fixture(scope="module")
def served(scorer) -> Iterator[Served]:
    with running(scorer("qwen3_vl"), settings()) as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def body(group: str, k: int | str, response: str = "", **fields) -> dict:
    response = response or TEXTS[int(k)]
    return {"group": group, "size": 4, "sample": k, "prompt": "Which?", "response": response} | fields


def send(server: Served, fields: dict, path: str = "", **more) -> httpx.Response:
    return server.client.post(f"/v1/groups{path}", json=fields, **more)


def right(scorer, group: str, texts=TEXTS, images=(), **fields) -> RewardedGroup:
    (found,) = GroupReward(scorer("qwen3_vl"), RewardSettings(**fields)).rewards(
        [Request("Which?", texts, images, id=group)]
    )
    assert found.rewards is not None
    return found


def eventually(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def waiting(server: Served) -> int:
    return server.service.groups._meeting.waiting


def test_rewards_are_those_of_the_group_and_its_scores_those_of_judge_bit_for_bit(served, scorer, pool):
    image = picture()
    found = list(pool.map(lambda k: send(served, body("bits", k, image=data_url(image))).json(), (2, 0, 3, 1)))
    expected = right(scorer, "bits", images=[image])
    assert [one["reward"] for one in found] == [expected.rewards[k] for k in (2, 0, 3, 1)]
    assert [one["place"] for one in found] == [2, 0, 3, 1]
    group = found[0]["group"]
    (order,) = group["orders"]
    judged = served.judge(responses=[TEXTS[k] for k in order], image=data_url(image)).json()
    assert [group["scores"][k] for k in order] == judged["scores"]
    assert (group["id"], group["mean"], group["rewards"]) == ("bits", expected.mean, list(expected.rewards))


def test_a_sample_that_is_sent_again_gets_the_same_answer(served, pool):
    found = [one.json() for one in pool.map(lambda k: send(served, body("again", k)), [*range(4), 2, 1])]
    again = send(served, body("again", 2))
    assert again.json() == found[2] == found[4]
    assert found[1] == found[5]


def test_pictures_may_come_as_files(served, scorer, pool):
    def upload(k: int) -> dict:
        parts = {"request": (None, json.dumps(body("files", k, image="cid:photo"))), "photo": ("a.png", picture())}
        return served.client.post("/v1/groups", files=parts).json()

    assert [one["reward"] for one in pool.map(upload, range(4))] == list(
        right(scorer, "files", images=[picture()]).rewards
    )


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"group": 1}, 400, "request", "group is 1; give the group's key"),
        ({"size": 0}, 400, "request", "size is 0"),
        ({"sample": None}, 400, "request", "There is no sample"),
        ({"sample": 1.5}, 400, "request", "sample is 1.5"),
        ({"response": None}, 400, "request", "There is no response"),
        ({"orders": 2}, 400, "request", "A sample has no 'orders'; it has group, size, sample, response, prompt"),
        ({"prompt": None}, 400, "request", "no prompt"),
        ({"model": "gpt"}, 404, "unknown_model", "'gpt' is not served"),
        ({"image": "http://localhost/a.png"}, 400, "media", "localhost"),
        ({"size": 100_000}, 409, "group", "are the limit of the meeting point"),
        ({"size": 1, "image": data_url(b"no picture")}, 400, "media", "The judge failed for group"),
        ({"size": 1, "response": "x" * 10**6}, 400, "length", "The judge failed for group"),
    ],
)
def test_bad_input_gets_its_status_and_text(fields, status, kind, words, served):
    found = send(served, body(f"bad {fields}", 0) | fields)
    assert found.status_code == status, found.text
    error = found.json()["error"]
    assert (error["type"], words in error["message"]) == (kind, True), error


def test_a_contradiction_fails_the_group(served, pool):
    first = pool.submit(send, served, body("two prompts", 0))
    eventually(lambda: waiting(served) == 1)
    second = send(served, body("two prompts", 1, prompt="Who?"))
    for found in (first.result(), second):
        assert (found.status_code, found.json()["error"]["type"]) == (409, "group")
        assert "Sample 1 of group 'two prompts' has another prompt" in found.json()["error"]["message"]


def test_a_group_whose_time_is_over(scorer, pool):
    with running(scorer("qwen3_vl"), settings(timeout=0.2)) as server:
        found = list(pool.map(lambda k: send(server, body("short", k)), (0, 2)))
        for one in found:
            assert (one.status_code, one.json()["error"]["type"]) == (504, "deadline")
            assert "Group 'short' had 2 of its 4 samples after 0.2 s: 0, 2" in one.json()["error"]["message"]
    with running(scorer("qwen3_vl"), settings(timeout=0.2, partial="score")) as server:
        found = [one.json() for one in pool.map(lambda k: send(server, body("short", k)), (0, 2))]
        assert [one["reward"] for one in found] == list(right(scorer, "short", [TEXTS[0], TEXTS[2]]).rewards)


def test_a_caller_who_goes_leaves_the_sample_and_gets_the_answer_when_it_comes_again(served, scorer, pool):
    content = json.dumps(body("gone", 0)).encode()
    gone = socket.create_connection(("127.0.0.1", served.port))
    gone.sendall(b"POST /v1/groups HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
    eventually(lambda: waiting(served) == 1)
    gone.close()
    late = send(served, body("gone", 1), headers={"X-Request-Timeout": "0.05"})
    assert (late.status_code, late.json()["error"]["type"]) == (504, "deadline")
    assert "The sample stays there: send it again" in late.json()["error"]["message"]
    assert waiting(served) == 2
    rest = list(pool.map(lambda k: send(served, body("gone", k)), (2, 3)))
    again = [send(served, body("gone", k)) for k in (0, 1)]
    assert [one.json()["reward"] for one in (*again, *rest)] == list(right(scorer, "gone").rewards)


def test_samples_that_wait_take_no_places_of_others_and_others_none_of_theirs(scorer, pool, monkeypatch):
    own, event = scorer("qwen3_vl"), threading.Event()
    score = own.score_prepared

    def gated(batch, **fields):
        if threading.current_thread().name.startswith("yoj-engine"):
            event.wait(60)
        return score(batch, **fields)

    monkeypatch.setattr(own, "score_prepared", gated)
    with running(own, settings(queue=QueueSettings(max_queue=2, intake_threads=1))) as server:
        waits = [pool.submit(send, server, body("a", k)) for k in range(3)]
        eventually(lambda: waiting(server) == 3)
        others = [pool.submit(server.judge, id=k) for k in range(2)]
        eventually(lambda: server.service.batcher._taken == 2)
        assert server.judge().status_code == 429
        waits.append(pool.submit(send, server, body("a", 3)))  # the server is full, and takes the last sample
        eventually(lambda: server.service.batcher._taken == 3)
        event.set()
        assert [one.result().json()["reward"] for one in waits] == list(right(scorer, "a").rewards)
        assert [one.result().json()["id"] for one in others] == [0, 1]


def test_over_the_bound_new_groups_are_refused_with_429(scorer, pool):
    with running(scorer("qwen3_vl"), settings(max_samples=5)) as server:
        first = [pool.submit(send, server, body("a", k)) for k in range(3)]
        eventually(lambda: waiting(server) == 3)
        refused = send(server, body("b", 0))
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert send(server, body("a", 3)).status_code == 200
        assert all(one.result().status_code == 200 for one in first)


def test_what_is_counted(served, pool):
    list(pool.map(lambda k: send(served, body("counted", k)), range(4)))
    lines = served.client.get("/metrics").text.splitlines()
    assert "yoj_group_samples_waiting 0.0" in lines
    schema = served.client.get("/openapi.json").json()
    assert {"/v1/groups", "/v1/groups/openrlhf"} <= schema["paths"].keys()
    assert {"group", "size", "sample", "response", "prompt"} == set(
        schema["components"]["schemas"]["Sample"]["required"]
    )


def test_each_group_is_counted_once_by_its_outcome(scorer, pool):
    with running(scorer("qwen3_vl"), settings(timeout=1.0)) as server:
        assert outcomes(server) == {"scored": 0, "failed": 0}
        list(pool.map(lambda k: send(server, body("whole", k)), range(4)))
        send(server, body("whole", 0))  # again
        assert outcomes(server) == {"scored": 1, "failed": 0}
        assert {one.status_code for one in pool.map(lambda k: send(server, body("late", k)), range(2))} == {504}
        assert outcomes(server) == {"scored": 1, "failed": 1}
        prompts = ["Which?", "Who?"]
        found = pool.map(lambda k: send(server, body("two prompts", k, prompt=prompts[k])), range(2))
        assert {one.status_code for one in found} == {409}
        assert outcomes(server) == {"scored": 1, "failed": 2}
        assert send(server, body("judge", 0, size=1, image=data_url(b"no picture"))).status_code == 400
        assert outcomes(server) == {"scored": 1, "failed": 3}


def outcomes(server: Served) -> dict[str, int]:
    lines = server.client.get("/metrics").text.splitlines()
    found = [
        line.removeprefix('yoj_groups_total{outcome="').split('"} ') for line in lines if "yoj_groups_total{" in line
    ]
    return {outcome: int(float(count)) for outcome, count in found}


def test_without_groups_there_is_no_such_route(scorer):
    with running(scorer("qwen3_vl"), HttpSettings()) as server:
        assert send(server, body("a", 0)).status_code == 404
        assert "/v1/groups" not in server.client.get("/openapi.json").json()["paths"]


PROMPT = "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"


def of_openrlhf(group: str, response: str, end: str = "<|im_end|>", **label) -> dict:
    label = {"group": group, "size": 4, "prompt": "Which?"} | label
    return {"query": [PROMPT + response + end], "prompts": [PROMPT], "labels": [json.dumps(label)]}


def test_the_form_of_openrlhf_over_two_epochs(served, scorer, pool):
    for epoch, texts in enumerate((TEXTS, [TEXTS[0], TEXTS[0], "Other.", "Else."])):
        found = [one.json() for one in pool.map(lambda text: send(served, of_openrlhf("p7", text), "/openrlhf"), texts)]
        names = sorted(served.service.groups._seats._rounds["p7"].seats)
        by_name = {seat: text for text in texts for seat in names if seat == digest(text)}
        order = [by_name[name] for name in names for _ in range(texts.count(by_name[name]))]
        expected = right(scorer, f"p7@{epoch}", order)
        rewards = dict(zip(order, expected.rewards, strict=True))
        assert [one["rewards"] for one in found] == [rewards[text] for text in texts]
        assert [one["scores"] for one in found] == [rewards[text] for text in texts]
        assert found[0]["extra_logs"] == {
            "yoj_mean": expected.mean,
            "yoj_spread": expected.spread,
            "yoj_flat": 0.0,
            "yoj_cut": 0.0,
        }


def digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_try_of_openrlhf_that_was_given_up_is_the_same_sample(served, pool):
    content = json.dumps(of_openrlhf("tries", TEXTS[0])).encode()
    head = b"POST /v1/groups/openrlhf HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content)
    rounds = served.service.groups._seats._rounds

    def states() -> list[bool]:
        return [one.free for seats in rounds["tries"].seats.values() for one in seats] if "tries" in rounds else []

    for _ in range(3):
        gone = socket.create_connection(("127.0.0.1", served.port))
        gone.sendall(head + content)
        eventually(lambda: states() == [False] and waiting(served) == 1)
        gone.close()
        eventually(lambda: states() == [True])
    found = list(pool.map(lambda text: send(served, of_openrlhf("tries", text), "/openrlhf"), TEXTS))
    assert [one.status_code for one in found] == [200] * 4


def begun(server: Served, fields: dict) -> socket.socket:
    """Connection on which a request was sent."""
    content = json.dumps(fields).encode()
    made = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    head = b"POST /v1/groups/openrlhf HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    made.sendall(head % len(content) + content)
    return made


def answer_on(connection: socket.socket) -> tuple[int, float]:
    """Status and reward that come on a connection."""
    with connection, connection.makefile("rb") as file:
        head, _, content = file.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)["rewards"]


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_tries_that_come_before_the_end_of_the_first_ones_is_seen_are_the_same_samples(whole, served, scorer):
    texts, rounds = ["Same.", "Same.", "Other."], served.service.groups._seats._rounds
    groups = [f"race {whole} {g}" for g in range(20)]
    sent = {}
    for group in groups:
        sent[group] = [begun(served, of_openrlhf(group, text, size=3)) for text in texts[: 1 if whole else 2]]
    if not whole:  # else the last sample and the try are here together, and the group seems to be whole
        eventually(lambda: all(group in rounds and rounds[group].count == 2 for group in groups))
    for group in groups:
        for gone in sent[group]:
            gone.close()
        sent[group] = [begun(served, of_openrlhf(group, text, size=3)) for text in texts[: 1 if whole else 2]]
        if whole:
            sent[group].append(begun(served, of_openrlhf(group, texts[1], size=3)))
    for group in groups:
        sent[group].append(begun(served, of_openrlhf(group, texts[2], size=3)))
    for group in groups:
        names = sorted([f"{digest('Same.')}#0", f"{digest('Same.')}#1", f"{digest('Other.')}#0"])
        order = ["Other." if name.startswith(digest("Other.")) else "Same." for name in names]
        expected = dict(zip(order, right(scorer, f"{group}@0", order).rewards, strict=True))
        assert [answer_on(one) for one in sent[group]] == [(200, expected[text]) for text in texts]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"query": []}, "query is []; give a list with one entry"),
        ({"labels": ["42"]}, "give the JSON of"),
        ({"labels": ["a cat"]}, "labels[0] is 'a cat'; give the JSON of"),
        ({"labels": [None]}, "labels[0] is None; give the JSON of"),
        ({"prompts": ["Something else"]}, "The query does not begin with the prompt"),
        ({"labels": ['{"group": "a", "size": 4}']}, "no prompt"),
    ],
)
def test_bad_input_of_openrlhf(fields, words, served):
    found = send(served, of_openrlhf("bad", "A cat.") | fields, "/openrlhf")
    assert (found.status_code, words in found.json()["error"]["message"]) == (400, True), found.text


@pytest.mark.slow
def test_a_restart_of_the_command_loses_no_reward(bundle, scorer):
    """Callers who lose their connection, or hear that the server ends, send all again to the next one."""
    stop, address = threading.Event(), [""]
    rewards: dict[tuple[str, int], float] = {}

    def caller(group: str, k: int) -> None:
        while not stop.is_set():
            try:
                found = httpx.post(f"{address[0]}/v1/groups", json=body(group, k), timeout=60)
            except httpx.TransportError:
                stop.wait(0.05)
                continue
            if found.status_code == 200:
                rewards[group, k] = found.json()["reward"]
                return
            assert found.status_code in (429, 503), found.text

    groups = [f"g{g}" for g in range(6)]
    arrivals = [(group, k) for group in groups for k in range(4)]
    random.Random(0).shuffle(arrivals)
    threads = [threading.Thread(target=caller, args=one) for one in arrivals]
    path = bundle("qwen3_vl", "assistant")
    with command_serving(path, ["--groups"]) as (child, url, _):
        address[0] = url
        for one in threads[:11]:
            one.start()
        answers = httpx.get(f"{url}/metrics").text
        assert "yoj_group_samples_waiting" in answers
        child.send_signal(signal.SIGTERM)  # while groups wait: they are answered, and it ends
        assert child.wait(30) in (0, -signal.SIGTERM)
    with command_serving(path, ["--groups"]) as (child, url, _):
        address[0] = url
        for one in threads[11:15]:
            one.start()
        child.kill()
        child.wait()
    with command_serving(path, ["--groups"]) as (child, url, _):
        address[0] = url
        for one in threads[15:]:
            one.start()
        for one in threads:
            one.join(60)
        stop.set()
        child.terminate()
    assert rewards == {(group, k): right(scorer, group).rewards[k] for group in groups for k in range(4)}
