"""OpenRLHF's own executor, as it is, asks a real server for the rewards of its samples."""

from __future__ import annotations

import base64
import itertools

import pytest
from peers import TOKENIZER, ask, needs
from servers import running
from test_app import picture

from yoj.serving import HttpSettings
from yoj.serving._settings import GroupSettings

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.export, needs(".venv-verl")]

RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A parrot and a lamp."]
PROMPT = "Which of these is it?"
SHOWN = "data:image/png;base64," + base64.b64encode(picture()).decode()


def group(key, responses, **label):
    about = {"group": key, "size": 4, "prompt": PROMPT, "image": SHOWN}
    return {"prompt": PROMPT, "responses": responses, "label": about | label}


STEPS = [
    [group("row 0", RESPONSES), group("row 1", RESPONSES[::-1])],
    [group("row 0", ["A bus.", *RESPONSES[1:]])],  # the same row in a later epoch
]


@pytest.fixture(scope="module")
def answers(scorer):
    with running(scorer("qwen3_vl"), HttpSettings(groups=GroupSettings())) as server:
        url = f"http://127.0.0.1:{server.port}/v1/groups/openrlhf"
        yield ask(".venv-verl", "with_openrlhf_remote.py", {"url": url, "tokenizer": str(TOKENIZER), "steps": STEPS})


@pytest.mark.parametrize(("step", "place"), [(0, 0), (0, 1), (1, 0)])
def test_each_sample_has_the_reward_of_its_response(step, place, answers, scorer):
    responses, found = STEPS[step][place]["responses"], answers[step][place]
    rewards = [one["reward"] for one in found]
    assert len(set(rewards)) == len(RESPONSES)
    assert sum(rewards) == pytest.approx(0, abs=1e-5)
    assert len({one["extra_logs"]["yoj_mean"] for one in found}) == 1
    # The order of the pack is that of the digests and the draw, so that the scores are those of some order.
    centred = [reward + found[0]["extra_logs"]["yoj_mean"] for reward in rewards]
    assert centred == [pytest.approx(one, abs=1e-4) for one in in_some_order(scorer("qwen3_vl"), responses, centred)]


def in_some_order(scorer, responses, near):
    """Scores of the order whose scores are nearest."""
    found = []
    for order in itertools.permutations(range(len(responses))):
        scores = scorer.score(PROMPT, [responses[k] for k in order], images=[picture()]).scores
        found.append([scores[order.index(k)] for k in range(len(responses))])
    return min(found, key=lambda scores: sum(abs(a - b) for a, b in zip(scores, near, strict=True)))
