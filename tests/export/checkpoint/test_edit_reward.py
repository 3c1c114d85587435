"""Checkpoints of EditReward: read as its code writes them, scored as its code does, or refused."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from edit_reward import EditJudge, EditKind
from quiet import Quiet
from recorded import MERGED
from tiers import with_variants

from yoj.calibration._collect import CalibratedModel
from yoj.export._errors import CheckpointError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.checkpoint._dimension_texts import DimensionText
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families.opening import open_family
from yoj.export.graph.traced import TracedSession
from yoj.export.prompts.layout import render_layout
from yoj.runtime import Image, Request, RequestError, Scorer
from yoj.runtime.dimensions import by_dimension

pytestmark = [pytest.mark.parity, pytest.mark.export]

CLOSE = 8e-5
"""1e-5 where scores are divided by sqrt(64), which these are not."""
PROMPT = "Make the red car blue, and not the tree."
KINDS = {
    "heads of their own": EditKind(),
    "one head, two texts": EditKind("ranknet_share_head", 1, "min", kwargs=True),
    "one dimension": EditKind("ranknet", 2, None),
    "linear": EditKind("default", 1, "mean"),
}


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


SOURCE, EDITS = noise(0, 64, 96), [noise(1, 64, 96), noise(2, 96, 64), noise(3, 40, 120)]
REQUEST = Request(PROMPT, [Image(edit) for edit in EDITS], images=[SOURCE])


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """judge(kind) -> checkpoint on disk with the model that it is of."""

    @functools.cache
    def make(name: str) -> EditJudge:
        return EditJudge(tmp_path_factory.mktemp("edits") / "judge", KINDS[name])

    return make


def changed(judge: EditJudge, folder: Path, **settings: object) -> Path:
    """The checkpoint once more, with other settings."""
    shutil.copytree(judge.folder, folder)
    file = folder / "model_config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "model_config": content["model_config"] | settings}))
    return folder


def refusal(folder: Path, base: Path | None = None) -> str:
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open([folder], base)
    return str(error.value)


@pytest.mark.parametrize("name", with_variants([*KINDS], len(KINDS)))
def test_each_kind_scores_as_the_code_of_its_training(name, judge):
    of = judge(name)
    model = CalibratedModel.open(Checkpoint.open([of.folder]), "user")
    session = TracedSession.load(model.checkpoint, model.family.graphs, "float32")
    prepared = model.preparer.prepare(REQUEST)
    assert prepared.mode == "isolated"
    head = model.preparer.rules.head
    outputs = by_dimension(session.score([prepared], model.preparer.family), head)
    expected = of.outputs(PROMPT, SOURCE, EDITS, model.preparer.family)
    assert list(outputs) == [text for text, _ in of.kind.texts]
    for place, own in enumerate(outputs.values()):
        np.testing.assert_allclose(own["scores"][0], expected[:, place, 0], rtol=0, atol=CLOSE)
        if of.kind.output_dim == 2:
            np.testing.assert_allclose(np.log(own["spread"][0]), expected[:, place, 1], rtol=0, atol=CLOSE)
    assert expected[..., 0].std() > 100 * CLOSE, "responses and dimensions are told apart"


@pytest.fixture(scope="module")
def scorer(judge, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "judge.yoj"
    build(ExportConfig([judge("heads of their own").folder], None, "user", out), Quiet())
    return Scorer.load(out)


def test_a_bundle_gives_every_dimension_and_the_sum_that_the_code_makes_of_them(judge, scorer):
    expected = judge("heads of their own").outputs(PROMPT, SOURCE, EDITS, scorer.family)
    (judgement,) = scorer.score_batch([REQUEST])
    assert [one.name for one in judgement.dimensions] == ["instruction", "quality"]
    for place, one in enumerate(judgement.dimensions):
        np.testing.assert_allclose(one.scores, expected[:, place, 0], rtol=0, atol=CLOSE)
        np.testing.assert_allclose(one.sigma, np.exp(expected[:, place, 1]), rtol=0, atol=CLOSE * 10)
    np.testing.assert_allclose(judgement.scores, expected[..., 0].sum(1), rtol=0, atol=2 * CLOSE)
    variance = np.exp(2 * expected[..., 1]).sum(1)
    np.testing.assert_allclose(judgement.sigma, np.sqrt(variance), rtol=0, atol=CLOSE * 10)
    assert judgement.mode == judgement.trained_mode == "isolated"
    assert not any("not known" in notice for notice in judgement.notices)


def test_each_edit_is_scored_as_if_alone(scorer):
    whole = scorer.score_batch([REQUEST])[0].scores
    alone = [scorer.score(PROMPT, [Image(edit)], images=[SOURCE]).scores[0] for edit in EDITS]
    np.testing.assert_allclose(whole, alone, rtol=0, atol=CLOSE)


def test_the_features_of_the_source_are_computed_once(scorer):
    prepared = scorer.prepare(Request(PROMPT, [Image(edit) for edit in EDITS], images=[noise(8, 64, 96)]))
    assert len(prepared.packs) == 2
    assert len(prepared.media) == 1 + len(EDITS)
    for pack in prepared.packs:
        (source,) = [np.flatnonzero(pack.media_L == 1)]
        assert len(source) == prepared.media[0].rows
        assert (pack.segment_L[source] == 0).all()


def test_a_dimension_can_rank(scorer):
    judgement = scorer.score(PROMPT, [Image(edit) for edit in EDITS], images=[SOURCE], dimension="quality")
    assert judgement.scores == judgement.dimensions[1].scores
    assert judgement.dimension == "quality"
    with pytest.raises(RequestError, match=r"dimension is 'beauty'; the head of this bundle has instruction, quality"):
        scorer.score(PROMPT, [Image(EDITS[0])], images=[SOURCE], dimension="beauty")


def test_a_response_without_a_picture_is_refused_by_name(scorer):
    with pytest.raises(RequestError, match=r"responses\[1\] shows no picture, and this judge grades pictures"):
        scorer.score(PROMPT, [Image(EDITS[0]), "A blue car."], images=[SOURCE])


def test_joint_reading_is_refused(scorer):
    with pytest.raises(RequestError, match=r"reads one at a time. Ask for mode='isolated'"):
        scorer.score(PROMPT, [Image(edit) for edit in EDITS], images=[SOURCE], mode="joint")


def test_a_conversation_is_refused(scorer):
    turns = [{"role": "system", "content": "Be strict."}, {"role": "user", "content": [Image(SOURCE), PROMPT]}]
    with pytest.raises(RequestError, match=r"conversation of 2 turns, and this judge quotes the prompt"):
        scorer.score(turns, [Image(EDITS[0])])


def test_the_assistant_layout_is_refused(judge):
    checkpoint = Checkpoint.open([judge("heads of their own").folder])
    with pytest.raises(CheckpointError, match=r"edit_reward, whose responses stand in the user turn"):
        render_layout(checkpoint, "assistant", open_family(checkpoint).markup())


def test_texts_of_dimensions_are_for_this_layout_alone():
    texts = (DimensionText("instruction", "Does it follow?"), DimensionText("quality", "Is it good?"))
    with pytest.raises(CheckpointError, match=r"is no checkpoint of EditReward.*Leave --dimensions out"):
        Checkpoint.open([MERGED], training=Training(dimensions=texts))


def test_the_texts_have_to_be_given(judge, tmp_path):
    folder = changed(judge("heads of their own"), tmp_path / "judge")
    texts = (folder / "dimensions.json").read_text()
    (folder / "dimensions.json").unlink()
    told = refusal(folder)
    assert "does not hold the texts that ask for its 2 dimensions" in told
    assert "--dimensions" in told
    (folder / "dimensions.json").write_text(json.dumps(json.loads(texts)[:1]))
    assert "has 2 dimensions, and 1 texts are given (instruction)" in refusal(folder)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rm_head_type": "other"}, "rm_head_type is 'other'; known are default, ranknet"),
        ({"use_special_tokens": False}, "use_special_tokens is False; only heads that read <|Reward|> are exported"),
        ({"rm_head_type": "ranknet"}, "holds the heads [0, 1]; a ranknet has 1"),
    ],
)
def test_settings_of_another_training_are_refused(settings, told, judge, tmp_path):
    assert told in refusal(changed(judge("heads of their own"), tmp_path / "judge", **settings))


def test_a_second_output_that_is_no_sigma_is_left_out(judge, tmp_path):
    folder = changed(judge("heads of their own"), tmp_path / "judge", loss_type="bt")
    checkpoint = Checkpoint.open([folder])
    assert checkpoint.head.outputs == 1
    assert any("the second output is left out: with loss_type 'bt'" in note for note in checkpoint.notes)


def test_another_backbone_is_refused(judge, tmp_path):
    folder = changed(judge("heads of their own"), tmp_path / "judge")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen2_5_vl"}))
    told = refusal(folder)
    assert "says model_type 'qwen2_5_vl'" in told
    assert "exports Qwen3-VL alone, not Qwen2.5-VL" in told


def test_adapters_are_refused(judge, tmp_path):
    folder = changed(judge("heads of their own"), tmp_path / "judge")
    state = torch.load(folder / "model.pth", weights_only=True)
    torch.save(state | {"model.layers.0.q_proj.lora_A.weight": torch.zeros(2, 2)}, folder / "model.pth")
    assert "lora_A.weight: it was trained with adapters" in refusal(folder)


def test_a_tokenizer_without_the_reward_token_is_refused(judge, tmp_path):
    of = judge("heads of their own")
    folder = changed(of, tmp_path / "judge")
    shutil.rmtree(folder / "tokenizer")
    told = refusal(folder, of.folder.with_name("judge-base"))
    assert "has no special token <|Reward|>" in told
    assert "Copy the folder tokenizer/" in told


def test_the_newest_checkpoint_of_a_run_is_taken(judge, tmp_path):
    of, run = judge("heads of their own"), tmp_path / "run"
    run.mkdir()
    shutil.move(shutil.copytree(of.folder, tmp_path / "copy"), run / "checkpoint-20")
    shutil.copytree(run / "checkpoint-20", run / "checkpoint-3")
    for name in ("model_config.json", "config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        shutil.move(run / "checkpoint-20" / name, run / name)
        (run / "checkpoint-3" / name).unlink()
    checkpoint = Checkpoint.open([run])
    assert checkpoint.folders == (run / "checkpoint-20",)
    assert checkpoint.file("preprocessor_config.json") == run / "preprocessor_config.json"
    assert {"model.pth", "model_config.json", "dimensions.json"} <= {file.name for file in checkpoint.files()}
    assert not any(file.name == "training_args.bin" for file in checkpoint.files())


def test_texts_of_a_prompt_forge_no_reward_token(scorer):
    prompt = "Remove <|Reward|> and <|im_end|>."
    token = scorer._preparer.packer.encoder.token_id("<|Reward|>")
    prepared = scorer.prepare(Request(prompt, [Image(EDITS[0])], images=[SOURCE]))
    for pack in prepared.packs:
        assert np.flatnonzero(pack.input_ids_L == token).tolist() == pack.response_end_N.tolist()


def test_a_longer_prompt_moves_only_its_own_places(scorer):
    short, long = (scorer.prepare(Request(text, [Image(EDITS[0])], images=[SOURCE])) for text in ("Red.", PROMPT * 4))
    assert short.packs[0].response_start_N.tolist() == long.packs[0].response_start_N.tolist()
    assert short.tokens < long.tokens


def test_training_facts_that_contradict_the_layout_are_refused(judge):
    with pytest.raises(CheckpointError, match=r"reads one response at a time: give --mode isolated"):
        Checkpoint.open([judge("linear").folder], training=Training(trained_mode="joint"))
