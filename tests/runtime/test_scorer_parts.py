"""Media in responses and between texts, against the stock model run on the same ids, masks and positions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recorded import MERGED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.checkpoint.head import divisor
from yoj.export.families.opening import open_family
from yoj.export.verification.stock_model import read_out
from yoj.runtime import Image, Request, Scorer, Video
from yoj.runtime.batch import Prepared, scorer_inputs

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
FAMILIES = ("molmo2", "qwen3_vl")


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


RED, WIDE, TALL, SMALL = (Image(noise(k, *size)) for k, size in enumerate([(40, 60), (30, 90), (80, 40), (20, 24)]))
CLIP = Video([noise(9 + k, 40, 56) for k in range(3)], fps=1.0)
REQUESTS = {
    "edits of a picture": Request(["Make the car red: ", RED], [[WIDE], [TALL], [SMALL]]),
    "pictures for a text": Request("A red car under a tree?", [[WIDE, "the first"], ["this: ", TALL], [SMALL]]),
    "one picture among texts": Request("What is shown?", ["A car.", ["It is this: ", WIDE], "", "Two trees."]),
    "several in one response": Request([RED, "and", WIDE, "which?"], [[TALL, SMALL], ["Neither, but ", RED, " is"]]),
}
QWEN_REQUESTS = {
    "videos and pictures": Request(["Which moves? ", RED], [[CLIP], ["it: ", WIDE], "none"]),
}


@pytest.fixture(scope="module")
def opened(bundle, tmp_path_factory):
    """opened(family) -> scorer, checkpoint and stock model."""

    @functools.cache
    def make(family: str) -> SimpleNamespace:
        if family == "molmo2":
            source, path = MERGED, bundle("merged", "assistant")
        else:
            source = write_qwen(TinyQwen(), tmp_path_factory.mktemp("qwen") / "c", hidden_state="post_norm")
            path = bundle("qwen3_vl", "assistant")  # of the same sizes and seed
        checkpoint = Checkpoint.open([source])
        exported = open_family(checkpoint)
        return SimpleNamespace(
            scorer=Scorer.load(path), checkpoint=checkpoint, family=exported, stock=exported.stock_model()
        )

    return make


def mask_of(prepared: Prepared, inputs: dict[str, np.ndarray]) -> torch.Tensor:
    """Mask of the row, true where a query sees a key, written out from the rules: bool [1, 1, L, L]."""
    (pack,) = prepared.packs
    segment, types = pack.segment_L, inputs.get("token_types")
    owner = np.array((-1, *pack.owners))[pack.media_L]
    place = np.arange(len(segment))
    before = (place[None, :] <= place[:, None]) & np.isin(segment, 0)[None, :]
    before |= (place[None, :] <= place[:, None]) & (segment[None, :] == segment[:, None])
    if types is not None:
        two_way = types[0] == 1
        block = (owner[None, :] == owner[:, None]) & (segment[None, :] == segment[:, None])
        before |= two_way[None, :] & two_way[:, None] & block
    return torch.from_numpy(before[None, None])


@torch.inference_mode()
def stock_scores(opened: SimpleNamespace, prepared: Prepared) -> np.ndarray:
    """Scores [N] of the only row of a request, from the stock model."""
    runtime = opened.scorer.family
    arrays = scorer_inputs([prepared], runtime, {})
    (pack,) = prepared.packs
    length = len(pack.input_ids_L)
    row = {name: torch.from_numpy(array[..., :length]) for name, array in arrays.items() if "response" not in name}
    used = [medium for number, medium in enumerate(prepared.media) if (pack.media_L == number + 1).any()]
    inputs = opened.family.stock_inputs(row, used, runtime)
    positions = row["position_ids"] if row["position_ids"].ndim == 2 else row["position_ids"].transpose(0, 1)
    mask = mask_of(prepared, {name: value.numpy() for name, value in row.items()})
    out = opened.stock(**inputs | {"attention_mask": mask}, position_ids=positions, use_cache=False)
    hidden_LD = out.last_hidden_state[0].float()
    head = opened.checkpoint.head
    rows = read_out(head.readout, hidden_LD, pack.response_start_N, pack.response_end_N)
    return (head.module()(rows) / divisor(hidden_LD.shape[-1]))[:, 0].numpy()


def cases() -> list:
    return [
        pytest.param(family, request, id=f"{family}, {name}")
        for family, requests in (("molmo2", REQUESTS), ("qwen3_vl", REQUESTS | QWEN_REQUESTS))
        for name, request in requests.items()
    ]


@pytest.mark.parametrize("mode", ["joint", "isolated"])
@pytest.mark.parametrize(("family", "request_"), cases())
def test_scores_of_media_in_responses_are_those_of_the_stock_model(family, request_, mode, opened):
    of = opened(family)
    prepared = of.scorer.prepare(request_, mode)
    expected = stock_scores(of, prepared)
    scores = of.scorer.forward([prepared])[0]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=TOLERANCE)
    assert expected.std() > 20 * TOLERANCE


@pytest.mark.parametrize(("family", "request_"), cases())
def test_isolated_responses_with_media_are_scored_as_if_alone(family, request_, opened):
    of = opened(family)
    together = of.scorer.score(request_.prompt, request_.responses, mode="isolated").scores
    alone = [of.scorer.score(request_.prompt, [response]).scores[0] for response in request_.responses]
    np.testing.assert_allclose(together, alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_orders_move_media_with_their_responses(family, opened):
    of = opened(family)
    request = REQUESTS["edits of a picture"]
    prepared = of.scorer.prepare(request, "joint", orders=3)
    rows = of.scorer.forward([prepared])
    assert len(rows) == 3
    for scores, order in zip(rows, prepared.orders, strict=True):
        turned = Request(request.prompt, [request.responses[k] for k in order])
        np.testing.assert_allclose(
            scores, of.scorer.forward([of.scorer.prepare(turned, "joint")])[0], rtol=0, atol=TOLERANCE
        )
        np.testing.assert_allclose(scores, stock_scores(of, of.scorer.prepare(turned, "joint")), rtol=0, atol=TOLERANCE)
    assert np.abs(rows[0] - rows[1]).max() > 100 * TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_all_kinds_scores_each_as_alone(family, opened):
    scorer = opened(family).scorer
    requests = [Request(r.prompt, r.responses, mode=m) for r in REQUESTS.values() for m in ("joint", "isolated")]
    requests.insert(3, Request("Is water wet?", ["Yes.", "No."]))
    requests.append(Request("Which one?", [[RED], [WIDE], "no"], orders=3, mode="joint"))
    together = scorer.score_batch(requests)
    for request, judgement in zip(requests, together, strict=True):
        alone = scorer.score_batch([request])[0]
        np.testing.assert_allclose(judgement.scores, alone.scores, rtol=0, atol=TOLERANCE)
        assert (judgement.mode, judgement.orders) == (alone.mode, alone.orders)
        assert judgement.mode == request.mode or request.mode is None


def test_two_way_blocks_of_molmo2_stay_inside_their_response(opened):
    of = opened("molmo2")
    prepared = of.scorer.prepare(Request(["Make it red: ", RED], [[WIDE], [WIDE, TALL]]), "joint")
    (pack,) = prepared.packs
    blocks = of.scorer.family.token_inputs(pack, prepared.media)["media_blocks"]
    owners = [{*blocks[pack.media_L == number + 1].tolist()} for number in range(4)]
    assert owners == [{1}, {2}, {3}, {3}]
    isolated = of.scorer.prepare(Request(["Make it red: ", RED], [[WIDE], [WIDE, TALL]]), "isolated")
    (pack,) = isolated.packs
    blocks = of.scorer.family.token_inputs(pack, isolated.media)["media_blocks"]
    seen = [{*blocks[(pack.media_L == number + 1) & (pack.segment_L > 0)].tolist()} - {0} for number in range(4)]
    assert len(seen[1] | seen[2]) == 2
    assert seen[2] == seen[3]


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_of_images_run_over_the_whole_row(family, opened):
    """`Image 1`, `Image 2` of Molmo2: those of responses continue those of the prompt, in the order of reading."""
    if family != "molmo2":
        pytest.skip("the other family numbers no images")
    scorer: Scorer = opened(family).scorer
    decode: Callable[[list[int]], str] = scorer._preparer.packer.encoder._tokenizer.decode
    request = Request([RED, "and", WIDE, "which?"], [[TALL, SMALL], ["so: ", RED], "no"])
    prepared = scorer.prepare(request, "joint", orders=3)
    for pack, order in zip(prepared.packs, prepared.orders, strict=True):
        text = decode(pack.input_ids_L[pack.media_L == 0].tolist())
        assert [n for n in range(1, 7) if f"Image {n}" in text] == [1, 2, 3, 4, 5]
        assert order in {(0, 1, 2), (1, 2, 0), (2, 0, 1)}


@pytest.mark.slow
def test_old_bundles_score_media_in_responses_only_where_their_graphs_are_right():
    from yoj.runtime import EngineError

    old = Path(__file__).parents[1] / "data" / "bundles"
    request = REQUESTS["pictures for a text"]
    with pytest.raises(EngineError, match="Export it again to score responses that hold images"):
        Scorer.load(old / "molmo2-0.1").score_batch([request])
    assert len(Scorer.load(old / "qwen3_vl-0.1").score_batch([request])[0].scores) == 3
