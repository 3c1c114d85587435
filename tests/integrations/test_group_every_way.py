"""One group by every way to the judge: the same order, and the same rewards to the last bit."""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image
from servers import running

from yoj.integrations import GroupReward, GroupSample, MeetingPoint, RemoteJudge
from yoj.integrations.trl import GroupReward as TrlReward
from yoj.runtime import Request
from yoj.serving import HttpSettings
from yoj.serving._settings import GroupSettings

pytestmark = pytest.mark.export

TEXTS = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A cat and a dog."]
KEY = "7:0:0"
"""Step, call and group, as the adapter for TRL names it."""


def test_every_way_gives_the_rewards_of_the_scorer(scorer):
    judge, out = scorer("qwen3_vl"), io.BytesIO()
    Image.radial_gradient("L").resize((40, 40)).convert("RGB").save(out, "PNG")
    shown = out.getvalue()
    (core,) = GroupReward(judge).rewards([Request("Which?", TEXTS, [shown], id=KEY)])
    (order,) = core.orders
    by_hand = np.empty(4)
    by_hand[list(order)] = judge.score("Which?", [TEXTS[k] for k in order], images=[shown]).scores
    expected = (by_hand - by_hand.mean()).tolist()
    assert list(core.rewards) == expected
    assert len(set(expected)) == 4

    said = [[{"role": "assistant", "content": text}] for text in TEXTS]
    asked = [[{"role": "user", "content": "Which?"}]] * 4
    state = SimpleNamespace(global_step=7)
    images = [Image.open(io.BytesIO(shown)) for _ in TEXTS]
    assert TrlReward(judge, 4)(prompts=asked, completions=said, image=images, trainer_state=state) == expected

    with MeetingPoint(GroupReward(judge).rewards) as meeting:
        futures = {k: meeting.submit(KEY, 4, GroupSample(k, "Which?", TEXTS[k], [shown])) for k in (2, 0, 3, 1)}
        assert [futures[k].result(60).reward for k in range(4)] == expected

    with running(judge, HttpSettings(groups=GroupSettings())) as server, ThreadPoolExecutor(4) as pool:
        url = str(server.client.base_url)
        url_of_picture = "data:image/png;base64," + base64.b64encode(shown).decode()
        body = {"group": KEY, "size": 4, "prompt": "Which?", "image": url_of_picture}

        def reward(k: int) -> float:
            answer = httpx.post(f"{url}/v1/groups", json=body | {"sample": k, "response": TEXTS[k]}, timeout=60)
            return answer.json()["reward"]

        assert list(pool.map(reward, range(4))) == expected
        (remote,) = GroupReward(RemoteJudge(url)).rewards([Request("Which?", TEXTS, [shown], id=KEY)])
        assert list(remote.rewards) == expected
