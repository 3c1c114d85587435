"""Answers have the form of those that a vLLM server gave, whose record names its version.

On purpose there are other words in ``message`` and ``type`` of errors, and ``param`` is always null: the text names the
field. docs/clients.md says what else is unlike vLLM.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.export

RECORD = json.loads((Path(__file__).parent / "data" / "vllm-0.32.json").read_text("utf-8"))
TYPES = {"str": str, "int": int, "float": float, "null": type(None)}
"""Name of a type in the record -> the type. Any other text in the record stands for itself."""
DOCUMENTS = ["A cat.", "Nothing."]
BODIES = {
    "/score": {"model": "judge", "queries": "Which?", "documents": DOCUMENTS},
    "/rerank": {"model": "judge", "query": "Which?", "documents": DOCUMENTS},
}


def unlike(found: Any, recorded: Any, place: str = "body") -> list[str]:
    """Places at which an answer has another form."""
    if isinstance(recorded, dict):
        if not isinstance(found, dict) or found.keys() != recorded.keys():
            return [f"{place}: {found!r}"]
        return [one for key in recorded for one in unlike(found[key], recorded[key], f"{place}.{key}")]
    if isinstance(recorded, list):
        if not isinstance(found, list) or len(found) != len(DOCUMENTS):
            return [f"{place}: {found!r}"]
        return [one for entry in found for one in unlike(entry, recorded[0], f"{place}[]")]
    right = type(found) is TYPES[recorded] if recorded in TYPES else found == recorded
    return [] if right else [f"{place}: {found!r}"]


@pytest.mark.parametrize("path", RECORD["answers"])
def test_answers_have_the_fields_and_types(path, served):
    found = served.client.post(path, json=BODIES[path])
    assert found.status_code == 200
    assert unlike(found.json(), RECORD["answers"][path]) == []


@pytest.mark.parametrize("error", RECORD["errors"], ids=lambda error: error["error"]["message"] or error["path"])
def test_errors_have_the_status_the_form_and_words_of_our_own(error, served):
    found = served.client.post(error["path"], json=error["body"])
    assert found.status_code == error["status"]
    ((name, fields),) = found.json().items()
    assert (name, fields.keys()) == ("error", error["error"].keys())
    assert fields["code"] == error["error"]["code"]
    assert (type(fields["message"]), type(fields["type"]), fields["param"]) == (str, str, None)
