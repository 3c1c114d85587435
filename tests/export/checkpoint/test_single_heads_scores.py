"""Single-response reward models score as the library that trained them does, on stock models of transformers.

No trainer has to be installed: where transformers has the trainer's own model class its forward is called, and
elsewhere the trainer's rule stands here with the file that it is from.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from single_response import (
    GENERATION,
    RESPONSES,
    SEQUENCE,
    TOKEN,
    D,
    add_tensors,
    chat_ids,
    copy_base,
    head_tensors,
    load,
    messages,
    traced_scores,
    write_base,
)
from transformers import AutoTokenizer

from yoj.calibration._collect import CalibratedModel
from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families._molmo2 import Molmo2Export
from yoj.export.prompts.layout import render_layout
from yoj.export.verification._float16_range import overflowing_layers, prepare_samples
from yoj.runtime import RequestError
from yoj.runtime.packing import without_last_newlines

pytestmark = [pytest.mark.parity, pytest.mark.slow]

FAMILIES = ("qwen3_vl", "molmo2")
CLOSE = 1e-5 * D**0.5
"""1e-5 where scores are divided by sqrt(hidden size), which these are not."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write_base(family, tmp_path_factory.mktemp("bases") / family) for family in FAMILIES}


def close(got: list[float], expected: list[float], divisor: float = 1.0) -> None:
    assert max(expected) - min(expected) > 100 * CLOSE / divisor, "the responses are told apart"
    np.testing.assert_allclose(got, expected, rtol=0, atol=CLOSE / divisor)


@torch.no_grad()
def by_sequence(model: Any, folder: Path) -> list[float]:
    """TRL's RewardTrainer and ms-swift: logits of the sequence classification's own forward."""
    return [model(chat_ids(folder, response)).logits.item() for response in RESPONSES]


@torch.no_grad()
def last_states(model: Any, rows: list[torch.Tensor]) -> torch.Tensor:
    """last_hidden_state of the bare backbone at the last token of each row, [N, D]."""
    return torch.stack([model.model(row).last_hidden_state[0, -1] for row in rows])


@pytest.mark.parametrize("family", FAMILIES)
def test_sequence_classification(family, bases, tmp_path):
    """As transformers saves it."""
    folder = copy_base(bases[family], tmp_path / "trained")
    model = load(SEQUENCE[family], family, folder)
    torch.manual_seed(1)
    model.score.weight.data.normal_()
    model.save_pretrained(folder)
    close(traced_scores(folder), by_sequence(model, folder))


@pytest.mark.parametrize("tensors", [("score.weight",), ("v_head.summary.weight", "v_head.summary.bias")])
def test_joint_reading_and_the_user_turn_are_refused(tensors, bases, tmp_path):
    folder = add_tensors(copy_base(bases["molmo2"], tmp_path / "trained"), head_tensors(*tensors))
    with pytest.raises(CheckpointError, match="reads one response at a time: give --mode isolated"):
        Checkpoint.open([folder], training=Training(trained_mode="joint"))
    checkpoint = Checkpoint.open([folder])
    with pytest.raises(CheckpointError, match="give --layout assistant"):
        render_layout(checkpoint, "user", Molmo2Export(checkpoint).markup())


def test_float16_is_probed_without_a_separator(bases, tmp_path):
    folder = add_tensors(copy_base(bases["qwen3_vl"], tmp_path / "trained"), head_tensors("score.weight"))
    model = CalibratedModel.open(Checkpoint.open([folder]), "assistant")
    batch = prepare_samples(None, model.preparer)
    assert {prepared.mode for prepared in batch} == {"isolated"}
    assert overflowing_layers(model.checkpoint, model.family, batch, model.preparer.family) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_token_classification(family, bases, tmp_path):
    """verl's reward model: logits of the token classification, with a bias, at the last token that is attended to."""
    folder = copy_base(bases[family], tmp_path / "trained")
    model = load(TOKEN[family], family, folder)
    torch.manual_seed(2)
    model.score.weight.data.normal_()
    model.score.bias.data.fill_(3.25)
    model.save_pretrained(folder)
    with torch.no_grad():
        expected = [model(chat_ids(folder, response)).logits[0, -1, 0].item() for response in RESPONSES]
    close(traced_scores(folder), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_template_that_ends_with_the_padding_token(family, bases, tmp_path):
    """Sequence classification pools the last token that is not padding, token classification the last."""
    folder = copy_base(bases[family], tmp_path / "trained")
    template = (folder / "chat_template.jinja").read_text("utf-8")
    closing = "{%- if not add_generation_prompt -%}<|endoftext|>{%- endif -%}"
    (folder / "chat_template.jinja").write_text(template + closing, "utf-8")
    add_tensors(folder, head_tensors("score.weight"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    config["text_config"]["pad_token_id"] = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    model = load(SEQUENCE[family], family, folder)
    assert chat_ids(folder, "No.")[0, -1] == model.config.get_text_config().pad_token_id
    close(traced_scores(folder), by_sequence(model, folder))
    add_tensors(folder, {"score.bias": torch.zeros(1)})
    token = load(TOKEN[family], family, folder)
    with torch.no_grad():
        expected = [token(chat_ids(folder, response)).logits[0, -1, 0].item() for response in RESPONSES]
    close(traced_scores(folder), expected)


def test_a_padding_token_that_only_some_versions_read_is_asked_for(bases, tmp_path):
    folder = copy_base(bases["qwen3_vl"], tmp_path / "trained")
    template = (folder / "chat_template.jinja").read_text("utf-8")
    closing = "{%- if not add_generation_prompt -%}<|endoftext|>{%- endif -%}"
    add_tensors(folder, head_tensors("score.weight"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    config["pad_token_id"] = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    config["text_config"].pop("pad_token_id", None)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert traced_scores(folder)  # no row ends with it
    (folder / "chat_template.jinja").write_text(template + closing, "utf-8")
    with pytest.raises(CheckpointError, match=r"pad_token_id .* outside text_config alone"):
        traced_scores(folder)


def openrlhf_ids(folder: Path, response: str) -> torch.Tensor:
    """Rule of OpenRLHF 0.11.2, openrlhf/datasets/reward_dataset.py, RewardDataset.__getitem__."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(messages(response), tokenize=False).rstrip("\n")
    if not text.endswith(tokenizer.eos_token):
        text += " " + tokenizer.eos_token
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    ids[0][-1] = tokenizer.eos_token_id
    return ids


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("settings", "name", "scale"),
    [
        ({"normalize_reward": False}, "score.weight", None),
        ({"normalize_reward": True, "mean": -1.75, "std": 0.4}, "score.weight", (-1.75, 0.4)),
        ({"normalize_reward": False, "mean": -1.75, "std": 0.4}, "score.weight", None),
        ({"mean": 2.5, "std": 3.0, "architectures": ["RewardModel"]}, "value_head.weight", (2.5, 3.0)),
        ({"value_head_prefix": "reward_head"}, "reward_head.weight", None),
    ],
)
def test_openrlhf(family, settings, name, scale, bases, tmp_path):
    """Rule of OpenRLHF 0.11.2, openrlhf/models/model.py, RewardModel.forward: EOS, bias-free, (r - mean) / std."""
    folder = add_tensors(copy_base(bases[family], tmp_path / "trained", **settings), head_tensors(name))
    responses = [*RESPONSES, "It is.\n\n", "Two\nlines.\n"]
    states = last_states(load(GENERATION[family], family, folder), [openrlhf_ids(folder, r) for r in responses])
    rewards = (states @ head_tensors(name)[name].T)[:, 0]
    if scale is not None:
        rewards = (rewards - scale[0]) / scale[1]
    close(traced_scores(folder, responses=responses), rewards.tolist(), 1.0 if scale is None else scale[1])


def test_a_response_that_openrlhf_would_strip_away_is_refused(bases, tmp_path):
    """Where no token closes the turn, newlines would go with it up to those of the template."""
    head = head_tensors("value_head.weight")
    closed, unclosed = (add_tensors(copy_base(bases[family], tmp_path / family), head) for family in FAMILIES)
    assert len(traced_scores(closed, responses=["\n", ""])) == 2
    for response in ("", "\n\n"):
        with pytest.raises(RequestError, match="empty or newlines only"):
            traced_scores(unclosed, responses=["Yes.", response])


def test_the_newlines_that_end_a_response():
    for parts, kept in {
        ("a\n\nb\n\n",): ("a\n\nb",),
        ("a\n", "\n", ""): ("a",),
        ("a\n", 0): ("a\n", 0),
        (0, "\n"): (0,),
        ("\n",): (),
        (): (),
    }.items():
        assert without_last_newlines(parts) == kept


def llama_factory_ids(folder: Path, response: str) -> torch.Tensor:
    """Rule of LLaMA-Factory 0.9.5, llamafactory/data/processor/pairwise.py: prompt and response are encoded apart."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(messages(response), tokenize=False)
    prompt = text[: text.index("assistant\n") + len("assistant\n")]
    ids = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, text.removeprefix(prompt))]
    return torch.tensor([ids[0] + ids[1]])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", ["value_head.safetensors", "value_head.bin", "shards", "pretrained_model."])
def test_value_head(family, place, bases, tmp_path):
    """Rule of LLaMA-Factory 0.9.5, llamafactory/train/rm/trainer.py: v_head over hidden_states[-1], last token."""
    folder = copy_base(bases[family], tmp_path / "trained")
    head = head_tensors("v_head.summary.weight", "v_head.summary.bias")
    model = load(GENERATION[family], family, folder)
    if place.startswith("value_head"):
        (save_file if place.endswith("safetensors") else torch.save)(head, folder / place)
    else:
        add_tensors(folder, head, "" if place == "shards" else place)
    responses = [*RESPONSES, "\n\nIt is.\n", " \nNo"]
    rows = [llama_factory_ids(folder, response) for response in responses]
    whole = chat_ids(folder, responses[-2])
    assert rows[-2].tolist() != whole.tolist(), "its newlines would merge with that of the prompt"
    with torch.no_grad():
        states = torch.stack([model(row, output_hidden_states=True).hidden_states[-1][0, -1] for row in rows])
    expected = (states @ head["v_head.summary.weight"].T + head["v_head.summary.bias"])[:, 0].tolist()
    # transformers 5 gives the state after the norm as the last of hidden_states.
    close(traced_scores(folder, Training(hidden_state="post_norm"), responses=responses), expected)


def test_the_hidden_state_belongs_to_the_layout(bases, tmp_path):
    head = head_tensors("v_head.summary.weight", "v_head.summary.bias")
    asked = add_tensors(copy_base(bases["qwen3_vl"], tmp_path / "asked"), head)
    with pytest.raises(CheckpointError, match="--hidden-state pre_norm"):
        traced_scores(asked)
    before: list[torch.Tensor] = []
    model = load(GENERATION["qwen3_vl"], "qwen3_vl", asked)
    model.model.language_model.norm.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0][0, -1]))
    with torch.no_grad():
        for response in RESPONSES:
            model(chat_ids(asked, response))
    expected = torch.stack(before) @ head["v_head.summary.weight"].T + head["v_head.summary.bias"]
    close(traced_scores(asked, Training(hidden_state="pre_norm")), expected[:, 0].tolist())
    known = add_tensors(copy_base(bases["qwen3_vl"], tmp_path / "known"), head_tensors("score.weight"))
    with pytest.raises(CheckpointError, match="after the final norm under every version"):
        traced_scores(known, Training(hidden_state="pre_norm"))


@pytest.mark.parametrize(
    "form", ["base_model.model.score.weight", "base_model.model.score.modules_to_save.default.weight"]
)
def test_a_head_that_an_adapter_saves_whole(form, bases, tmp_path):
    """PEFT's own adapter of a sequence classification, also by the keys of older releases."""
    from peft import LoraConfig, TaskType, get_peft_model

    base = bases["qwen3_vl"]
    model = load(SEQUENCE["qwen3_vl"], "qwen3_vl", base)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type=TaskType.SEQ_CLS, init_lora_weights=False)
    torch.manual_seed(4)
    trained: Any = get_peft_model(model, config).eval()
    trained.base_model.model.score.modules_to_save["default"].weight.data.normal_()
    trained.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    tensors[form] = tensors.pop("base_model.model.score.weight")
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    for file in base.glob("*token*"):
        shutil.copy(file, tmp_path)
    with torch.no_grad():
        expected = [trained(input_ids=chat_ids(base, response)).logits.item() for response in RESPONSES]
    close(traced_scores(tmp_path, base=base), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_table_as_long_as_its_tokenizer(family, bases, tmp_path):
    """No separator is read in isolated mode, so that none has to have a row."""
    folder = copy_base(bases[family], tmp_path / "trained")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    assert "<|resp_sep|>" not in tokenizer.get_vocab()
    shard = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if family == "qwen3_vl":
        name = "model.language_model.embed_tokens.weight"
        shard[name] = shard[name][: len(tokenizer)].clone()
        config["text_config"]["vocab_size"] = len(tokenizer)
    else:
        name = "model.transformer.wte.new_embedding"
        shard[name] = shard[name][: len(tokenizer) - config["text_config"]["vocab_size"]].clone()
        config["text_config"]["additional_vocab_size"] = len(shard[name])
    save_file(shard, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    model = load(GENERATION[family], family, folder)
    settings = {"value_head_type": "linear", "resp_repr_mode": "last", "hidden_state": "post_norm"}
    (folder / "reward_model_config.json").write_text(json.dumps(settings), "utf-8")
    head = head_tensors("weight", "bias")
    save_file(head, folder / "value_head.safetensors")
    states = last_states(model, [chat_ids(folder, response) for response in RESPONSES])
    expected = ((states @ head["weight"].T + head["bias"])[:, 0] / D**0.5).tolist()
    close(traced_scores(folder, Training(trained_mode="isolated")), expected, D**0.5)
    with pytest.raises(CheckpointError, match="--mode isolated"):
        traced_scores(folder)
    (folder / "value_head.safetensors").unlink()
    (folder / "reward_model_config.json").unlink()
    add_tensors(folder, head_tensors("score.weight"))
    close(traced_scores(folder), by_sequence(load(SEQUENCE[family], family, folder), folder))
