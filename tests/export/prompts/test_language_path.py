"""How rationales are asked for and what ends them, from the files of a checkpoint; and exports that are refused."""

from __future__ import annotations

import json

import msgspec
import pytest
from commands import run_here
from rationales import ASK, FAMILIES, write_source

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families.opening import open_family
from yoj.export.prompts.language_path import MAX_TOKENS, language_path
from yoj.export.prompts.layout import render_layout


def opened(source, layout="assistant", training=None):
    checkpoint = Checkpoint.open([source], training=training)
    return checkpoint, render_layout(checkpoint, layout, open_family(checkpoint).markup())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_is_that_of_the_settings_and_the_turn_ends_it(family, tmp_path):
    checkpoint, layout = opened(write_source(family, tmp_path / "checkpoint"))
    path = language_path(checkpoint, layout)
    assert (path.prompt, path.max_tokens) == (ASK, MAX_TOKENS)
    assert path.stop == (checkpoint.tokenizer.token_to_id("<|im_end|>"),)


@pytest.mark.parametrize(("stated", "more"), [(5, {5}), ([7, 9], {7, 9}), (None, set())])
def test_tokens_of_the_settings_of_generation_end_it_too(stated, more, tmp_path):
    source = write_source("molmo2", tmp_path / "checkpoint")
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": stated}), "utf-8")
    assert {*language_path(*opened(source)).stop} == more | {opened(source)[0].tokenizer.token_to_id("<|im_end|>")}


def test_what_is_given_goes_before_the_settings(tmp_path):
    source = write_source("molmo2", tmp_path / "checkpoint")
    assert language_path(*opened(source, training=Training(rationale_prompt="Why?"))).prompt == "Why?"


def test_a_checkpoint_that_does_not_say_how_it_was_asked_is_refused(tmp_path):
    source = write_source("molmo2", tmp_path / "checkpoint", rationale_prompt=None)
    with pytest.raises(
        CheckpointError, match=r"reward_model_config\.json does not say rationale_prompt.*--language-prompt"
    ):
        language_path(*opened(source))


@pytest.mark.parametrize("stated", ["", 5, ["Explain."]])
def test_a_text_that_is_none_is_refused(stated, tmp_path):
    with pytest.raises(CheckpointError, match=r"rationale_prompt is .*; expected a text"):
        opened(write_source("molmo2", tmp_path / "checkpoint", rationale_prompt=stated))


def test_responses_in_the_users_turn_are_refused(tmp_path):
    checkpoint, layout = opened(write_source("molmo2", tmp_path / "checkpoint"), "user")
    with pytest.raises(CheckpointError, match=r"--language is for --layout assistant"):
        language_path(checkpoint, layout)


def test_a_template_that_shows_one_text_alone_is_refused(tmp_path):
    checkpoint, layout = opened(write_source("molmo2", tmp_path / "checkpoint"))
    with pytest.raises(CheckpointError, match=r"several texts in one turn"):
        language_path(checkpoint, msgspec.structs.replace(layout, text_glue=None))


def test_a_checkpoint_that_names_no_end_is_refused(tmp_path):
    source = write_source("molmo2", tmp_path / "checkpoint")
    file = source / "tokenizer_config.json"
    checkpoint, layout = opened(source)
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"eos_token": None}), "utf-8")
    with pytest.raises(CheckpointError, match=r"which token ends an answer \(eos_token\)"):
        language_path(checkpoint, layout)


@pytest.mark.parametrize("more", [["--language-prompt", "Why?"], ["--language", "--language-prompt", ""]])
def test_a_text_goes_with_the_option(more, tmp_path):
    words = ["yoj-export", tmp_path, "--layout", "assistant", "--out", tmp_path / "judge.yoj", *more]
    done = run_here(*words)
    assert (done.returncode, "give a text, and --language." in done.stderr) == (2, True)
