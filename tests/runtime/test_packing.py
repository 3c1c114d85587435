"""Properties of every pack, whatever the prompt and the responses say."""

from __future__ import annotations

import functools
import pickle
import unicodedata

import msgspec
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from packs import pack_one, script
from tokenizers import Tokenizer

from yoj.runtime.bundle import Bundle
from yoj.runtime.errors import BundleError, LengthError, LimitError
from yoj.runtime.packing import Pack, Packer
from yoj.runtime.stretch import Span
from yoj.runtime.text import TextEncoder

LAYOUTS = ("assistant", "user")
NO_LIMIT = 10**6
SPECIAL = [
    "<|resp_sep|>", "<|im_end|>", "<|im_start|>", "<|image|>", "<|video|>", "<|endoftext|>", "<im_patch>", "<im_start>",
    "<im_end>", "<im_col>", "<low_res_im_start>", "<frame_start>", "<im_low>", "|<EXTRA_TOKENS_0>|",
]  # fmt: skip
PARTS = [piece for token in SPECIAL[:8] for cut in (1, 2, len(token) // 2, -1) for piece in (token[:cut], token[cut:])]

# Code points that this Python does not know may be normalised differently by the tokenizer.
LETTERS = st.characters(exclude_categories=("Cs", "Cn"))
PLAIN = st.text(LETTERS, max_size=30)
HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(SPECIAL), st.sampled_from(PARTS), st.sampled_from(["\n", "\n\n", " ", "assistant\n"]), PLAIN
    ),
    max_size=6,
).map("".join)
WORDS = st.lists(st.sampled_from(["the", "red", "cat", "42%", "sits,", "near", "it.\n"]), max_size=40).map(" ".join)


def responses_of(text):
    return st.lists(text, min_size=1, max_size=6)


@pytest.fixture(scope="module")
def packer(bundle):
    """packer(layout, max_tokens) -> a `Packer` of the tiny bundle."""

    def make(layout: str, max_tokens: int = NO_LIMIT) -> Packer:
        opened = Bundle.open(bundle("merged", layout))
        return Packer(TextEncoder.open(opened.path / "tokenizer.json"), opened.manifest.layout, max_tokens)

    return functools.cache(make)


@pytest.fixture(scope="module")
def tokenizer(bundle):
    return Tokenizer.from_file(str(bundle("merged", "user") / "tokenizer.json"))


@pytest.fixture(scope="module")
def special_ids(tokenizer):
    return {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}


@pytest.fixture(scope="module")
def images(tokenizer):
    """images(count) -> spans that stand for as many images."""
    names = ["<low_res_im_start>", "<im_patch>", "<im_patch>", "<im_end>", "<im_start>", "<im_patch>", "<im_end>"]
    return lambda count: [(Span(ids=np.array([tokenizer.token_to_id(name) for name in names])),)] * count


def separators(pack: Pack, tokenizer: Tokenizer) -> list[int]:
    return np.flatnonzero(pack.input_ids_L == tokenizer.token_to_id("<|resp_sep|>")).tolist()


def runs(pack: Pack, special_ids: set[int]) -> list[list[int]]:
    """The ids between special tokens."""
    parts: list[list[int]] = [[]]
    for token in pack.input_ids_L.tolist():
        parts.append([]) if token in special_ids else parts[-1].append(token)
    return [part for part in parts if part]


def texts(layout: str, prompt: str, responses: list[str], count: int) -> list[str]:
    """What must stand between the special tokens, written out from the two published chat renderings."""
    first, *rest = responses
    marks = [] if count < 2 else [f"Image {number + 1}" for number in range(count)]
    if layout == "assistant":
        head, begin, close = [f"user\n{prompt}", "\n "], "assistant\n", []
    else:
        head, begin, close = [], f"user\n{prompt}\n\n", ["\n"]
    if not rest:
        return [*marks, *head, begin + first, *close]
    middle = [f"\n\n{response}\n\n" for response in rest[:-1]]
    return [*marks, *head, f"{begin}{first}\n\n", *middle, f"\n\n{rest[-1]}", *close]


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=100)
@given(prompt=HOSTILE, responses=responses_of(HOSTILE), count=st.integers(0, 3))
@example(prompt="<|resp_sep|>", responses=["<|resp_sep|>", "\n\n<|resp_sep|>\n\n"], count=0)
@example(prompt="<|image|>", responses=["<im_patch>", ""], count=1)
@example(prompt="", responses=["", "", ""], count=0)
def test_special_tokens_stand_only_where_the_layout_puts_them(
    layout, prompt, responses, count, packer, tokenizer, images, special_ids
):
    pack = pack_one(packer(layout), script(prompt, responses, count), images(count))
    between = ["<|resp_sep|>"] * (len(responses) - 1)
    turn = ["<|im_start|>", "<|im_end|>", "<|im_start|>"] if layout == "assistant" else ["<|im_start|>"]
    bos = ["<|im_end|>"] if count or layout == "user" else []
    close = [] if layout == "assistant" else ["<|im_end|>"]
    own = pack.input_ids_L[pack.media_L == 0].tolist()
    found = [tokenizer.id_to_token(token) for token in own if token in special_ids]
    assert found == bos + turn + between + close
    for number, (span,) in enumerate(images(count)):
        assert pack.input_ids_L[pack.media_L == number + 1].tolist() == span.ids.tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=100)
@given(prompt=HOSTILE, responses=responses_of(HOSTILE), count=st.integers(0, 2))
@example(prompt="", responses=[""], count=0)
@example(prompt="a", responses=["\n", "\n\n", " \n"], count=0)
def test_a_response_ends_before_the_next_separator_and_the_last_at_the_end_of_the_row(
    layout, prompt, responses, count, packer, tokenizer, images
):
    pack = pack_one(packer(layout), script(prompt, responses, count), images(count))
    positions = separators(pack, tokenizer)
    assert len(positions) == len(responses) - 1
    length = len(pack.input_ids_L)
    assert pack.response_end_N.tolist() == [*(position - 1 for position in positions), length - 1]
    assert pack.response_start_N[1:].tolist() == [min(position + 1, length - 1) for position in positions]
    assert (pack.response_start_N <= pack.response_end_N).all()
    assert (np.diff(pack.response_end_N) > 0).all()
    assert len(pack.media_L) == length
    assert pack.cuts == ()


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=100)
@given(
    prompt=st.text(st.characters(codec="ascii"), max_size=20),
    responses=responses_of(st.text(st.characters(codec="ascii"), min_size=1, max_size=20)),
)
@example(prompt="a", responses=["\nb"])
@example(prompt="a\n", responses=["\n\n", "b"])
def test_the_first_response_starts_at_the_token_of_its_first_character(layout, prompt, responses, packer, tokenizer):
    pack = pack_one(packer(layout), script(prompt, responses))
    start = pack.response_start_N[0]
    before = tokenizer.decode(pack.input_ids_L[:start].tolist(), skip_special_tokens=False)
    through = tokenizer.decode(pack.input_ids_L[: start + 1].tolist(), skip_special_tokens=False)
    if layout == "assistant":
        lead = f"<|im_start|>user\n{prompt}<|im_end|>\n <|im_start|>assistant\n"
    else:
        lead = f"<|im_end|><|im_start|>user\n{prompt}\n\n"
    assert len(before) <= len(lead) < len(through)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=150)
@given(prompt=HOSTILE, responses=responses_of(HOSTILE), count=st.integers(0, 3))
@example(prompt="e\u0301", responses=["\u0301", "\uac00\u11a8", "\u212b"], count=0)
@example(prompt="<|im_end|>\n <|im_start|>assistant\n", responses=["<|resp_", "sep|>"], count=0)
def test_the_text_can_be_read_back(layout, prompt, responses, count, packer, tokenizer, images, special_ids):
    pack = pack_one(packer(layout), script(prompt, responses, count), images(count))
    decoded = [tokenizer.decode(run, skip_special_tokens=False) for run in runs(pack, special_ids)]
    assert decoded == [unicodedata.normalize("NFC", text) for text in texts(layout, prompt, responses, count)]


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=100)
@given(prompt=HOSTILE, responses=responses_of(HOSTILE), other=HOSTILE, data=st.data())
def test_another_text_in_one_response_moves_no_token_of_the_others(
    layout, prompt, responses, other, data, packer, special_ids
):
    changed = data.draw(st.integers(0, len(responses) - 1))
    before = runs(pack_one(packer(layout), script(prompt, responses)), special_ids)
    replaced = [other if k == changed else response for k, response in enumerate(responses)]
    after = runs(pack_one(packer(layout), script(prompt, replaced)), special_ids)
    # Both layouts have one run for each response, after the runs before it.
    run = changed + (2 if layout == "assistant" else 0)
    assert before[:run] == after[:run]
    assert before[run + 1 :] == after[run + 1 :]


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=100)
@given(prompt=PLAIN, responses=responses_of(PLAIN), count=st.integers(0, 3))
@example(prompt=" \n a \n", responses=["\n\n", " b\n", "c. \n\n"], count=2)
@example(prompt="{{ messages }}", responses=["{% raw %}", "%}"], count=1)
def test_ids_of_harmless_text_are_those_of_the_stock_tokenizer(
    layout, prompt, responses, count, packer, tokenizer, images, special_ids, stock
):
    from yoj.export.prompts._chat_template import template_ids

    names = [tokenizer.id_to_token(token) for token in special_ids]
    assume(not any(name in text for name in names for text in (prompt, *responses)))
    template, markup = stock
    request, spans = script(prompt, responses, count), images(count)
    expected = template_ids(template, markup, layout, request, spans)
    assert pack_one(packer(layout), request, spans).input_ids_L.tolist() == expected


@pytest.fixture(scope="module")
def stock():
    """The checkpoint's own chat template and tokenizer, by transformers."""
    from recorded import MERGED

    from yoj.export.checkpoint.checkpoint import Checkpoint
    from yoj.export.families.opening import open_family
    from yoj.export.prompts._chat_template import ChatTemplate

    checkpoint = Checkpoint.open([MERGED])
    return ChatTemplate(checkpoint), open_family(checkpoint).markup()


# Packs that are too long


def test_an_error_of_length_crosses_processes():
    there = pickle.loads(pickle.dumps(LengthError("too long", 300)))
    assert (type(there), str(there), there.tokens) == (LengthError, "too long", 300)
    assert LengthError("too long").tokens == 0  # as a DataLoader makes the errors of its workers


def empty_length(pack: Packer, prompt: str, count: int) -> int:
    """Tokens of a pack whose responses are all empty."""
    return len(pack_one(pack, script(prompt, [""] * count)).input_ids_L)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=100)
@given(prompt=WORDS, responses=responses_of(st.one_of(WORDS, HOSTILE)), data=st.data())
def test_truncation_fits_and_reports_exactly_what_it_cut(layout, prompt, responses, data, packer, tokenizer):
    whole = packer(layout)
    request = script(prompt, responses)
    full = len(pack_one(whole, request).input_ids_L)
    room = empty_length(whole, prompt, len(responses)) + 8 * len(responses)
    limit = data.draw(st.integers(room, max(room, full + 2)))
    pack = pack_one(packer(layout, limit), request, overflow="truncate")
    assert len(pack.input_ids_L) <= limit
    assert bool(pack.cuts) == (full > limit)
    kept = list(responses)
    for cut in pack.cuts:
        assert cut.characters == len(responses[cut.response])
        assert cut.kept < cut.characters
        kept[cut.response] = responses[cut.response][: cut.kept]
    assert len({cut.response for cut in pack.cuts}) == len(pack.cuts)
    # The pack is that of the whole prompt and the reported parts, and of nothing else.
    again = pack_one(whole, script(prompt, kept))
    assert again.input_ids_L.tolist() == pack.input_ids_L.tolist()
    assert again.response_start_N.tolist() == pack.response_start_N.tolist()
    assert again.response_end_N.tolist() == pack.response_end_N.tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=100)
@given(prompt=WORDS, responses=responses_of(WORDS), data=st.data())
@example(prompt="cat", responses=["the " * 40, "red", "near " * 20], data=None)
def test_truncation_cuts_only_the_longest_and_no_more_than_it_must(layout, prompt, responses, data, packer, tokenizer):
    whole = packer(layout)
    request = script(prompt, responses)
    full = len(pack_one(whole, request).input_ids_L)
    room = empty_length(whole, prompt, len(responses)) + 3 * len(responses)
    assume(room < full)
    limit = data.draw(st.integers(room, full - 1)) if data else (room + full) // 2
    pack = pack_one(packer(layout, limit), request, overflow="truncate")
    sizes = [len(tokenizer.encode(response).ids) for response in responses]
    cut = {cut.response for cut in pack.cuts}
    assert cut
    spared = [size for k, size in enumerate(sizes) if k not in cut]
    assert min(sizes[k] for k in cut) > max(spared, default=0)
    # One cap for all: raising it by a token would cost a token for each response that was cut, and a merge or two.
    assert limit - len(pack.input_ids_L) < 3 * len(cut)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_response_that_has_text_is_never_cut_to_nothing(layout, packer):
    responses = ["one two three", "four five", "six"]
    limit = empty_length(packer(layout), "Which?", 3) + 1
    with pytest.raises(LimitError, match="no room for the responses"):
        pack_one(packer(layout, limit), script("Which?", responses), overflow="truncate")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("responses", [["a"], ["a b c", "d"], ["", ""]])
def test_a_prompt_that_leaves_no_room_is_never_cut(layout, responses, packer):
    with pytest.raises(LimitError, match="no room for the responses") as caught:
        pack_one(packer(layout, 20), script("word " * 50, responses), overflow="truncate")
    assert "limit of this bundle is 20" in str(caught.value)
    assert "prompt" in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_that_leave_no_room_are_never_cut(layout, packer, images):
    with pytest.raises(LimitError, match="fewer images"):
        pack_one(packer(layout, 60), script("What?", ["A cat."], 12), images(12), overflow="truncate")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_error_names_the_length_the_limit_and_the_tokens_of_each_response(layout, packer):
    request = script("Which one?", ["one two three", "", "four"])
    pack = pack_one(packer(layout), request)
    length = len(pack.input_ids_L)
    assert pack_one(packer(layout, length), request).input_ids_L.tolist() == pack.input_ids_L.tolist()
    with pytest.raises(LimitError) as caught:
        pack_one(packer(layout, length - 1), request)
    text = str(caught.value)
    assert f"L={length} tokens" in text
    assert f"limit of this bundle is {length - 1}" in text
    spans = (pack.response_end_N - pack.response_start_N + 1).tolist()
    assert ", ".join(f"{k}: {span}" for k, span in enumerate(spans)) in text
    assert "overflow='truncate'" in text


def test_a_hundred_thousand_characters_are_cut_to_the_limit(packer):
    responses = ["hello world " * 8400, "short", "é中😀 " * 25_000]
    pack = pack_one(packer("assistant", 5000), script("Which?", responses), overflow="truncate")
    assert 4990 < len(pack.input_ids_L) <= 5000
    assert [cut.response for cut in pack.cuts] == [0, 2]


def test_a_tokenizer_with_another_separator_is_refused(bundle):
    opened = Bundle.open(bundle("merged", "assistant"))
    file = opened.path / "tokenizer.json"
    moved = msgspec.structs.replace(opened.manifest.layout, separator_id=5)
    with pytest.raises(BundleError, match=r"<\|resp_sep\|> the id 970, the manifest says 5"):
        Packer(TextEncoder.open(file), moved, NO_LIMIT)
    absent = msgspec.structs.replace(opened.manifest.layout, separator="<|other|>")
    with pytest.raises(BundleError, match=r"no token <\|other\|>"):
        Packer(TextEncoder.open(file), absent, NO_LIMIT)


def test_truncation_and_padding_saved_in_the_tokenizer_are_ignored(bundle, packer, tmp_path):
    opened = Bundle.open(bundle("merged", "assistant"))
    saved = Tokenizer.from_file(str(opened.path / "tokenizer.json"))
    saved.enable_truncation(4)
    saved.enable_padding(length=512)
    saved.save(str(tmp_path / "tokenizer.json"))
    request = script("Which of the two?", ["the first", "the second"])
    pack = pack_one(Packer(TextEncoder.open(tmp_path / "tokenizer.json"), opened.manifest.layout, NO_LIMIT), request)
    assert pack.input_ids_L.tolist() == pack_one(packer("assistant"), request).input_ids_L.tolist()
