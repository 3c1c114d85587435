"""The prompt is laid out and encoded once, whatever the mode and the number of orders; ids stay those of the whole."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packs import pack_one, script

from yoj.runtime.bundle import Bundle
from yoj.runtime.orders import draw_orders
from yoj.runtime.packing import Packer, PackingOptions
from yoj.runtime.script import Script
from yoj.runtime.stretch import Span
from yoj.runtime.text import SHORTEST_MIDDLE, TextEncoder

LAYOUTS = ("assistant", "user")
WORDS = [
    "a",
    "red",
    "cat's",
    "42",
    "%",
    "sits,",
    "\n",
    "\n\n",
    "  ",
    "x",
    "\u0301",
    "é",
    "中文",
    "<|im_end|>",
    "'s",
    "!\n",
    "\t",
]
SPACED = st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)
ANY = st.one_of(SPACED, st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=200))
LONG = "It is a red cat near the tree, and it sits. " * 4


@pytest.fixture(scope="module")
def packer(bundle):
    def make(layout: str) -> Packer:
        opened = Bundle.open(bundle("merged", layout))
        return Packer(TextEncoder.open(opened.path / "tokenizer.json"), opened.manifest.layout, 10**6)

    return functools.cache(make)


def turned(of: Script, order: tuple[int, ...], prompt: str, responses: list[str]) -> Script:
    return script(prompt, [responses[k] for k in order], len(of.media))


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=120)
@given(prompt=ANY, responses=st.lists(ANY, min_size=2, max_size=5), count=st.integers(0, 2))
@example(prompt=LONG + "e", responses=["\u0301 " + LONG, LONG + " ", " " + LONG], count=1)
@example(prompt=LONG + "<|im_", responses=["end|> " + LONG, LONG + "\n", LONG + "'", "s " + LONG], count=0)
def test_rows_of_orders_are_those_of_separate_packings(layout, prompt, responses, count, packer):
    pack, of = packer(layout), script(prompt, responses, count)
    media = [(Span(ids=np.array([7, 8, 9])),)] * count
    plan = draw_orders(len(responses), len(responses))
    for row, order in zip(pack.pack(of, media, PackingOptions("joint", plan)), plan, strict=True):
        alone = pack_one(pack, turned(of, order, prompt, responses), media)
        for name in ("input_ids_L", "media_L", "segment_L", "index_L", "response_start_N", "response_end_N"):
            assert getattr(row, name).tolist() == getattr(alone, name).tolist(), name


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=120)
@given(prompt=ANY, responses=st.lists(ANY, min_size=2, max_size=5), count=st.integers(0, 2))
@example(prompt=LONG + "e", responses=["\u0301 " + LONG, LONG + " ", " " + LONG], count=1)
@example(prompt=LONG + "<|im_", responses=["end|> " + LONG, "", "\n"], count=0)
def test_isolated_responses_have_the_tokens_of_separate_packings(layout, prompt, responses, count, packer):
    pack = packer(layout)
    media = [(Span(ids=np.array([7, 8, 9])),)] * count
    together = pack_one(pack, script(prompt, responses, count), media, mode="isolated")
    for number, response in enumerate(responses):
        alone = pack_one(pack, script(prompt, [response], count), media)
        read = np.isin(together.segment_L, [0, number + 1])
        assert together.input_ids_L[read].tolist() == alone.input_ids_L.tolist()
        assert together.media_L[read].tolist() == alone.media_L.tolist()
        assert together.index_L[read].tolist() == alone.index_L.tolist()
        place = np.flatnonzero(read).tolist().index(together.response_end_N[number])
        assert place == alone.response_end_N[0]


@settings(deadline=None, max_examples=300)
@given(before=ANY, text=ANY, behind=ANY)
@example(before="x", text=LONG, behind="y")
def test_pieces_have_the_tokens_of_the_whole_text_in_any_surroundings(packer, before, text, behind):
    encoder = packer("assistant").encoder
    first, *rest = encoder.pieces(text)
    parts = [before + first, *rest]
    parts[-1] += behind
    whole = before + text + behind
    encoded = encoder.encode([whole, *parts])
    assert np.concatenate([encoded[part].ids for part in parts]).tolist() == encoded[whole].ids.tolist()


def test_long_texts_are_cut_and_short_ones_are_not(packer):
    encoder = packer("assistant").encoder
    assert len(encoder.pieces(LONG)) == 3
    assert encoder.pieces("a b c") == ("a b c",)
    assert len(encoder.pieces(LONG)[1]) >= SHORTEST_MIDDLE
    assert encoder.pieces("x" * 400) == ("x" * 400,)


def test_each_text_is_encoded_once(packer, monkeypatch):
    """A prompt of many tokens beside few in its responses: characters that are encoded, however many rows there are."""
    pack, encoder = packer("user"), packer("user").encoder
    prompt, responses = LONG * 20, [f"answer {k}" for k in range(16)]
    encoded: list[str] = []
    original = encoder.encode

    def counted(texts):
        texts = list(dict.fromkeys(texts))
        encoded.extend(texts)
        return original(texts)

    monkeypatch.setattr(encoder, "encode", counted)
    for reading in (PackingOptions("isolated"), PackingOptions("joint", draw_orders(16, 16))):
        encoded.clear()
        pack.pack(script(prompt, responses), (), reading)
        assert sum(map(len, encoded)) < 1.5 * len(prompt)


def test_a_tokenizer_of_another_kind_is_never_cut(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, " ": 1, "b": 2}, merges=[]))
    assert TextEncoder(tokenizer).pieces(LONG) == (LONG,)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert TextEncoder(tokenizer).pieces(LONG) == (LONG,)
