"""The language graph against the stock model's ``generate``, token for token, on rows of untraced lengths."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
from graph_checks import FORBIDDEN
from rationales import ASK, FAMILIES, StockWriter, export, requests_of, write_source
from tiers import with_variants

from yoj.export._errors import CheckpointError
from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family, open_language
from yoj.export.graph.traced import TracedSession
from yoj.export.quantisation.config import (
    QuantisationConfig,
    QuantisationSpec,
    matrices,
    quantise_graphs,
    read_config,
    write_config,
)
from yoj.runtime import Scorer

pytestmark = [pytest.mark.export, pytest.mark.parity]

MOST = 9
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """judge(family) -> scorer, stock model and folder of the bundle."""

    @functools.cache
    def make(family: str):
        folder = tmp_path_factory.mktemp(family)
        source = write_source(family, folder / "checkpoint")
        out = export(source, folder / "judge.yoj", compare=True)
        return Scorer.load(out), StockWriter(source), out

    return make


@pytest.mark.parametrize("family", with_variants(FAMILIES))
@pytest.mark.parametrize("name", [*requests_of()])
@pytest.mark.parametrize("response", [0, 1])
def test_every_token_is_the_one_that_the_stock_model_writes(family, name, response, judge):
    scorer, stock, _ = judge(family)
    request = requests_of()[name]
    row = scorer.continuation(request, response, MOST)
    length = row.prepared.tokens - MOST
    expected = stock.generate(scorer, row.prepared, length, MOST)
    logits = [row.read_row(length)]
    logits += [row.read_next(token) for token in expected.tokens[:-1]]
    np.testing.assert_allclose(np.array(logits), expected.logits_TW, rtol=0, atol=TOLERANCE * np.abs(logits).max())
    stopped = expected.tokens[-1] in scorer.manifest.language.stop
    rationale = scorer.rationale(request, response, max_tokens=MOST)
    assert list(rationale.tokens) == (expected.tokens[:-1] if stopped else expected.tokens)
    assert rationale.stopped == stopped


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_what_was_read_before_matters(family, judge):
    """Else the tests above would pass with a cache that is not looked at."""
    scorer, _, _ = judge(family)
    request = requests_of()["text"]
    read, forgot = (scorer.continuation(request, 0, MOST) for _ in range(2))
    length = read.prepared.tokens - MOST
    for row in (read, forgot):
        row.read_row(length)
    for cache in forgot._caches.values():
        cache[:] = 0
    assert np.abs(read.read_next(5) - forgot.read_next(5)).max() > 0.05


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_the_build_compares_the_language_graph(family, judge):
    _, _, out = judge(family)
    assert '"language": {' in (out / "fidelity.json").read_text("utf-8")


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_the_graph_has_no_shape_that_depends_on_data(family, judge):
    scorer, _, out = judge(family)
    graph = onnx.load(out / scorer.engine.graphs["language"].file, load_external_data=False).graph
    assert not FORBIDDEN & {node.op_type for node in graph.node}


@pytest.mark.thorough
def test_only_the_head_is_added_to_the_weights_and_nothing_where_it_is_tied(judge, tmp_path):
    for family, added in (("qwen3_vl", 0), ("molmo2", 4 * 960 * 64)):
        _, _, out = judge(family)
        plain = export(write_source(family, tmp_path / family), tmp_path / f"{family}.yoj", language=False)
        more = (out / "onnx" / "weights.data").read_bytes()
        before = (plain / "onnx" / "weights.data").read_bytes()
        assert more.startswith(before)
        assert len(more) - len(before) in range(added, added + 4096)


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_the_final_norm_is_there_where_the_value_head_reads_before_it(family, tmp_path):
    source = write_source(family, tmp_path / "checkpoint", "pre_norm")
    # Scores of the recorded head, which was trained behind the norm, are too large before it to be compared.
    scorer = Scorer.load(export(source, tmp_path / "judge.yoj", compare=family == "qwen3_vl"))
    row = scorer.continuation(requests_of()["text"], 0, 1)
    length = row.prepared.tokens - 1
    expected = StockWriter(source).generate(scorer, row.prepared, length, 1)
    np.testing.assert_allclose(row.read_row(length)[None], expected.logits_TW, rtol=0, atol=1e-4)


def test_a_checkpoint_without_a_language_head_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    source = write_source("molmo2", tmp_path / "checkpoint")
    tensors = {name: t for name, t in load_file(source / "model.safetensors").items() if name != "lm_head.weight"}
    save_file(tensors, source / "model.safetensors")
    checkpoint = Checkpoint.open([source])
    with pytest.raises(CheckpointError, match=r"no lm_head\.weight.*tie_word_embeddings.*Leave --language out"):
        open_language(checkpoint, open_family(checkpoint))


def test_a_language_head_that_does_not_fit_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    source = write_source("molmo2", tmp_path / "checkpoint")
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:, :5].contiguous()
    save_file(tensors, source / "model.safetensors")
    checkpoint = Checkpoint.open([source])
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: shape \(960, 5\), expected \(960, 64\)"):
        open_language(checkpoint, open_family(checkpoint))


def test_an_adapter_that_trained_the_language_head_is_refused(tmp_path):
    import shutil

    from recorded import ADAPTER
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(ADAPTER, tmp_path / "adapter")
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors["base_model.model.lm_head.weight"] = load_file(folder / "base" / "model.safetensors")["lm_head.weight"]
    save_file(tensors, folder / "adapter_model.safetensors")
    checkpoint = Checkpoint.open([folder], folder / "base")
    with pytest.raises(CheckpointError, match=r"has trained lm_head.*merge_and_unload.*leave --language out"):
        open_language(checkpoint, open_family(checkpoint))


def test_the_ask_is_that_of_the_checkpoint(judge):
    scorer, _, _ = judge("molmo2")
    assert scorer.manifest.language.prompt == ASK


@pytest.mark.thorough
@pytest.mark.parametrize(("family", "scheme"), [("qwen3_vl", "int8"), ("molmo2", "int4_weights")])
def test_matrices_are_quantised_as_those_of_the_scorers_and_the_head_never_is(family, scheme, tmp_path):
    source = write_source(family, tmp_path / "checkpoint")
    checkpoint = Checkpoint.open([source])
    opened = open_family(checkpoint)
    layers = [name for name, matrix in matrices(opened.graphs[1]).items() if min(matrix.weight.shape) % 32 == 0]
    of = QuantisationSpec(
        scheme=scheme, layers=tuple(layers), checkpoint=checkpoint_hashes(checkpoint), embeddings=scheme == "int8"
    )
    write_config(QuantisationConfig(of, {}), tmp_path / "plan")
    out = export(source, tmp_path / "judge.yoj", precision=scheme, quantisation=tmp_path / "plan")
    scorer = Scorer.load(out)
    specs = quantise_graphs(
        [*opened.graphs, open_language(checkpoint, opened)], opened.smoothing(), read_config(tmp_path / "plan")
    )
    traced = Scorer(scorer._bundle, scorer.engine, TracedSession.load(checkpoint, specs, "float32"))
    request = requests_of()["pictures in both"]
    rows = [one.continuation(request, 1, 2) for one in (scorer, traced)]
    length = rows[0].prepared.tokens - 2
    pairs = [[row.read_row(length) for row in rows], [row.read_next(7) for row in rows]]
    for got, expected in pairs:
        # Where two roundings of an input lie beside each other, an engine may take the other one.
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-2 * np.abs(expected).max())
    assert "lm_head.weight" in specs[-1].sources
    assert specs[-1].sources["lm_head.weight"].change.storage is None
