"""Trained layouts: how trainers write a reward model, and what each of them computes with it; one record for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Scored = Literal["last", "before_padding", "eos", "token"]


@dataclass(frozen=True)
class TrainedLayout:
    """Form in which a trainer leaves a head, and the way in which its scores come of it.

    All but the first layout read one response at a time, and nothing is divided by sqrt(hidden size). The heads of all
    but the first and the last are linear with one output, which is the score, and each response stands in the assistant
    turn, as the chat template shows it.
    """

    name: str
    written_by: str
    """Libraries whose checkpoints have this layout, for people."""
    tensors: tuple[str, ...]
    """Names of weight, and of bias where there is one; empty where the head has a file of its own with settings beside
    it."""
    hidden_state: Literal["post_norm", "pre_norm"] | None
    """Hidden state that the head reads; None where that depends on the training and has to be asked."""
    scored: Scored
    """Token that is scored. last: the last of the row. before_padding: the last that is not the padding token, with
    which a template may end a turn. eos: the end of sequence, which is put behind a row that does not end with one;
    newlines behind it are left out. token: a special token in what is asked behind the response."""
    apart: bool = False
    """Whether a response is encoded apart from the text before it, so that newlines never merge there."""
    single: bool = True
    """Whether the model reads one response at a time: then there is no separator, and only isolated reading."""
    turn: Literal["assistant", "user"] = "assistant"
    """Turn in which the responses of a model of single responses stand; in the user's they follow the prompt at
    once."""


SEQUENCE_CLASSIFICATION = TrainedLayout(
    name="sequence_classification",
    written_by="TRL RewardTrainer, transformers ...ForSequenceClassification, ms-swift",
    tensors=("score.weight",),
    hidden_state="post_norm",
    scored="before_padding",
)
TOKEN_CLASSIFICATION = TrainedLayout(
    name="token_classification",
    written_by="verl, transformers ...ForTokenClassification, LLaMA-Factory v1",
    tensors=("score.weight", "score.bias"),
    hidden_state="post_norm",
    scored="last",
)
OPENRLHF = TrainedLayout(
    name="openrlhf",
    written_by="OpenRLHF",
    tensors=("score.weight",),
    hidden_state="post_norm",
    scored="eos",
)
VALUE_HEAD = TrainedLayout(
    name="value_head",
    written_by="LLaMA-Factory, TRL AutoModelForCausalLMWithValueHead, ms-swift and verl with it",
    tensors=("v_head.summary.weight", "v_head.summary.bias"),
    hidden_state=None,
    scored="last",
    apart=True,
)
MULTI_RESPONSE = TrainedLayout(
    name="multi_response",
    written_by="the YOJO code (mr2rm), yoj-train",
    tensors=(),
    hidden_state=None,
    scored="last",
    single=False,
)
EDIT_REWARD = TrainedLayout(
    name="edit_reward",
    written_by="EditReward",
    tensors=("rm_head.*", "rm_heads.*"),
    hidden_state="post_norm",
    scored="token",
    turn="user",
)
LAYOUTS = (MULTI_RESPONSE, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, OPENRLHF, VALUE_HEAD, EDIT_REWARD)

OPENRLHF_PREFIXES = ("score", "value_head")
"""Names of OpenRLHF's head where ``value_head_prefix`` of config.json does not name another."""
OPENRLHF_SETTINGS = frozenset({"normalize_reward", "value_head_prefix", "mean", "std"})
"""Settings of config.json that no other trainer writes."""
WRAPPERS = ("base_model.model.", "pretrained_model.", "_orig_mod.", "module.")
"""Prefixes that PEFT, TRL's value head, torch.compile and DDP put before a name."""
COPIES = (".modules_to_save.default", ".modules_to_save")
"""Part of a name that older PEFT puts between a module that it saves whole and its parameter."""
HEAD_MODULES = frozenset({"score", "v_head", "value_head", "classifier"})
"""Modules that an adapter may save whole because they are a head. PEFT lists score and classifier unasked."""


def bare_name(name: str) -> str:
    """Name of a tensor without the parts that wrappers put into it."""
    while start := next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), None):
        name = name.removeprefix(start)
    for copy in COPIES:
        name = name.replace(copy, "")
    return name


def head_name(name: str, prefix: str | None = None) -> str | None:
    """Bare name of a tensor that belongs to a head; None where it belongs to the backbone.

    Args:
        name: name as stored.
        prefix: ``value_head_prefix`` of config.json, where it exists.
    """
    bare = bare_name(name)
    modules = HEAD_MODULES if prefix is None else HEAD_MODULES | {prefix}
    return bare if any(bare.startswith(f"{module}.") for module in modules) else None


def layout_of(names: frozenset[str], config: Mapping[str, Any]) -> TrainedLayout | None:
    """Layout that leaves head tensors of these bare names, by ``config.json`` where the names do not tell.

    None where no layout has such names.

    None where no layout has such names.
    """
    if names == frozenset(VALUE_HEAD.tensors):
        return VALUE_HEAD
    of_openrlhf = {f"{prefix}.weight" for prefix in (config.get("value_head_prefix"), *OPENRLHF_PREFIXES)}
    marked = bool(OPENRLHF_SETTINGS & config.keys()) or "RewardModel" in architectures(config)
    if len(names) == 1 and names <= of_openrlhf and (marked or names != frozenset(SEQUENCE_CLASSIFICATION.tensors)):
        return OPENRLHF
    if names == frozenset(TOKEN_CLASSIFICATION.tensors):
        return TOKEN_CLASSIFICATION
    if names == frozenset(SEQUENCE_CLASSIFICATION.tensors):
        by_token = any(name.endswith("ForTokenClassification") for name in architectures(config))
        return TOKEN_CLASSIFICATION if by_token else SEQUENCE_CLASSIFICATION
    return None


def architectures(config: Mapping[str, Any]) -> list[str]:
    """Model classes that a ``config.json`` names."""
    found = config.get("architectures")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
