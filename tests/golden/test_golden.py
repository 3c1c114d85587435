"""Cases recorded from the published code on a tiny Molmo2: ids, positions, image tensors and scores.

``data/README.md`` says how they were produced.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from yoj.runtime import Request

pytestmark = pytest.mark.parity

DATA = Path(__file__).parent / "data"
RECORDED = json.loads((DATA / "cases.json").read_text("utf-8"))
CASES = {case["id"]: case for case in RECORDED["cases"]}
SAFE = [name for name, case in CASES.items() if not case["unsafe"]]
UNSAFE = [name for name, case in CASES.items() if case["unsafe"]]
LAYOUTS = ("assistant", "user")


def request_of(case) -> Request:
    images = [DATA / "images" / name for name in case["images"]]
    if not case["video_dir"]:
        return Request(case["prompt"], case["responses"], images, duplicates="score")
    folder = DATA / "images" / case["video_dir"]
    return Request(
        case["prompt"], case["responses"], video=folder, fps=1 / case["seconds_between_frames"], duplicates="score"
    )


def sha256_u8(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.rint((pixels + 1) * 127.5).astype(np.uint8).tobytes()).hexdigest()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SAFE)
def test_tokens_and_positions_are_exactly_those_recorded(name, layout, scorer):
    recorded, prepared = CASES[name]["layouts"][layout], scorer("merged", layout).prepare(request_of(CASES[name]))
    (pack,) = prepared.packs
    assert pack.input_ids_L.tolist() == recorded["input_ids"]
    assert pack.response_end_N.tolist() == recorded["resp_indices"]
    types = scorer("merged", layout).family.token_inputs(pack, prepared.media)["token_types"].tolist()
    assert types == (recorded["token_type_ids"] or [0] * recorded["length"])
    if "resp_start_indices" in recorded:
        assert pack.response_start_N.tolist() == recorded["resp_start_indices"]


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["images"] or CASES[name]["video_dir"]])
def test_image_tensors_are_those_recorded(name, scorer):
    recorded = CASES[name]["layouts"]["assistant"]
    images = scorer("merged", "assistant").prepare(request_of(CASES[name])).media
    pixels = np.concatenate([image.arrays["pixel_values"] for image in images])
    # The recorded table restarts at 0 for every image.
    pooling = np.concatenate([image.arrays["pooling_index"] for image in images])
    names = (
        ("pixel_values_videos", "video_token_pooling")
        if CASES[name]["video_dir"]
        else ("pixel_values", "image_token_pooling")
    )
    assert list(pixels.shape) == recorded[names[0]]["shape"]
    assert sha256_u8(pixels) == recorded[names[0]]["sha256_u8"]
    assert hashlib.sha256(pooling.tobytes()).hexdigest() == recorded[names[1]]["sha256"]
    if not CASES[name]["video_dir"]:
        assert [len(image.arrays["pixel_values"]) for image in images] == recorded["image_num_crops"]


def test_full_arrays_of_one_case(scorer):
    case = next(case for case in CASES.values() if case.get("arrays_npz"))
    recorded = np.load(DATA / case["arrays_npz"])
    (image,) = scorer("merged", "assistant").prepare(request_of(case)).media
    np.testing.assert_allclose(image.arrays["pixel_values"], recorded["pixel_values"], atol=1e-6)
    np.testing.assert_array_equal(image.arrays["pooling_index"], recorded["image_token_pooling"])


@pytest.mark.parametrize("kind", ["merged", "adapter"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SAFE)
def test_scores_are_those_recorded(name, layout, kind, scorer):
    recorded = CASES[name]["layouts"][layout]["scores" if kind == "merged" else "scores_adapter"]
    scores = scorer(kind, layout).score_batch([request_of(CASES[name])])[0].scores
    np.testing.assert_allclose(scores, [float(score) for score in recorded], rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", UNSAFE)
def test_special_tokens_in_a_response_are_plain_text(name, layout, scorer):
    case, judge = CASES[name], scorer("merged", layout)
    (pack,) = judge.prepare(request_of(case)).packs
    harmless = [response.replace("<|", "<!").replace("|>", "!>") for response in case["responses"]]
    (expected,) = judge.prepare(Request(case["prompt"], harmless, request_of(case).images)).packs
    separators = (pack.input_ids_L == RECORDED["separator_id"]).sum()
    assert separators == case["n_responses"] - 1
    for token in ("<|im_end|>", "<|im_start|>", "<|image|>"):
        id_ = judge._preparer.packer.encoder.token_id(token)
        assert (pack.input_ids_L == id_).sum() == (expected.input_ids_L == id_).sum()
    assert len(judge.score_batch([request_of(case)])[0].scores) == case["n_responses"]
