"""Files of a checkpoint that a stranger wrote: one `CheckpointError` that names the file, bounded, and no code run."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest
from quiet import Quiet
from recorded import MERGED

from yoj.export._errors import CheckpointError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.bundle._describe import describe_assumptions
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.prompts import _rendering as rendering
from yoj.export.prompts._rendering import Renderer, TemplateFailedError, TemplateRefusedError
from yoj.export.prompts.layout import render_layout
from yoj.runtime import Scorer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
MESSAGES = [{"role": "user", "content": "Which?"}]


@pytest.fixture
def merged(tmp_path) -> Path:
    """A copy of the merged checkpoint."""
    return shutil.copytree(MERGED, tmp_path / "merged")


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text("utf-8"))
    change(content)
    file.write_text(json.dumps(content), "utf-8")


def refusal(folder: Path) -> str:
    def read() -> None:
        checkpoint = Checkpoint.open([folder])
        render_layout(checkpoint, "assistant", open_family(checkpoint).markup())

    with pytest.raises(CheckpointError) as error:
        read()
    return str(error.value)


# Chat templates


@pytest.fixture(scope="module")
def renderer():
    made = Renderer()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ 'a' * 20000000000 }}", "takes more than 512 MiB"),
        ("{{ 'a'.ljust(10 ** 10) }}", "takes more than 512 MiB"),
        ("{{ messages * 10 ** 9 }}", "takes more than 512 MiB"),
        ("{{ 'a' * 2000000 }}", "text of 2,000,000 characters"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "RecursionError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ '\\ud800' }}", "surrogates not allowed"),
        ("{% for", "unexpected 'end of template'"),
        ("{{ 'a' | sort(1, 2, 3, 4) }}", "TypeError"),
    ],
)
def test_a_template_that_fails_or_takes_too_much_is_refused(template, told, renderer):
    with pytest.raises(TemplateFailedError, match=told):
        renderer.render(template, MESSAGES, {})
    assert renderer.render("{{ messages[0].content }}{{ bos_token }}", MESSAGES, {"bos_token": "!"}) == "Which?!"


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ (10 ** (10 ** 8)) % 7 }}",
    ],
)
def test_a_template_that_does_not_end_is_ended(template, renderer, monkeypatch):
    monkeypatch.setattr(rendering, "SECONDS", 0.5)
    with pytest.raises(TemplateFailedError, match="did not end within"):
        renderer.render(template, MESSAGES, {})
    monkeypatch.undo()
    assert renderer.render("{{ messages[0].content }}", MESSAGES, {}) == "Which?"


@pytest.mark.parametrize("template", ["{{ ''.__class__.__mro__ }}", "{{ raise_exception('never') }}", "{{ a.b.c }}"])
def test_what_a_template_refuses_or_may_not_do_is_no_failure_of_the_process(template, renderer):
    with pytest.raises(TemplateRefusedError):
        renderer.render(template, MESSAGES, {})


def test_a_template_that_fails_for_some_turns_alone_is_refused_as_a_whole(merged):
    """Turns that it refuses are left out of the layout; a failure may not pass for that."""
    file = merged / "chat_template.jinja"
    file.write_text("{% if messages | length > 2 %}{{ 1 / 0 }}{% endif %}" + file.read_text("utf-8"), "utf-8")
    assert f"{file}: the chat template fails: ZeroDivisionError" in refusal(merged)


def test_a_template_that_is_not_text_is_refused(merged):
    file = merged / "chat_template.jinja"
    file.write_bytes(b"\xff\xfe\x00template")
    assert f"{file} is not UTF-8" in refusal(merged)


def test_a_template_that_leaves_thoughts_out_is_refused(merged):
    file = merged / "chat_template.jinja"
    joined = "| join(' ') -%}"
    text = file.read_text("utf-8")
    assert text.count(joined) == 1
    file.write_text(text.replace(joined, f"{joined}{{%- set said = said.split('</think>')[-1] -%}}"), "utf-8")
    said = refusal(merged)
    assert str(file) in said
    assert "holds a thought" in said


def test_a_turn_mark_that_texts_could_become_is_refused(merged):
    edit(merged / "tokenizer.json", lambda content: special(content, "<|im_end|>", False))
    edit(merged / "tokenizer.json", lambda content: special(content, "<|im_start|>", False))
    said = refusal(merged)
    assert str(merged / "tokenizer.json") in said
    assert "is not special in the tokenizer" in said


def special(content: dict, name: str, value: bool) -> None:
    next(token for token in content["added_tokens"] if token["content"] == name)["special"] = value


def test_a_template_that_makes_a_long_text_of_nothing_is_refused(merged):
    file = merged / "chat_template.jinja"
    file.write_text("{{ 'long' * 100000 }}" + file.read_text("utf-8"), "utf-8")
    assert f"{file}: the chat template fails: it makes a text of 400," in refusal(merged)


def test_a_template_that_shows_the_date_is_said(merged):
    checkpoint = Checkpoint.open([merged])
    assert not list(describe_assumptions(checkpoint, open_family(checkpoint)))
    file = merged / "chat_template.jinja"
    file.write_text("{{ strftime_now('%Y') }}" + file.read_text("utf-8"), "utf-8")
    (said,) = describe_assumptions(checkpoint, open_family(checkpoint))
    assert "shows the date" in said


@pytest.mark.parametrize("value", [["molmo2"], {}, None, 3, "llava"])
def test_a_model_type_that_is_none_is_named(value, merged):
    edit(merged / "config.json", lambda content: content.update(model_type=value))
    assert f"model_type {value!r}" in refusal(merged)


# Code


@pytest.mark.export
def test_code_of_a_checkpoint_is_never_run_and_that_is_said(merged, tmp_path, capfd):
    ran = tmp_path / "ran"
    (merged / "strange.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: ...\n", "utf-8")
    named = {"AutoConfig": "strange.Own", "AutoModel": "strange.Own", "AutoTokenizer": ["strange.Own", "strange.Own"],
             "AutoProcessor": "strange.Own", "AutoImageProcessor": "strange.Own"}  # fmt: skip
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        edit(merged / name, lambda content: content.update(auto_map=named))
    edit(merged / "tokenizer_config.json", lambda content: content.update(tokenizer_class="Own"))
    notes = list[str]()

    class Notes(Quiet):
        def note(self, text: str) -> None:
            notes.append(text)

    build(ExportConfig([merged], None, "assistant", tmp_path / "judge.yoj"), Notes())
    assert any("auto_map is ignored" in note and str(merged / "config.json") in note for note in notes)
    assert not ran.exists()
    assert "y/N" not in "".join(capfd.readouterr())
    assert len(Scorer.load(tmp_path / "judge.yoj").score("Which?", ["one", "two"]).scores) == 2


def test_everything_that_transformers_loads_by_name_says_that_no_code_may_run():
    """The library's default asks on the terminal, and "y" on standard input runs the file."""
    asked = list[str]()
    for file in (
        path for part in ("export", "training", "calibration", "bench") for path in (ROOT / part).rglob("*.py")
    ):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr == "from_pretrained"
            ):
                of = call.func.value
                said = {word.arg: word.value for word in call.keywords}.get("trust_remote_code")
                if isinstance(of, ast.Name) and of.id.startswith("Auto") and getattr(said, "value", None) is not False:
                    asked.append(f"{file}:{call.lineno}")
    assert asked == []


# Tokenizers


def separator(content: dict) -> dict:
    return next(token for token in content["added_tokens"] if token["content"] == "<|resp_sep|>")


def with_separator(content: dict, **values) -> None:
    entry = {"id": 970, "content": "<|resp_sep|>", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}  # fmt: skip
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != "<|resp_sep|>"] + [entry | values]


def as_ordinary_token(content: dict) -> None:
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != "<|resp_sep|>"]
    content["model"]["vocab"]["<|resp_sep|>"] = 970


TOKENIZERS = {
    "separator not special": (lambda c: with_separator(c, special=False), "<|resp_sep|> is not special"),
    "separator normalised": (lambda c: with_separator(c, normalized=True), "<|resp_sep|> is normalised"),
    "separator ordinary": (as_ordinary_token, "<|resp_sep|> is an ordinary token"),
    "regular expression": (
        lambda c: c.update(normalizer={"type": "Replace", "pattern": {"Regex": "(("}, "content": ""}),
        "Oniguruma error",
    ),
    "negative id": (lambda c: c["model"]["vocab"].update(a=-1), "expected u32"),
    "merge of unknown tokens": (lambda c: c["model"]["merges"].append(["zzq", "qzz"]), "out of vocabulary"),
    "id beyond the table": (lambda c: c["model"]["vocab"].update(h=10**6), "'h' has the id 1000000"),
    "a panic of Rust": (
        lambda c: c.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "precompiled_charsmap"
    ),
    "merges at random": (lambda c: c["model"].update(dropout=0.5), "leaves out merges at random"),
    "bytes that are not there": (lambda c: c["model"].update(vocab={}, merges=[]), "no token for 256 of the 256 bytes"),
    "no model": (lambda c: c.pop("model"), "Model missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_is_broken_or_could_be_forged_is_refused(name, merged):
    change, told = TOKENIZERS[name]
    edit(merged / "tokenizer.json", change)
    text = refusal(merged)
    assert told in text
    assert str(merged / "tokenizer.json") in text


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{" * 100_000, b'{"a":' * 100_000, b"null"])
@pytest.mark.parametrize("name", ["config.json", "reward_model_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_no_json_object_is_named(name, content, merged):
    (merged / name).write_bytes(content)
    assert name in refusal(merged)
