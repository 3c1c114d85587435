"""Isolated mode: each response as if it were the only one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoj.runtime import EngineError, Request, RequestError, Scorer
from yoj.runtime.manifest import encode, seal

IMAGES = Path(__file__).parents[1] / "golden" / "data" / "images"
SAME = 1e-5
RESPONSES = ["A red ball.", "\n\nTwo squares.", "", "42\n", " I cannot tell", "<|resp_sep|>"]


@pytest.mark.parametrize("layout", ["assistant", "user"])
@pytest.mark.parametrize("media", [{}, {"images": [IMAGES / "odd_small.png"]}, {"video": IMAGES / "frames_ball"}])
def test_scores_are_those_of_single_responses(layout, media, scorer):
    judge = scorer("merged", layout)
    together = judge.score("What is shown?", RESPONSES, mode="isolated", **media).scores
    alone = [judge.score("What is shown?", [response], **media).scores[0] for response in RESPONSES]
    np.testing.assert_allclose(together, alone, atol=SAME)
    assert np.abs(np.array(judge.score("What is shown?", RESPONSES, **media).scores) - alone).max() > 0.1


def test_scores_do_not_depend_on_the_order(scorer):
    judge = scorer("merged", "assistant")
    forth = judge.score("Why?", RESPONSES, mode="isolated").scores
    back = judge.score("Why?", RESPONSES[::-1], mode="isolated").scores[::-1]
    np.testing.assert_allclose(forth, back, atol=SAME)


@pytest.mark.parametrize("layout", ["assistant", "user"])
@settings(deadline=None, max_examples=60)
@given(
    prompt=st.text(max_size=20), responses=st.lists(st.text("ab \n.<|im_end|>é", max_size=12), min_size=1, max_size=5)
)
def test_each_segment_continues_the_prompt_as_its_own_pack_does(layout, prompt, responses, scorer):
    judge = scorer("merged", layout)
    (pack,) = judge.prepare(Request(prompt, responses, duplicates="score", placeholders="text"), "isolated").packs
    prompt_L = pack.segment_L == 0
    for number, response in enumerate(responses):
        (single,) = judge.prepare(Request(prompt, [response], placeholders="text"), "joint").packs
        seen = prompt_L | (pack.segment_L == number + 1)
        assert pack.input_ids_L[seen].tolist() == single.input_ids_L.tolist()
        assert pack.index_L[seen].tolist() == single.index_L.tolist()
        end = pack.response_end_N[number]
        assert pack.input_ids_L[end] == single.input_ids_L[-1]
        assert pack.index_L[end] == len(single.input_ids_L) - 1


def test_orders_of_isolated_responses_are_refused(scorer):
    with pytest.raises(RequestError, match="orders at 1"):
        scorer("merged", "assistant").score("Why?", ["a", "b"], mode="isolated", orders=2)


def test_an_unknown_mode_is_refused(scorer):
    with pytest.raises(RequestError, match="'joint' or 'isolated'"):
        scorer("merged", "assistant").score("Why?", ["a", "b"], mode="alone")


def test_the_other_mode_is_said_in_the_judgement(scorer):
    judge = scorer("merged", "assistant")
    assert "trained in joint mode" in str(judge.score("Why?", ["a", "b"], mode="isolated"))
    assert "trained in" not in str(judge.score("Why?", ["a", "b"]))


def altered(bundle: Path, out: Path, **changes) -> Path:
    """A bundle with another manifest, sealed again."""
    out.mkdir()
    for file in bundle.rglob("*"):
        if file.is_file():
            (out / file.relative_to(bundle)).parent.mkdir(exist_ok=True)
            (out / file.relative_to(bundle)).hardlink_to(file)
    manifest = msgspec.structs.replace(Scorer.load(bundle).manifest, **changes)
    (out / "manifest.json").unlink()
    (out / "manifest.json").write_bytes(encode(seal(manifest)))
    return out


def test_a_bundle_without_the_segmented_graph_says_so(bundle, tmp_path):
    (engine,) = Scorer.load(bundle("merged", "assistant")).manifest.engines
    graphs = {role: graph for role, graph in engine.graphs.items() if role != "scorer.segmented"}
    smaller = msgspec.structs.replace(engine, graphs=graphs)
    judge = Scorer.load(altered(bundle("merged", "assistant"), tmp_path / "b.yoj", engines=(smaller,)))
    assert len(judge.score("Why?", ["a", "b"]).scores) == 2
    with pytest.raises(EngineError, match=r"no graph scorer\.segmented.*Export it again"):
        judge.score("Why?", ["a", "b"], mode="isolated")


def test_a_model_trained_alone_is_read_alone(bundle, tmp_path):
    judge = Scorer.load(altered(bundle("merged", "assistant"), tmp_path / "b.yoj", trained_mode="isolated"))
    assert judge.score("Why?", ["a", "b"]).mode == "isolated"
    assert judge.score("Why?", ["a", "b"], mode="joint").mode == "joint"


def test_the_second_scorer_graph_adds_little(bundle):
    path = bundle("merged", "assistant")
    whole = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert (path / "onnx" / "scorer.segmented.onnx").stat().st_size < 0.02 * whole
