"""Forms in which other tools keep preferences and conversations -> the fields of a sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from yoj.runtime.codec import ROLES, ROLES_ELSEWHERE
from yoj.runtime.error_texts import shorten
from yoj.runtime.strict_json import Fields

from ._errors import DataError

COMMON = ("image", "images", "video", "videos", "seconds_between_frames", "id", "metadata", "system")
"""Fields that every form may have."""
QUESTIONS = ("prompt", "question", "query", "instruction")
TRANSCRIPT = re.compile(r"\n\n(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Form:
    """One form of data."""

    told: str
    """Description of the form and of the tools that write it."""
    example: str
    """Example of a row."""
    fields: tuple[str, ...]
    """Fields that the form reads, beside `COMMON`."""
    read: Callable[[Fields], Fields]
    """Function from the fields of a row, without nulls, to ``prompt``, ``responses`` and the other fields of a sample.
    It raises `DataError`, or `KeyError` for a missing field."""


def _preference(row: Fields) -> Fields:
    if isinstance(row["chosen"], str) and isinstance(row["rejected"], str) and not any(q in row for q in QUESTIONS):
        raise DataError(
            "there is no prompt, and where it ends in two texts would be a guess; give prompt, or see the form hh"
        )
    prompt = _question(row) if any(name in row for name in QUESTIONS) else None
    sides = [_answers(row[side], side) for side in ("chosen", "rejected")]
    prompts = [_explained(prompt, turns, side) for side, answers in zip(("chosen", "rejected"), sides, strict=True)
               for turns, _ in answers]  # fmt: skip
    if any(one != prompts[0] for one in prompts):
        raise DataError("chosen and rejected answer different conversations; their turns before the last must be equal")
    return {"prompt": prompts[0]} | _ranked([text for _, text in sides[0]], [text for _, text in sides[1]])


def _conversations(row: Fields) -> Fields:
    name = "conversations" if "conversations" in row else "messages"
    turns = _turns(row[name], name)
    if ("chosen" in row) != ("rejected" in row):
        raise DataError("there is one of chosen and rejected without the other")
    if len([given for given in ("conversations", "messages") if given in row]) > 1:
        raise DataError("there are conversations and messages; one is the conversation")
    if "chosen" in row and "rejected_response" in row:
        raise DataError("there are rejected and rejected_response; one is the rejected answer")
    if "chosen" in row:
        sides = [[_alone(one, side) for one in _answers(row[side], side)] for side in ("chosen", "rejected")]
        return {"prompt": turns} | _ranked(*sides)
    if not turns or turns[-1]["role"] != "assistant":
        raise DataError(f"{name} does not end with an answer, and there is no chosen and rejected")
    prompt, answer = turns[:-1], turns[-1]["content"]
    if "rejected_response" in row:
        rejected = row["rejected_response"]
        return {"prompt": prompt} | _ranked([answer], rejected if isinstance(rejected, list) else [rejected])
    return {"prompt": prompt, "responses": [answer]}


def _hh(row: Fields) -> Fields:
    chosen, rejected = (_transcript(row[side], side) for side in ("chosen", "rejected"))
    for turns, side in ((chosen, "chosen"), (rejected, "rejected")):
        if turns[-1]["role"] != "assistant":
            raise DataError(f"{side} does not end with a turn of the Assistant")
    if chosen[:-1] != rejected[:-1]:
        raise DataError("chosen and rejected differ before their last turn")
    return {"prompt": chosen[:-1]} | _ranked([chosen[-1]["content"]], [rejected[-1]["content"]])


def _nectar(row: Fields) -> Fields:
    turns = _transcript(row["prompt"], "prompt")
    if turns[-1] != {"role": "assistant", "content": ""}:
        raise DataError("prompt does not end with 'Assistant:' and nothing behind it")
    answers = row["answers"]
    if not isinstance(answers, list) or not all(
        isinstance(a, dict) and {"answer", "rank"} == a.keys() for a in answers
    ):
        raise DataError("answers is no list of objects with answer and rank, and nothing else")
    return {
        "prompt": turns[:-1],
        "responses": [answer["answer"] for answer in answers],
        "rankings": [answer["rank"] for answer in answers],
    }


def _ranked_list(row: Fields) -> Fields:
    return {name: row[name] for name in ("responses", "rankings")} | {"prompt": _question(row)}


def _reference(row: Fields) -> Fields:
    if "fps" in row and "seconds_between_frames" in row:
        raise DataError("there are fps and seconds_between_frames, which are the same thing in this form")
    seconds = {"seconds_between_frames": row["fps"]} if "fps" in row else {}
    return {name: row[name] for name in ("prompt", "responses", "rankings")} | seconds


def _vl_rewardbench(row: Fields) -> Fields:
    ranks = row["human_ranking"]
    if not isinstance(ranks, list) or not all(type(rank) is int for rank in ranks):
        raise DataError(f"human_ranking is {shorten(repr(ranks), 60)}; it counts from 0 for the best")
    return {"prompt": row["query"], "responses": row["response"], "rankings": [rank + 1 for rank in ranks]}


def _multimodal_rewardbench(row: Fields) -> Fields:
    sides = ["Output1", "Output2"]
    if row["Better"] not in sides:
        raise DataError(f"Better is {shorten(repr(row['Better']), 40)}; it is Output1 or Output2")
    made: Fields = {"prompt": row["Text"], "responses": [row[side] for side in sides]}
    made["rankings"] = [1 if side == row["Better"] else 2 for side in sides]
    names = {"ID": "id", "Category": "kind", "Image": "image"}
    if twice := [f"{called} and {name}" for called, name in names.items() if called in row and name in row]:
        raise DataError(f"there are {', '.join(twice)}, which are the same thing in this form")
    return made | {name: row[called] for called, name in names.items() if called in row}


def _safe_rlhf(row: Fields) -> Fields:
    better = row["better_response_id"]
    if type(better) is not int or better not in (0, 1):
        raise DataError(f"better_response_id is {shorten(repr(better), 40)}; it is 0 or 1")
    ranks = [1, 2] if better == 0 else [2, 1]
    return {"prompt": row["prompt"], "responses": [row["response_0"], row["response_1"]], "rankings": ranks}


FORMS = {
    "preference": Form(
        "prompt (or question, query, instruction with input), chosen and rejected: TRL, RLAIF-V, MM-RLHF-RewardBench, "
        "RewardBench 2. Each a text, a list of texts, or a conversation that may hold the prompt",
        '{"prompt": "What is shown?", "images": ["bus.jpg"], "chosen": "A bus.", "rejected": "A cat."}',
        (*QUESTIONS, "input", "chosen", "rejected"),
        _preference,
    ),
    "conversations": Form(
        "turns as from and value, or as role and content, with chosen and rejected (LLaMA-Factory), or with their last "
        "answer preferred to rejected_response (ms-swift), or alone (LLaVA, ShareGPT): a text to learn, no rankings",
        '{"conversations": [{"from": "human", "value": "<image>\\nWhat is shown?"}], "images": ["bus.jpg"], '
        '"chosen": {"from": "gpt", "value": "A bus."}, "rejected": {"from": "gpt", "value": "A cat."}}',
        ("conversations", "messages", "chosen", "rejected", "rejected_response"),
        _conversations,
    ),
    "hh": Form(
        "chosen and rejected as transcripts that differ in the last turn: HH-RLHF. White space around turns is cut",
        '{"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Hello!", "rejected": "\\n\\nHuman: Hi\\n\\nAssistant: What?"}',
        ("chosen", "rejected"),
        _hh,
    ),
    "nectar": Form(
        "a transcript and answers with ranks from 1: Nectar",
        '{"prompt": "\\n\\nHuman: Hi\\n\\nAssistant: ", "answers": [{"answer": "Hello!", "rank": 1}, '
        '{"answer": "What?", "rank": 2}]}',
        ("prompt", "answers"),
        _nectar,
    ),
    "ranked": Form(
        "prompt (or question, query, instruction), responses and rankings, 1 = best",
        '{"question": "What is shown?", "image": "bus.jpg", "responses": ["A cat.", "A bus."], "rankings": [2, 1]}',
        (*QUESTIONS, "input", "responses", "rankings"),
        _ranked_list,
    ),
    "reference": Form(
        "the training data of the YOJO code, where fps holds seconds from frame to frame",
        '{"prompt": "What happens?", "video": "frames", "fps": 4, "responses": ["a", "b"], "rankings": [1, 2]}',
        ("prompt", "responses", "rankings", "fps"),
        _reference,
    ),
    "vl_rewardbench": Form(
        "query, response and human_ranking, 0 = best: VL-RewardBench",
        '{"id": "7", "query": "What is shown?", "image": "bus.jpg", "response": ["A bus.", "A cat."], '
        '"human_ranking": [0, 1]}',
        ("query", "response", "human_ranking"),
        _vl_rewardbench,
    ),
    "multimodal_rewardbench": Form(
        "Text, Image, Output1, Output2 and Better: Multimodal RewardBench; Category becomes kind",
        '{"ID": "a", "Text": "What is shown?", "Image": "bus.jpg", "Output1": "A bus.", "Output2": "A cat.", '
        '"Better": "Output1", "Category": "safety"}',
        ("ID", "Text", "Image", "Output1", "Output2", "Better", "Category"),
        _multimodal_rewardbench,
    ),
    "safe_rlhf": Form(
        "prompt, response_0, response_1 and better_response_id: PKU-SafeRLHF",
        '{"prompt": "Hi", "response_0": "What?", "response_1": "Hello!", "better_response_id": 1}',
        ("prompt", "response_0", "response_1", "better_response_id"),
        _safe_rlhf,
    ),
}
"""Every form that is read."""


def _question(row: Fields) -> Any:
    """Prompt, under whichever name; ``input`` goes behind an instruction, as in Alpaca's data."""
    names = [name for name in QUESTIONS if name in row]
    if len(names) != 1:
        raise DataError(f"there are {' and '.join(names)}; one is the prompt" if names else "there is no prompt")
    (name,) = names
    prompt = row[name]
    if "input" in row and name != "instruction":
        raise DataError("input stands beside instruction alone")
    more = row.get("input")
    if more and not (isinstance(prompt, str) and isinstance(more, str)):
        raise DataError("input stands behind an instruction where both are texts")
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict) and not {"type"} <= prompt[0].keys():
        return _turns(prompt, name)
    return f"{prompt}\n{more}" if more else prompt


def _ranked(chosen: Sequence[Any], rejected: Sequence[Any]) -> Fields:
    if not chosen or not rejected:
        raise DataError(f"{'rejected' if chosen else 'chosen'} is empty")
    if any(one == other for one in chosen for other in rejected):
        raise DataError("a chosen and a rejected response are equal")
    return {"responses": [*chosen, *rejected], "rankings": [1] * len(chosen) + [2] * len(rejected)}


def _answers(value: Any, name: str) -> list[tuple[list[Fields], Any]]:
    """Turns before each answer of one side, and the answer."""
    if isinstance(value, str):
        return [([], value)]
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return [([], one) for one in value]
    turns = _turns(value, name)
    if not turns or turns[-1]["role"] != "assistant":
        raise DataError(f"{name} does not end with an answer")
    return [(turns[:-1], turns[-1]["content"])]


def _alone(answer: tuple[list[Fields], Any], name: str) -> Any:
    turns, text = answer
    if turns:
        raise DataError(f"{name} has turns before its answer; they belong into the conversation")
    return text


def _explained(prompt: Any, turns: list[Fields], name: str) -> Any:
    """Prompt, given or in front of an answer; where it is both, they must be the same."""
    if prompt is None:
        if not turns:
            raise DataError("there is no prompt")
        return turns
    if not turns:
        return prompt
    asked = _turns(prompt, "prompt") if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    systems = [[turn for turn in given if turn["role"] == "system"] for given in (asked, turns)]
    if _without_system(turns) != _without_system(asked) or (all(systems) and systems[0] != systems[1]):
        raise DataError(f"{name} begins with other turns than prompt")
    return asked if systems[0] else turns


def _without_system(turns: Sequence[Fields]) -> list[Fields]:
    return [turn for turn in turns if turn.get("role") != "system"]


def _turns(value: Any, name: str) -> list[Fields]:
    """Turns with role and content, whatever their names."""
    if not isinstance(value, list):
        raise DataError(f"{name} is {shorten(repr(value), 60)}; it is a list of turns")
    return [_turn(one, f"{name}[{k}]") for k, one in enumerate(value)]


def _turn(turn: Any, name: str) -> Fields:
    given = {key: value for key, value in turn.items() if value is not None} if isinstance(turn, dict) else {}
    keys = next((keys for keys in (("role", "content"), ("from", "value")) if given.keys() == set(keys)), None)
    if keys is None:
        raise DataError(f"{name} is {shorten(repr(turn), 80)}; a turn has role and content, or from and value, alone")
    speaker = str(given[keys[0]])
    role = ROLES.get(speaker) or ROLES_ELSEWHERE.get(speaker.lower())
    if role is None:
        raise DataError(f"{name} is of {shorten(speaker, 40)!r}; known are {', '.join((*ROLES, *ROLES_ELSEWHERE))}")
    return {"role": role, "content": _plain(given[keys[1]])}


def _plain(content: Any) -> Any:
    """Text of a content that is one text in a list of parts, as tables hold it."""
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    given = {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else {}
    return given["text"] if given.keys() == {"type", "text"} and given["type"] == "text" else content


def _transcript(text: Any, name: str) -> list[Fields]:
    """Turns of a text in which each begins with an empty line and ``Human:`` or ``Assistant:``."""
    if not isinstance(text, str) or not (pieces := TRANSCRIPT.split(text))[1:] or pieces[0].strip():
        raise DataError(f"{name} is {shorten(repr(text), 60)}; it begins with an empty line and 'Human:'")
    turns = [
        {"role": SPEAKERS[who], "content": said.strip()} for who, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    expected = ["user", "assistant"] * len(turns)
    if [turn["role"] for turn in turns] != expected[: len(turns)]:
        raise DataError(f"Human and Assistant do not take turns in {name}, beginning with Human")
    return turns
