"""Batches as Flow-GRPO hands them over, against the scorer; what was read of it stands in docs/frameworks.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from quiet import Quiet
from safetensors.torch import load_file, save_file
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.integrations import RewardSettings
from yoj.integrations.flow_grpo import ImageGroups, ImageReward
from yoj.runtime import Image as Picture
from yoj.runtime import MediaError, Request, RequestError, Scorer, YojError

pytestmark = pytest.mark.export

EXACT = RewardSettings(spread_floor=0.0)
ASK, ASK_TOO = "Make the sky red.", "Remove the tree."
SIDE = 56


def drawn(seed: int) -> Image.Image:
    """Picture with large areas, as a decoded image has them."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


SOURCES = [drawn(100), drawn(101)]
EDITS = [drawn(k) for k in range(6)]
ROWS = [(ASK, 0), (ASK_TOO, 1), (ASK, 0), (ASK, 0), (ASK_TOO, 1), (ASK_TOO, 1)]
"""Prompt and source of each edit: a sampler that repeats prompts shuffles them."""
PROMPTS = [prompt for prompt, _ in ROWS]
REFERENCES = [SOURCES[source] for _, source in ROWS]
FIRST, SECOND = (0, 2, 3), (1, 4, 5)


def tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """[B, 3, H, W] of floats, as a pipeline gives it with ``output_type="pt"``."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


class Witness:
    """Scorer that remembers what it read."""

    def __init__(self, scorer: Scorer):
        self.scorer = scorer
        self.requests: list[Request] = []

    def score_batch(self, requests, *, on_error):
        self.requests += requests
        return self.scorer.score_batch(requests, on_error=on_error)


@pytest.fixture(scope="module", params=["qwen3_vl", "merged"])
def either(request, scorer) -> Scorer:
    return scorer(request.param)


@pytest.fixture(scope="module")
def judge(scorer) -> Scorer:
    return scorer("qwen3_vl")


def places(request: Request, edits: Sequence[Image.Image] = EDITS) -> list[int]:
    """Row of the edit in each place of a pack."""
    pixels = [np.asarray(edit) for edit in edits]
    shown = [np.asarray(response.source) for response in request.responses]
    return [next(k for k, one in enumerate(pixels) if np.array_equal(one, response)) for response in shown]


def by_hand(judge: Scorer, request: Request, sources: Sequence[Image.Image]) -> dict[int, float]:
    """Score of each row of a pack from the scorer, from pictures that never were a tensor."""
    rows = places(request)
    read = judge.score(request.prompt, [Picture(EDITS[row]) for row in rows], images=sources)
    return dict(zip(rows, read.scores, strict=True))


def test_each_group_is_one_pass_and_its_scores_are_the_scorers(either):
    witness = Witness(either)
    reward = ImageReward(witness, ImageGroups(3), EXACT)
    rewards, details = reward(tensor(EDITS), PROMPTS, [{}] * 6, REFERENCES)
    assert [request.prompt for request in witness.requests] == [ASK, ASK_TOO]
    for group, request, source in zip((FIRST, SECOND), witness.requests, SOURCES, strict=True):
        assert len(request.images) == 1
        assert request.images[0] is source
        assert sorted(places(request)) == list(group)
        scores = by_hand(either, request, [source])
        mean = np.mean([scores[row] for row in group])
        best = max(group, key=scores.__getitem__)
        second = max(score for row, score in scores.items() if row != best)
        for row in group:
            assert details["score"][row] == scores[row]
            assert rewards[row] == scores[row] - mean
            others = max(score for other, score in scores.items() if other != row)
            assert details["margin"][row] == scores[row] - others
        assert details["margin"][best] == scores[best] - second > 0
    assert details["group"] == [0, 1, 0, 0, 1, 1]
    assert details["failures"] == {}


def multi_score(functions: Mapping[str, tuple[Callable, float]]) -> Callable:
    """Weighted sum of rewards in the form of Flow-GRPO's: reference pictures reach none but one of its own."""

    def score(images, prompts, metadata, ref_images=None, only_strict=True):
        details, total = {}, []
        for name, (function, weight) in functions.items():
            scores, _ = function(images, prompts, metadata)
            details[name] = scores
            weighted = [weight * score for score in scores]
            total = [a + b for a, b in zip(total, weighted, strict=True)] if total else weighted
        return details | {"avg": total}, {}

    return score


def test_beside_another_reward_in_a_pool_of_threads_with_sources_from_the_metadata(judge, tmp_path):
    for k, source in enumerate(SOURCES):
        source.save(tmp_path / f"{k}.png")
    groups = ImageGroups(3, source_keys=("image",), source_root=tmp_path)
    witness = Witness(judge)
    other = lambda images, prompts, metadata: (np.arange(len(images)) / 10, {})  # noqa: E731
    functions = {"yoj": (ImageReward(witness, groups, EXACT), 0.7), "other": (other, 0.3)}
    function, metadata = multi_score(functions), [{"image": f"{source}.png", "tag": "x"} for _, source in ROWS]
    with ThreadPoolExecutor(8) as executor:
        futures = [
            executor.submit(function, tensor(EDITS), PROMPTS, metadata, REFERENCES, only_strict=True) for _ in range(3)
        ]
        results = [future.result() for future in futures]
    assert len(witness.requests) == 6
    assert {tuple(map(str, request.images)) for request in witness.requests} == {
        (str(tmp_path / "0.png"),),
        (str(tmp_path / "1.png"),),
    }
    for (details, _), requests in zip(results, zip(*[iter(witness.requests)] * 2, strict=True), strict=True):
        told = {name: torch.as_tensor(value).float() for name, value in details.items()}
        scores = by_hand(judge, requests[0], SOURCES[:1]) | by_hand(judge, requests[1], SOURCES[1:])
        means = {k: np.mean([scores[j] for j in group]) for group in (FIRST, SECOND) for k in group}
        centred = torch.tensor([scores[k] - means[k] for k in range(6)])
        torch.testing.assert_close(told["yoj"], centred.float(), atol=1e-6, rtol=0)
        torch.testing.assert_close(told["avg"], (0.7 * centred + 0.3 * torch.arange(6) / 10).float(), atol=1e-6, rtol=0)


def test_every_form_of_the_images_gets_the_same(judge):
    forms = [tensor(EDITS), np.stack(EDITS), list(tensor(EDITS)), [np.asarray(edit) for edit in EDITS], EDITS]
    found = [ImageReward(judge, ImageGroups(3), EXACT)(form, PROMPTS, {}, REFERENCES)[0] for form in forms]
    assert all(one == found[0] for one in found)
    assert len(set(found[0])) == 6


def test_generators_have_no_source(judge):
    witness = Witness(judge)
    rewards, _ = ImageReward(witness, ImageGroups(2), EXACT)(tensor(EDITS[:2]), ["A cat"] * 2, [{}] * 2)
    (request,) = witness.requests
    rows = places(request)
    scores = dict(zip(rows, judge.score("A cat", [Picture(EDITS[row]) for row in rows]).scores, strict=True))
    assert rewards == [scores[row] - np.mean([*scores.values()]) for row in range(2)]


def test_several_sources_stand_before_the_prompt_in_their_order(judge):
    witness = Witness(judge)
    ImageReward(witness, ImageGroups(2), EXACT)(tensor(EDITS[:2]), [ASK] * 2, {}, [SOURCES] * 2)
    assert list(witness.requests[0].images) == SOURCES


def test_one_prompt_with_different_sources_is_several_groups(judge):
    reward = ImageReward(judge, ImageGroups(2), EXACT)
    _, details = reward(tensor(EDITS[:4]), [ASK] * 4, {}, [SOURCES[k] for k in (0, 1, 0, 1)])
    assert details["group"] == [0, 1, 0, 1]
    keyed = ImageReward(judge, ImageGroups(2, group_key="id"), EXACT)
    _, details = keyed(tensor(EDITS[:4]), [ASK] * 4, [{"id": k} for k in "aabb"], SOURCES[:1] * 4)
    assert details["group"] == [0, 0, 1, 1]


def test_a_part_of_a_group_is_refused(judge):
    reward = ImageReward(judge, ImageGroups(3), EXACT)
    with pytest.raises(RequestError, match=r"2 rows .* source of row 1, and groups have 3"):
        reward(tensor(EDITS[:5]), PROMPTS[:5], {}, REFERENCES[:5])


def test_one_image_alone_has_no_reward_but_a_score(judge):
    alone = judge.score(ASK, [Picture(EDITS[0])], images=SOURCES[:1]).scores
    arguments = (tensor(EDITS[:1]), [ASK], [{}], SOURCES[:1])
    rewards, details = ImageReward(judge, ImageGroups(None), EXACT)(*arguments)
    assert (rewards, details["score"]) == ([0.0], list(alone))
    assert np.isnan(details["margin"][0])
    rewards, _ = ImageReward(judge, ImageGroups(None), RewardSettings(reward="raw"))(*arguments)
    assert rewards == list(alone)


@pytest.fixture(scope="module")
def of_dimensions(tmp_path_factory) -> Scorer:
    """Scorer of a judge with two named dimensions."""
    folder = tmp_path_factory.mktemp("dimensions")
    tiny, names = TinyQwen(), ["instruction", "quality"]
    checkpoint = write_qwen(tiny, folder / "checkpoint", hidden_state="post_norm", value_head_dimensions=names)
    one = load_file(checkpoint / "value_head.safetensors")
    heads = {f"{name}.{key}": value + k for k, name in enumerate(names) for key, value in one.items()}
    save_file(heads, checkpoint / "value_head.safetensors")
    build(ExportConfig([checkpoint], None, "assistant", folder / "judge.yoj", compare=False), Quiet())
    return Scorer.load(folder / "judge.yoj")


def test_dimensions_of_the_judge_stand_in_the_details(of_dimensions):
    witness = Witness(of_dimensions)
    _, details = ImageReward(witness, ImageGroups(3), EXACT)(tensor(EDITS), PROMPTS, {}, REFERENCES)
    assert details["dimensions"].keys() == {"instruction", "quality"}
    for request, source in zip(witness.requests, SOURCES, strict=True):
        rows = places(request)
        read = of_dimensions.score(request.prompt, [Picture(EDITS[row]) for row in rows], images=[source])
        for dimension in read.dimensions:
            assert [details["dimensions"][dimension.name][row] for row in rows] == list(dimension.scores)
    pooled = np.mean([*details["dimensions"].values()], axis=0)
    np.testing.assert_allclose(details["score"], pooled, atol=1e-6)


def spoilt(row: int) -> torch.Tensor:
    images = tensor(EDITS)
    images[row, 0, 0, 0] = torch.nan
    return images


def test_an_image_of_nan_stops_training(judge):
    reward = ImageReward(judge, ImageGroups(3), EXACT)
    with pytest.raises(MediaError, match=r"images\[4\] has 1 of 9408 numbers that are NaN or infinite"):
        reward(spoilt(4), PROMPTS, {}, REFERENCES)
    rewards, _ = reward(tensor(EDITS), PROMPTS, {}, REFERENCES)
    assert len(set(rewards)) == 6


def test_a_group_that_fails_gets_zero_and_the_others_their_rewards(judge, caplog):
    right, _ = ImageReward(judge, ImageGroups(3), EXACT)(tensor(EDITS), PROMPTS, {}, REFERENCES)
    reward = ImageReward(judge, ImageGroups(3), EXACT, on_error="zero")
    rewards, details = reward(spoilt(4), PROMPTS, {}, REFERENCES)
    assert [rewards[row] for row in FIRST] == [right[row] for row in FIRST]
    assert [rewards[row] for row in SECOND] == [0.0] * 3
    assert details["failures"].keys() == {*SECOND}
    assert "images[4]" in details["failures"][1]
    assert all(np.isnan(details["score"][row]) and np.isnan(details["margin"][row]) for row in SECOND)
    assert "has no rewards: images[4]" in caplog.text


def test_the_judges_error_is_told(judge, tmp_path):
    metadata = [{"image": "gone.png"}] * 2
    reward = ImageReward(judge, ImageGroups(2, ("image",), tmp_path), EXACT)
    with pytest.raises(YojError, match=r"no file .*gone"):
        reward(tensor(EDITS[:2]), [ASK] * 2, metadata)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"on_error": "nan"}, "on_error is 'nan'; give 'raise' or 'zero'"),
        ({"groups": 3}, "groups is 3; give ImageGroups(size=24, ...)"),
        ({"judge": 3}, "judge is 3; give the path of a bundle"),
        ({"settings": "raw"}, "settings is 'raw'; give RewardSettings"),
    ],
)
def test_settings_that_are_none_are_refused(given, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        ImageReward(**{"judge": "judge.yoj", "groups": ImageGroups(2)} | given)
