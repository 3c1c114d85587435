"""Calibration samples: which are chosen, that each kind is among them, and that none of them is evaluated on."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from recorded import IMAGES

from yoj.calibration._content import content_hash, medium_of
from yoj.calibration._errors import SampleError
from yoj.calibration._samples import advice, choose, stratified
from yoj.runtime import Request, RequestError

LINE = {"prompt": "What colour?", "responses": ["Red.", "Blue.", "I cannot tell."]}


def write(file: Path, lines) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file


def words(request: Request) -> int:
    """A length that needs no tokenizer."""
    return len(" ".join([request.prompt, *request.responses]).split()) + 100 * len(request.images)


@pytest.fixture
def mixed(tmp_path):
    """A file in which videos, two images and N=7 are rare."""
    for name in ("odd_small.png", "checker_odd.png"):
        shutil.copy(IMAGES / name, tmp_path / name)
    shutil.copytree(IMAGES / "frames_ball", tmp_path / "frames")
    lines = []
    for k in range(300):
        line = {"prompt": f"Question {k}", "responses": [f"answer {i}" * (1 + k % 3) for i in range(2 + k % 3)]}
        line |= {"image": "odd_small.png"} if k % 2 else {}
        lines.append(line)
    lines[40] |= {"image": ["odd_small.png", "checker_odd.png"]}
    lines[80] |= {"responses": [f"answer {i}" for i in range(7)]}
    lines[121] = {"prompt": "Video", "responses": ["a", "b"], "video": "frames", "seconds_between_frames": 1}
    lines[160] |= {"prompt": "long " * 500}
    return write(tmp_path / "train.jsonl", lines)


@pytest.mark.slow
def test_every_stratum_is_represented(mixed):
    chosen = choose(mixed, [], 40, 0, words)
    assert len(chosen.samples) == 40
    assert (chosen.available, chosen.repeated) == (300, 0)
    assert {41, 81, 122, 161} <= {sample.line for sample in chosen.samples}
    assert {sample.stratum[1] for sample in chosen.samples} == {"none", "image", "images", "video"}
    assert {sample.stratum[0] for sample in chosen.samples} == {2, 3, 4, 7}
    assert [sample.line for sample in chosen.samples] == sorted(sample.line for sample in chosen.samples)


@pytest.mark.slow
def test_the_seed_alone_decides(mixed):
    first, again, other = (choose(mixed, [], 40, seed, words).samples for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.slow
def test_only_a_pool_is_packed(mixed):
    packed = []
    choose(mixed, [], 20, 0, lambda request: packed.append(request) or words(request))
    assert len(packed) == 80


@pytest.mark.slow
def test_all_are_taken_where_there_are_no_more(mixed):
    assert len(choose(mixed, [], 1000, 0, words).samples) == 300


@pytest.mark.slow
@given(st.lists(st.integers(0, 6), min_size=1, max_size=120), st.integers(1, 150), st.integers(0, 9))
def test_shares_are_proportional_and_nobody_is_left_out(strata, count, seed):
    found = stratified(dict(enumerate(strata)), count, random.Random(seed))
    assert found == sorted(set(found))
    assert len(found) == min(count, len(strata))
    sizes, taken = Counter(strata), Counter(strata[item] for item in found)
    if count >= len(sizes):
        assert set(taken) == set(sizes)
    left = len(strata) - len(sizes)
    for stratum, size in sizes.items():
        if len(sizes) <= count < len(strata):
            share = (count - len(sizes)) * (size - 1) / max(1, left)
            assert 1 + int(share) <= taken[stratum] <= 2 + share


def test_a_repeated_request_is_taken_once(tmp_path):
    shutil.copy(IMAGES / "odd_small.png", tmp_path / "a.png")
    shutil.copy(IMAGES / "odd_small.png", tmp_path / "b.png")
    shutil.copy(IMAGES / "checker_odd.png", tmp_path / "c.png")
    turned = LINE | {"responses": LINE["responses"][::-1]}
    lines = [LINE | {"image": "a.png"}, turned | {"image": "b.png"}, LINE | {"image": "c.png"}, LINE]
    chosen = choose(write(tmp_path / "train.jsonl", lines), [], 10, 0, words)
    assert [sample.line for sample in chosen.samples] == [1, 3, 4]
    assert chosen.repeated == 1


def test_held_out_requests_are_refused_by_content(tmp_path):
    shutil.copy(IMAGES / "odd_small.png", tmp_path / "a.png")
    (tmp_path / "other").mkdir()
    shutil.copy(IMAGES / "odd_small.png", tmp_path / "other" / "renamed.png")
    shutil.copy(IMAGES / "checker_odd.png", tmp_path / "other" / "a.png")
    train = write(tmp_path / "train.jsonl", [LINE, LINE | {"image": "a.png"}, LINE | {"prompt": "Another"}])
    same_name = write(tmp_path / "other" / "fine.jsonl", [LINE | {"image": "a.png"}])
    assert len(choose(train, [same_name], 10, 0, words).samples) == 3
    turned = LINE | {"responses": LINE["responses"][::-1], "rankings": [1, 2, 3]}
    same = write(tmp_path / "other" / "evaluation.jsonl", [LINE | {"prompt": "x"}, turned | {"image": "renamed.png"}])
    text = (
        r"train\.jsonl has 1 requests that are held out .* line 2 is line 2 of .*evaluation\.jsonl \('What colour\?'\)"
    )
    with pytest.raises(SampleError, match=text):
        choose(train, [same_name, same], 10, 0, words)


def test_many_overlaps_are_counted_and_some_named(tmp_path):
    train = write(tmp_path / "train.jsonl", [LINE | {"prompt": str(k)} for k in range(30)])
    with pytest.raises(
        SampleError, match=r"has 30 requests .*; line 8 is line 8 of [^;]*; and 22 more\. .* take these"
    ):
        choose(train, [train], 10, 0, words)


def test_hash_of_media():
    png = IMAGES / "odd_small.png"
    frames = sorted((IMAGES / "frames_ball").iterdir())

    def hashed(**media):
        return content_hash(Request("p", ["a", "b"], **media))

    assert hashed(images=[png]) == hashed(images=[str(png)]) == hashed(images=[png.read_bytes()])
    assert hashed(video=IMAGES / "frames_ball") == hashed(video=frames)
    pixels = np.asarray(Image.open(png).convert("RGB"))
    assert hashed(images=[pixels]) == hashed(images=[Image.fromarray(pixels)])
    different = [
        hashed(),
        hashed(images=[png]),
        hashed(images=[png, png]),
        hashed(images=frames),
        hashed(video=frames),
        hashed(video=frames[::-1]),
        hashed(images=[pixels]),
        content_hash(Request("pa", ["", "b"])),
        content_hash(Request("p", ["ab", ""])),
        content_hash(Request("p", ["a", "b", "b"])),
    ]
    assert len(set(different)) == len(different)
    assert medium_of(Request("p", ["a"], [png], frames)) == "video"


def test_what_cannot_be_packed_is_named(tmp_path):
    lines = [LINE, LINE | {"image": "missing.png", "prompt": "i"}, LINE | {"video": "none", "prompt": "v"}]
    with pytest.raises(SampleError, match=r"2 requests cannot be packed\. line 2: .*missing\.png.*; line 3: .*none"):
        choose(write(tmp_path / "train.jsonl", lines), [], 10, 0, words)
    with pytest.raises(SampleError, match="holds no requests"):
        choose(write(tmp_path / "empty.jsonl", []), [], 10, 0, words)
    with pytest.raises(RequestError, match=r"wrong\.jsonl, line 2: .*rankings"):
        choose(write(tmp_path / "wrong.jsonl", [LINE, LINE | {"rankings": [1]}]), [], 10, 0, words)


def test_advice():
    assert advice(128, 128) is None
    assert advice(512, 512) is None
    assert "63 samples are too few" in (advice(63, 63) or "")
    assert "as the file has no more, are too few" in (advice(20, 256) or "")
    assert "fewer than the usual 128 to 512" in (advice(64, 64) or "")
    assert "more than the usual" in (advice(513, 513) or "")
