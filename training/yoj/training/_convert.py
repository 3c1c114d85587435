"""Files of other forms -> JSON lines that `yoj.training.samples` reads, with nothing dropped in silence."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoj.runtime import Policy, Reading
from yoj.runtime.codec import Ignore
from yoj.runtime.error_texts import shorten
from yoj.runtime.errors import RequestError
from yoj.runtime.lines import Numbered as Text
from yoj.runtime.rows import Row, read_rows
from yoj.runtime.script import MARKERS
from yoj.runtime.sources import SCHEME, is_base64, policy_of_files
from yoj.runtime.strict_json import Fields

from ._errors import DataError
from ._forms import COMMON, FORMS, Form
from ._rankings import Needs
from .samples import Problem, read_sample

MARKER = re.compile(MARKERS, re.IGNORECASE)
AT_BEGIN = re.compile(rf"(?:(?:{MARKERS})[ \t]*\n?)+", re.IGNORECASE)
SOURCES = ("image", "video", "url", "path", "image_url", "video_url")
"""Fields of a part that name a medium."""


@dataclass(frozen=True)
class ConversionJob:
    """Settings of a conversion."""

    form: str
    """Name in `FORMS`."""
    source: Path
    out: Path
    media_root: Path | None = None
    """Folder from which media of the source may come, see `policy_of_files`; None for the source's own."""
    ignore: Ignore = field(default_factory=Ignore)
    keep_unknown: bool = False
    """Whether fields that the form does not have go into ``metadata``; otherwise they are errors."""
    skip: bool = False
    """Whether rows that cannot be converted are left out; otherwise nothing is written."""


@dataclass
class Counts:
    """Counts of the rows."""

    read: int = 0
    written: int = 0
    without_rankings: int = 0
    markers: int = 0
    """Number of prompts whose media markers at the beginning were removed, since media stand there anyway."""
    problems: list[Problem] = field(default_factory=list)


def convert(wanted: ConversionJob, note: Callable[[str], None]) -> Counts:
    """Convert a file. Every line that is written was read again as the training reads it.

    Args:
        wanted: files and form.
        note: function that takes lines for a person.

    Raises:
        DataError: the source cannot be read, the target is there already, no row can be converted, or some cannot and
            are not to be left out; nothing is written then.
    """
    out = wanted.out
    media = Media(policy_of_files(wanted.source.parent, wanted.media_root), out)
    if taken := next((path for path in (out, media.folder) if path.exists()), None):
        raise DataError(f"{taken} is there already. Give another name, or remove it.")
    temporary, counts = out.with_name(f".{out.name}.tmp"), Counts()
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for line in _lines(wanted, media, counts):
                file.write(line + "\n")
        report = _report(counts, wanted)
        if counts.problems and not (wanted.skip and counts.written):
            raise DataError(report)
        temporary.rename(out)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        shutil.rmtree(media.folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise DataError(f"{out} cannot be written: {error.strerror}.") from error
        raise
    note(report)
    if media.leave:
        note(f"Media lie outside of {media.out}: set media_root of the recipe to {media.root}.")
    return counts


class Media:
    """Media of the source as the target names them: paths from its own folder, and bytes as files beside it."""

    def __init__(self, policy: Policy, out: Path):
        """Take ``policy``, which is that of the source, with a root."""
        assert policy.root is not None
        self.policy, self.out = policy, Path(os.path.realpath(out.parent))
        self.folder = out.with_name(f"{out.stem}-media")
        """Folder for media that the source holds itself."""
        self.base = Path(os.path.abspath(policy.base or policy.root))
        self.root = Path(os.path.commonpath([os.path.realpath(policy.root), self.out]))
        """Folder that holds both source and target."""
        self.leave = False
        """Whether a medium was named that lies outside of the target's folder."""

    def named(self, value: Any) -> Any:
        """Name a path, bytes, a record of a table, or a list of them; other values stay as they are.

        Raises:
            MediaError: a path leads out of the folder that media may come from.
        """
        if isinstance(value, list):
            return [self.named(one) for one in value]
        if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
            held = value.get("bytes")
            if isinstance(held, bytes):
                return self._kept(held, Path(value.get("path") or "").suffix)
            return self.named(value["path"]) if held is None and value.get("path") else value
        if isinstance(value, bytes):
            return self._kept(value, "")
        if not isinstance(value, str) or not value.strip():
            return value
        if value[:5].lower() == "data:" or SCHEME.match(value) or is_base64(value):
            return value
        self.policy.image(value, "a medium")
        found = os.path.relpath(self.base / value, self.out)
        self.leave = self.leave or os.pardir in Path(found).parts
        return found

    def in_content(self, value: Any) -> Any:
        """Prompt, turn, response or part with its media named by `named`."""
        if isinstance(value, list):
            return [self.in_content(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "content" in value:
            return value | {"content": self.in_content(value["content"])}
        given = {key: one for key, one in value.items() if one is not None}
        return {key: self._of_part(key, one) for key, one in given.items()}

    def _of_part(self, key: str, value: Any) -> Any:
        if key in ("image_url", "video_url") and isinstance(value, dict):
            return {name: self.named(one) if name == "url" else one for name, one in value.items()}
        return self.named(value) if key in SOURCES else value

    def _kept(self, held: bytes, suffix: str) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{hashlib.sha256(held).hexdigest()[:24]}{suffix}"
        file.write_bytes(held)
        return f"{self.folder.name}/{file.name}"


def to_fields(row: Fields, form: Form, wanted: ConversionJob, media: Media) -> tuple[Fields, bool]:
    """Fields of a sample, and whether media markers were removed from its prompt.

    Args:
        row: fields of the source's row.
        form: form of the source.
        wanted: settings, for unknown fields.
        media: names of the media.

    Raises:
        DataError: the row has another form.
        MediaError: a medium cannot be named; see `Media.named`.
    """
    given = {name: value for name, value in row.items() if value is not None and name not in wanted.ignore.fields}
    unknown = {name: value for name, value in given.items() if name not in (*form.fields, *COMMON)}
    if unknown and not (wanted.keep_unknown or wanted.ignore.unknown):
        named = ", ".join(shorten(name, 40) for name in unknown)
        raise DataError(
            f"the form has no {named}; put such fields into metadata with --keep-unknown, or pass them over with "
            "--ignore-field NAME or --ignore-unknown"
        )
    try:
        made = form.read({name: value for name, value in given.items() if name not in unknown})
    except KeyError as error:
        raise DataError(f"there is no {error.args[0]}; the form has {', '.join(form.fields)}") from error
    _check_labels(made)
    made = _with_common(made, given)
    if unknown and wanted.keep_unknown:
        told = given.get("metadata")
        made["metadata"] = unknown if told is None else unknown | {"metadata": told}
    for name in ("image", "video"):
        if name in made:
            made[name] = media.named(made[name])
    made |= {name: media.in_content(made[name]) for name in ("prompt", "responses")}
    return _at_markers(made)


def _check_labels(made: Fields) -> None:
    """Refuse equal responses of which one is ranked above the other."""
    responses, rankings = made.get("responses"), made.get("rankings")
    if not isinstance(responses, list) or not isinstance(rankings, list):
        return  # the reader says what is wrong
    ranked = list(zip(responses, rankings, strict=False))
    if any(one == other and rank != under for one, rank in ranked for other, under in ranked):
        raise DataError("two responses are equal, and one is ranked above the other")


def _rows(source: Path) -> Iterator[Row]:
    try:
        yield from read_rows(source)
    except RequestError as error:
        raise DataError(str(error)) from error


def _lines(wanted: ConversionJob, media: Media, counts: Counts) -> Iterator[str]:
    """Lines that can be trained on; the others are counted."""
    form, reading = FORMS[wanted.form], Reading(policy_of_files(media.out, media.root))
    for row in _rows(wanted.source):
        counts.read += 1
        try:
            if isinstance(row.fields, str):
                raise DataError(row.fields)
            made, marked = to_fields(row.fields, form, wanted, media)
            line = _dump(made)
        except (DataError, RequestError) as error:
            name = row.fields.get("id") if isinstance(row.fields, dict) else None
            counts.problems.append(Problem(row.number, "", str(error), name if isinstance(name, str | int) else None))
            continue
        ranked = "rankings" in made
        found = read_sample(Text(row.number, line.encode()), reading, Needs(ranked))
        if isinstance(found, Problem):
            counts.problems.append(found)
            continue
        counts.written += 1
        counts.without_rankings += not ranked
        counts.markers += marked
        yield line


def _dump(made: Fields) -> str:
    try:
        line = json.dumps(made, ensure_ascii=False)
        line.encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise DataError(f"it holds what JSON cannot: {error}") from error
    return line


def _with_common(made: Fields, given: Fields) -> Fields:
    """Fields of the sample, with those that every form may have."""
    made = {name: made[name] for name in ("prompt", "responses")} | made
    for name, other in (("image", "images"), ("video", "videos")):
        if name in given and other in given:
            raise DataError(f"there are {name} and {other}, which say the same")
        found = given.get(name, given.get(other))
        if found is not None and found != []:
            made[name] = found
    if isinstance(made.get("video"), list) and "videos" in given:
        if len(given["videos"]) > 1:
            raise DataError(f"videos holds {len(given['videos'])}; a sample has one, or parts of its prompt name them")
        (made["video"],) = given["videos"]
    if given.get("system"):
        turns = _turns(made["prompt"]) or [{"role": "user", "content": made["prompt"]}]
        made["prompt"] = [{"role": "system", "content": given["system"]}, *turns]
    return made | {name: given[name] for name in ("seconds_between_frames", "id", "metadata") if name in given}


def _turns(prompt: Any) -> list[Fields]:
    """Turns of a conversation; none where the prompt is a text or parts."""
    has_turns = isinstance(prompt, list) and prompt and isinstance(prompt[0], dict) and "role" in prompt[0]
    return prompt if has_turns else []


def _at_markers(made: Fields) -> tuple[Fields, bool]:
    """Interpret ``<image>`` and its kin: removed where they all begin the prompt, else places of media."""
    prompt = made["prompt"]
    turns = (
        prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict) and "role" in prompt[0] else []
    )
    texts = [turn["content"] for turn in turns] or [prompt]
    found = [mark[0] for text in texts if isinstance(text, str) for mark in MARKER.finditer(text)]
    if not found:
        return made, False
    asked = next((k for k, turn in enumerate(turns) if turn["role"] == "user"), 0)
    begin = AT_BEGIN.match(texts[asked]) if isinstance(texts[asked], str) else None
    images = made.get("image", [])
    kinds = [*["image"] * (len(images) if isinstance(images, list) else 1), *["video"] * ("video" in made)]
    same = ["video" if "video" in mark.lower() else "image" for mark in found] == kinds
    if begin is None or len(MARKER.findall(begin[0])) != len(found) or not same:
        return made | {"placeholders": "media"}, False
    text = texts[asked][begin.end() :]
    if not turns:
        return made | {"prompt": text}, True
    changed = [*turns[:asked], turns[asked] | {"content": text}, *turns[asked + 1 :]]
    return made | {"prompt": changed}, True


def _report(counts: Counts, wanted: ConversionJob) -> str:
    left = len(counts.problems)
    lines = [f"{wanted.source}: {counts.read:,} rows of the form {wanted.form}, {counts.written:,} can be converted."]
    reasons: dict[str, list[str]] = {}
    for problem in counts.problems:
        name = "" if problem.id is None else f" (id {shorten(repr(problem.id), 60)})"
        reasons.setdefault(problem.text, []).append(f"{problem.line}{name}")
    lines += [f"  {'row' if len(rows) == 1 else 'rows'} {', '.join(rows)}: {text}" for text, rows in reasons.items()]
    if left and not (wanted.skip and counts.written):
        fix = "" if wanted.skip else " Correct them, or leave them out with --skip-invalid."
        return "\n".join([*lines, f"Nothing is written.{fix}"])
    if left:
        lines.append(f"{left:,} are left out.")
    if counts.without_rankings:
        lines.append(f"{counts.without_rankings:,} have no rankings: they serve the objective language alone.")
    if counts.markers:
        lines.append(
            f"In {counts.markers:,} prompts the marks of media at the beginning, with the line feeds behind them, are "
            "taken off: media stand before the text."
        )
    return "\n".join(lines)
