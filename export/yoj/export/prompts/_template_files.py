"""Chat template files of a checkpoint: which of several files and of several named templates counts.

The rule is that of transformers: files of templates come before the settings of the tokenizer, and of named templates
the one called default is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._errors import CheckpointError
from ..checkpoint._text_files import read_json, read_text
from ..checkpoint.checkpoint import Checkpoint

JINJA = "chat_template.jinja"
NAMED = "additional_chat_templates"
"""Folder of templates by their names."""
JSON_FILES = ("chat_template.json", "processor_config.json")
"""Files whose chat_template transformers takes before that of the tokenizer's settings."""
DEFAULT = "default"


def read_template(checkpoint: Checkpoint) -> tuple[Path, str]:
    """Chat template and its file: of the last adapter, in any of its places, or else of the base.

    Raises:
        CheckpointError: there is no template, none of several is called default, or two files have unlike ones.
    """
    for folder in checkpoint.places:
        if found := _of_folder(folder):
            return found
    raise CheckpointError(
        f"{checkpoint.folders[-1]} has no chat template (chat_template.jinja, or chat_template in "
        "tokenizer_config.json). Copy it from the model that was trained."
    )


def _of_folder(folder: Path) -> tuple[Path, str] | None:
    found: dict[Path, str] = {}
    if file := _jinja(folder):
        found[file] = read_text(file)
    for file in (folder / name for name in JSON_FILES):
        if file.is_file() and (stated := read_json(file).get("chat_template")) is not None:
            found[file] = _default(file, stated)
    if len(set(found.values())) > 1:
        # Its processor reads one of them, its tokenizer another.
        files = ", ".join(map(str, found))
        raise CheckpointError(f"{files} hold unlike chat templates. Keep the one that the model was trained with.")
    if found:
        return next(iter(found.items()))
    file = folder / "tokenizer_config.json"
    if file.is_file() and (stated := read_json(file).get("chat_template")) is not None:
        return file, _default(file, stated)
    return None


def _jinja(folder: Path) -> Path | None:
    """File of the default template, where templates have files."""
    for file in (folder / JINJA, folder / NAMED / f"{DEFAULT}.jinja"):
        if file.is_file():
            return file
    if others := sorted(file.stem for file in folder.glob(f"{NAMED}/*.jinja")):
        raise CheckpointError(
            f"{folder / NAMED} has the chat templates {', '.join(others)} and {folder} has no {JINJA}: none is the "
            f"default. Copy the one that the model was trained with to {JINJA}."
        )
    return None


def _default(file: Path, stated: Any) -> str:
    """Template, or the default one of named templates: a list of ``{"name", "template"}``, or an object."""
    if isinstance(stated, str):
        return stated
    named = stated
    if isinstance(stated, list):
        fits = all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in stated)
        named = {entry["name"]: entry.get("template") for entry in stated} if fits else None
    if not isinstance(named, dict) or not all(isinstance(template, str) for template in named.values()):
        raise CheckpointError(
            f"{file}: chat_template is {str(stated)[:80]!r}, expected a text, or a list of objects with name and "
            "template. Copy the file from the model that was trained."
        )
    if DEFAULT not in named:
        raise CheckpointError(
            f"{file}: chat_template has the templates {', '.join(named) or 'of an empty list'}, and none is called "
            f"default. Name the one that the model was trained with {DEFAULT}."
        )
    return named[DEFAULT]
