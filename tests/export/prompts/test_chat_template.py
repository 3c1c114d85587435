"""Conversations and parts: ids as the checkpoint's own chat template and the stock tokenizer make them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packs import pack_one
from recorded import MERGED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.prompts._chat_template import ChatTemplate, template_ids
from yoj.export.prompts.layout import encoder_of, render_layout
from yoj.runtime import Image, Request, RequestError, Scorer, Video
from yoj.runtime.packing import Packer
from yoj.runtime.script import script_of
from yoj.runtime.stretch import Span

pytestmark = pytest.mark.parity

LAYOUTS = ("assistant", "user")
STRICT = """\
{%- if messages[0].role == 'system' -%}
  {{- '<|im_start|>system\\n' -}}
  {%- if messages[0].content is string -%}{{- messages[0].content -}}
  {%- else -%}{%- for part in messages[0].content if part.type == 'text' -%}{{- part.text -}}{%- endfor -%}{%- endif -%}
  {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages if message.role != 'system' -%}
  {{- '<|im_start|>' ~ message.role ~ '\\n' -}}
  {%- if message.content is string -%}{{- message.content -}}
  {%- else -%}
    {%- for part in message.content -%}
      {%- if part.type == 'text' -%}{{- part.text -}}
      {%- elif message.role == 'user' -%}
        {{- '<|vision_start|><|' ~ part.type ~ '_pad|><|vision_end|>' -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\\n' -}}
{%- endfor -%}
"""
"""Like the released template of Qwen3-VL: a system turn is the first or none, and only users show media."""
NO_SYSTEM = STRICT.replace("{%- if messages[0].role == 'system' -%}", "{%- if messages[0].role == 'nobody' -%}")
ONE_QUESTION = "{%- if messages | length > 2 -%}{{- raise_exception('one question') -}}{%- endif -%}" + STRICT
STRIPS = STRICT.replace(
    "{{- part.text -}}\n      {%- elif", "{{- part.text if loop.index < 3 else part.text | trim -}}\n      {%- elif"
)
TEMPLATES = {"molmo2": None, "qwen3_vl": None, "qwen3_vl, strict": STRICT}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(name, layout, template) -> packer, template, markup and layout of a checkpoint."""

    @functools.cache
    def make(name: str, layout: str, template: str | None = None):
        folder = MERGED
        template = template or TEMPLATES[name]
        if name != "molmo2":
            folder = write_qwen(TinyQwen(), tmp_path_factory.mktemp("q") / "c", hidden_state="post_norm")
            if template:
                (folder / "chat_template.jinja").write_text(template, "utf-8")
        checkpoint = Checkpoint.open([folder])
        markup = open_family(checkpoint).markup()
        rendered = render_layout(checkpoint, layout, markup)
        return Packer(encoder_of(checkpoint), rendered, 10**6), ChatTemplate(checkpoint), markup

    return make


TEXT = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=12),
    st.lists(st.sampled_from(["a red cat", " sits. ", "\n\n", "42% of", "'s"]), max_size=4).map("".join),
)


def content(media: list) -> st.SearchStrategy:
    return st.lists(st.one_of(TEXT, *map(st.just, media)), min_size=1, max_size=5)


@st.composite
def conversations(draw: st.DrawFn, both: bool) -> list[dict]:
    media = [Image(b""), Video(b"")] if both else [draw(st.sampled_from([Image(b""), Video(b"")]))]
    turns = [{"role": "system", "content": draw(TEXT)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 2))):
        turns += [{"role": "user", "content": draw(content(media))}, {"role": "assistant", "content": draw(TEXT)}]
    return [*turns, {"role": "user", "content": draw(content(media))}]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", TEMPLATES)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), responses=st.lists(TEXT, min_size=1, max_size=3))
def test_ids_of_conversations_are_those_of_the_stock_template_and_tokenizer(name, layout, data, responses, made):
    packer, template, markup = made(name, layout)
    told = data.draw(conversations(markup.both))
    script = script_of(Request(told, responses, placeholders="text"))
    assume(markup.both or len(script.videos) in (0, len(script.media)))
    assume(markup.both or len(script.videos) <= 1)
    # Where media are gathered, the user layout's responses follow the last text, which a medium may follow.
    assume(layout == "assistant" or isinstance(script.turns[-1].parts[-1], str))
    special = [t.content for t in template.tokenizer.added_tokens_decoder.values()]
    texts = [p for parts in (*(t.parts for t in script.turns), *script.responses) for p in parts if isinstance(p, str)]
    assume(not any(token in text for token in special for text in texts))
    media = [
        (
            Span(
                ids=np.array(
                    [packer.encoder.token_id(markup.video_token if k in script.videos else markup.image_token)]
                )
            ),
        )
        for k in range(len(script.media))
    ]
    expected = template_ids(template, markup, layout, script, media)
    assert pack_one(packer, script, media).input_ids_L.tolist() == expected


@pytest.mark.slow
def test_what_a_template_does_not_show_is_found_at_the_export(made):
    packer, *_ = made("qwen3_vl, strict", "assistant")
    assert packer.layout.media_roles == ("user",)
    assert packer.layout.text_glue == ""
    assert not packer.layout.gathers_media
    assert made("qwen3_vl", "assistant")[0].layout.media_roles == ("system", "user", "assistant")
    assert made("molmo2", "assistant")[0].layout.gathers_media


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "lost", "kept"),
    [
        (NO_SYSTEM, ["system", "system>user"], ["user", "user>assistant", "assistant>user"]),
        (ONE_QUESTION, ["assistant>user"], ["user", "user>assistant"]),
    ],
    ids=["no system turn", "one question"],
)
def test_turns_that_a_template_does_not_show_are_refused(template, lost, kept, made):
    packer, *_ = made("qwen3_vl", "assistant", template)
    before = packer.layout.with_media.before
    assert [key for key in lost if key in before] == []
    assert [key for key in kept if key not in before] == []
    told = [{"role": "system", "content": "Be strict."}, {"role": "user", "content": "So?"}]
    if "system" not in lost:
        told = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]
    with pytest.raises(RequestError, match="which the chat template of this checkpoint cannot show"):
        packer.pack(script_of(Request(told, ["yes"])))


@pytest.mark.slow
def test_a_template_that_changes_texts_behind_media_takes_one_text(made):
    packer, *_ = made("qwen3_vl", "assistant", STRIPS)
    assert packer.layout.text_glue is None
    assert len(packer.pack(script_of(Request("Why?", ["a", "b"])))) == 1
    with pytest.raises(RequestError, match="between or behind its texts"):
        packer.pack(script_of(Request(["Look: ", Image(b""), " which?"], ["a"])), [(Span(text="x"),)])


@pytest.mark.slow
def test_bundles_of_schema_1_take_the_questions_that_they_took_and_refuse_the_rest():
    old = Path(__file__).parents[2] / "data" / "bundles"
    for name in ("molmo2-0.1", "qwen3_vl-0.1"):
        scorer = Scorer.load(old / name)
        told = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]
        with pytest.raises(RequestError, match="export the bundle again"):
            scorer.score(told, ["yes"])
        with pytest.raises(RequestError, match="export it again"):
            scorer.score(["So? ", "Why?"], ["yes"])
        assert len(scorer.score([{"role": "user", "content": "Why?"}], ["yes", "no"]).scores) == 2


def test_a_medium_where_the_template_shows_none_stands_as_in_a_user_turn_and_is_said(bundle):
    scorer = Scorer.load(bundle("merged", "assistant"))
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    told = [
        {"role": "user", "content": "Draw a cat."},
        {"role": "assistant", "content": ["Here: ", Image(pixels)]},
        {"role": "user", "content": "Is it one?"},
    ]
    judgement = scorer.score(told, ["yes", "no"])
    assert any("conversation of 3 turns" in notice for notice in judgement.notices)
    assert any("all media of the prompt before its texts" in notice for notice in judgement.notices)
    assert "note: " in str(judgement)


def test_media_behind_a_text_of_the_prompt_are_said(bundle):
    scorer = Scorer.load(bundle("qwen3_vl", "assistant"))
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    assert scorer.score([Image(pixels), "Is it one?"], ["yes", "no"]).notices == ()
    (notice,) = scorer.score(["Is it one?", Image(pixels)], ["yes", "no"]).notices
    assert "media stand behind a text of the prompt" in notice
