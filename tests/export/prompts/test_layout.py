"""The chat template as literal pieces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import SEPARATOR, Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.prompts.layout import render_layout, split_pieces
from yoj.runtime.manifest import Layout, Piece

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / "golden" / "data"
MERGED, ADAPTER = DATA / "checkpoint-merged", DATA / "checkpoint-adapter"
LAYOUTS = ("assistant", "user")
BOS = "<|im_end|>"
TEXTS = {
    "plain": ("What is this?", ["A cat.", "A dog."]),
    "one response": ("What is this?", ["A cat."]),
    "white space around": ("  \n What?\t\n", ["\n\n A cat. \n", " ", "last  "]),
    "markup of other kinds": ("{{ messages }} {% if %}", ["<b>&amp;</b>", "{{ x }}", "\\n %s"]),
    "other alphabets": ("Was ist das für ein Café?", ["猫です。", "🐈", "е́"]),
    "empty": ("", [""]),
}
RESPONSES_MARK = "{{- ' <|im_start|>assistant\\n' ~ said -}}"


@pytest.fixture
def merged(tmp_path) -> Path:
    return shutil.copytree(MERGED, tmp_path / "merged")


def layout_of(folder: Path, layout: str, base: Path | None = None) -> Layout:
    checkpoint = Checkpoint.open([folder], base)
    return render_layout(checkpoint, layout, open_family(checkpoint).markup())


def refusal(folder: Path, layout: str = "assistant") -> str:
    with pytest.raises(CheckpointError) as error:
        layout_of(folder, layout)
    return str(error.value)


def edit_template(folder: Path, old: str, new: str) -> None:
    file = folder / "chat_template.jinja"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def text_of(layout: Layout, prompt: str, responses: list[str], images: int) -> str:
    """The pack as text, put together as the manifest describes it."""
    joined = f"{layout.glue}{layout.separator}{layout.glue}".join(responses)
    each = layout.one_image if images == 1 else layout.each_image
    turns = layout.with_media if images else layout.text_only

    def say(pieces, number: int = 0) -> str:
        parts = []
        for piece in pieces:
            if piece.kind == "media":
                parts += [say(each, number) for number in range(1, images + 1)]
            else:
                parts.append({"index": str(number), "medium": "<|image|>"}.get(piece.kind, piece.value))
        return "".join(parts)

    between = say(turns.before["user>assistant"]) if layout.name == "assistant" else layout.glue
    return say(turns.before["user"]) + prompt + between + joined + say(turns.after)


def rendered(folder: Path, layout: str, prompt: str, responses: list[str], images: int) -> str:
    """The same from transformers: as trained (assistant) or as in the published example (user)."""
    joined = f"\n\n{SEPARATOR}\n\n".join(responses)
    said = prompt if layout == "assistant" else f"{prompt}\n\n{joined}"
    messages = [{"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": said}]}]
    if layout == "assistant":
        messages.append({"role": "assistant", "content": [{"type": "text", "text": joined}]})
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    return text if layout == "assistant" and not images else BOS + text


@pytest.mark.parametrize("images", [0, 1, 2, 3, 12])
@pytest.mark.parametrize("texts", TEXTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_join_to_what_transformers_renders(layout, texts, images):
    prompt, responses = TEXTS[texts]
    pieces = layout_of(MERGED, layout)
    assert text_of(pieces, prompt, responses, images) == rendered(MERGED, layout, prompt, responses, images)


def test_pieces_of_the_assistant_layout():
    layout = layout_of(MERGED, "assistant")
    token, text = (lambda value: Piece(kind="token", value=value)), (lambda value: Piece(kind="text", value=value))
    opened = (token("<|im_start|>"), text("user\n"))
    answered = (token("<|im_end|>"), text("\n "), token("<|im_start|>"), text("assistant\n"))
    assert layout.text_only.before["user"] == opened
    assert layout.with_media.before["user"] == (token(BOS), Piece(kind="media"), *opened)
    for turns in (layout.text_only, layout.with_media):
        assert turns.before["user>assistant"] == answered
        assert turns.after == ()
    assert layout.one_image == (Piece(kind="medium"),)
    assert layout.each_image == (text("Image "), Piece(kind="index"), Piece(kind="medium"))
    assert (layout.separator, layout.separator_id, layout.glue) == (SEPARATOR, 970, "\n\n")


def test_only_a_text_only_pack_of_the_assistant_layout_has_no_bos():
    bos = Piece(kind="token", value=BOS)
    assert layout_of(MERGED, "assistant").text_only.before["user"][0] != bos
    assert layout_of(MERGED, "assistant").with_media.before["user"][0] == bos
    assert layout_of(MERGED, "user").text_only.before["user"][0] == bos
    assert layout_of(MERGED, "user").with_media.before["user"][0] == bos


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_template_that_starts_with_bos_gets_no_second_one(layout, merged):
    before = layout_of(MERGED, layout)
    edit_template(merged, "{%- set seen = namespace", "{{- '<|im_end|>' -}}{%- set seen = namespace")
    after = layout_of(merged, layout)
    assert after.with_media == before.with_media
    bos = [Piece(kind="token", value=BOS)] if layout == "assistant" else []
    assert after.text_only.before["user"] == (*bos, *before.text_only.before["user"])


@pytest.mark.parametrize(
    ("change", "bos"),
    [
        ({"bos_token": None}, "<|im_end|>"),
        ({"bos_token": "<im_col>"}, "<im_col>"),
        ({"bos_token": "<|im_start|>"}, None),
        ({"bos_token": {"__type": "AddedToken", "content": "<|endoftext|>", "special": True}}, "<|endoftext|>"),
        ({"bos_token": None, "eos_token": None}, None),
    ],
    ids=["eos instead", "another", "what the text starts with", "as an object", "none"],
)
def test_bos_is_what_the_tokenizer_says(change, bos, merged):
    file = merged / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    without = layout_of(MERGED, "user").text_only.before["user"][1:]
    expected = (Piece(kind="token", value=bos), *without) if bos else without
    assert layout_of(merged, "user").text_only.before["user"] == expected


# Where the template is found.


def test_the_template_may_stand_in_the_tokenizer_config(merged):
    before = layout_of(MERGED, "assistant")
    template = (merged / "chat_template.jinja").read_text("utf-8")
    (merged / "chat_template.jinja").unlink()
    file = merged / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    assert layout_of(merged, "assistant") == before


def test_the_template_may_stand_in_a_json_file(merged):
    before = layout_of(MERGED, "user")
    template = (merged / "chat_template.jinja").read_text("utf-8")
    (merged / "chat_template.jinja").unlink()
    (merged / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert layout_of(merged, "user") == before


def test_the_template_file_comes_before_the_tokenizer_config(merged):
    file = merged / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": "{{ 'another' }}"}))
    assert layout_of(merged, "assistant") == layout_of(MERGED, "assistant")


def test_an_adapter_without_a_template_takes_that_of_its_base(tmp_path):
    adapter = shutil.copytree(ADAPTER, tmp_path / "adapter")
    before = layout_of(adapter, "assistant")
    (adapter / "chat_template.jinja").unlink()
    assert layout_of(adapter, "assistant") == before
    (adapter / "base" / "chat_template.jinja").unlink()
    assert "has no chat template" in refusal(adapter)


def test_the_template_of_an_adapter_comes_before_that_of_its_base(tmp_path):
    adapter = shutil.copytree(ADAPTER, tmp_path / "adapter")
    template = (adapter / "chat_template.jinja").read_text("utf-8").replace("assistant\\n", "judge\\n")
    (adapter / "chat_template.jinja").unlink()
    file = adapter / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    assert Piece(kind="text", value="judge\n") in layout_of(adapter, "assistant").text_only.before["user>assistant"]


# Templates that cannot be rendered once and for all.


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_template_that_strips_its_text_is_refused(layout, merged):
    edit_template(merged, "map(attribute='text') | join(' ')", "map(attribute='text') | join(' ') | trim")
    text = refusal(merged, layout)
    assert str(merged) in text
    assert "does it strip white space?" in text
    assert "Use the model's released template" in text


def test_a_template_that_strips_the_responses_only_is_refused(merged):
    edit_template(merged, RESPONSES_MARK, "{{- ' <|im_start|>assistant\\n' ~ said | trim -}}")
    assert "does not show the responses once and unchanged in the assistant layout" in refusal(merged)
    layout_of(merged, "user")


@pytest.mark.parametrize(
    ("new", "what"),
    [
        ("", "leaves out"),
        ("{{- said ~ said -}}", "doubles"),
        ("{{- said | upper | replace('\n', ' ') -}}", "changes"),
    ],
    ids=lambda value: value if value.isalpha() else None,
)
def test_a_template_that_does_not_show_the_responses_once_is_refused(new, what, merged):
    edit_template(merged, RESPONSES_MARK, new)
    assert "does not show the responses once and unchanged" in refusal(merged)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'Image ' ~ (i + 1)", "'Picture ' ~ (i + 1)"),
        ("'Image ' ~ (i + 1)", "'Image ' ~ i"),
        ("'Image ' ~ (i + 1)", "'Image ' ~ (i + 1) ~ ': '"),
        ("seen.images > 1", "seen.images > 2"),
        ("'Image ' ~ (i + 1)", "'Image ' ~ ((i + 1) % 10)"),
    ],
    ids=["another word", "from zero", "colon", "only from three", "one digit"],
)
def test_a_template_that_numbers_images_otherwise_is_refused(old, new, merged):
    edit_template(merged, old, new)
    text = refusal(merged)
    assert str(merged) in text
    assert "in a way that this version does not know" in text
    assert "Use the model's released template" in text


@pytest.mark.parametrize(
    ("old", "new"),
    [("{{- '<|image|>' -}}", "{{- '<im_start><im_patch><im_end>' -}}"), ("{{- '<|image|>' -}}", "")],
    ids=["other tokens", "no tokens"],
)
def test_a_template_with_unknown_image_markup_is_refused(old, new, merged):
    edit_template(merged, old, new)
    text = refusal(merged)
    assert "the chat template shows one image 0 times" in text
    assert str(merged) in text


def test_a_template_that_is_not_jinja_is_refused_by_name(merged):
    (merged / "chat_template.jinja").write_text("{% if %}")
    assert str(merged / "chat_template.jinja") in refusal(merged)


def test_a_template_that_refuses_the_messages_is_refused_by_name(merged):
    (merged / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    text = refusal(merged)
    assert str(merged) in text
    assert "roles must alternate" in text


# Splitting.


def test_the_longest_special_token_wins():
    pieces = split_pieces("<a><ab>b", ["<a>", "<a><ab>"], ["<|image|>"])
    assert pieces == (Piece(kind="token", value="<a><ab>"), Piece(kind="text", value="b"))


def test_special_tokens_with_signs_of_regular_expressions():
    pieces = split_pieces("x.*y|z", [".*", "|"], ["<|image|>"])
    assert [(p.kind, p.value) for p in pieces] == [
        ("text", "x"), ("token", ".*"), ("text", "y"), ("token", "|"), ("text", "z"),
    ]  # fmt: skip
