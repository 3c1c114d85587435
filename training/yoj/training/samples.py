"""Samples from JSON lines, checked one by one before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from yoj.runtime import Image, Message, Reading, Request, Video
from yoj.runtime.codec import Ignore, Line, to_line, to_request
from yoj.runtime.error_texts import shorten
from yoj.runtime.errors import LengthError, MediaError, RequestError, YojError
from yoj.runtime.lines import Numbered as Text
from yoj.runtime.lines import read_lines, readable_id
from yoj.runtime.manifest import Mode
from yoj.runtime.script import Script, script_of
from yoj.runtime.sources import policy_of_files
from yoj.runtime.strict_json import Fields, parse_object

from ._errors import DataError, VisionBudgetError
from ._preparer import BudgetedPreparer
from ._rankings import Needs, Ranks, best_of, informs, ranks_by_dimension, unlearnable, wrong_rankings
from ._recipe import Recipe, learns_language, ranks

SHOWN = 10
"""Most problems that an error names; the others are counted."""
OF_SCORING = ("mode", "orders", "overflow", "duplicates", "method", "passes", "dimension")
"""Fields that say how a judge reads a request, which training does not use."""
KINDS = {"is not read": "unknown field", " rankings for ": "lengths", "no ranks": "no ranks"}
"""Part of a reader's error -> a word or two, to count by."""


class Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Language target of a sample, where it is not the best response."""

    prompt: str
    target: str


class Sample(Line, frozen=True):
    """Sample: one line as ``yoj-score`` reads it, with the fields that only training uses.

    Objective ``language`` alone does without rankings; heads with dimensions take ``dimension_rankings``.
    """

    language: Language | None = None
    dimension_rankings: dict[str, list[float | None]] | None = None
    """Dimension of the value head -> [N] ranks in it, 1 = best, null where a response was not judged."""
    rationales: list[str | None] | None = None
    """[N] reasons for the grade of each response, which the language path learns; null for none."""
    kind: str | None = None
    """Kind of the sample, as free text; evaluations report each kind apart."""
    grades: list[str] | None = None
    """[N] remarks on the responses, as free text."""
    scene: int | None = None
    """Number of the scene from which the sample was made."""


@dataclass(frozen=True)
class NumberedSample:
    """Sample with its place in the file."""

    line: int
    sample: Sample
    reading: Reading
    """Settings with which its file is read: sources of media, and ignored fields."""

    def ranks(self, dimensions: Sequence[str]) -> list[Ranks]:
        """Ranks [J][N] to learn: in each dimension, or, where the head has none, of the responses as a whole."""
        sample = self.sample
        if dimensions:
            return ranks_by_dimension(sample.dimension_rankings, dimensions, len(sample.responses))
        assert sample.rankings is not None
        return [sample.rankings]

    def compared(self) -> list[Ranks]:
        """Rankings that one score for each response is compared with: the overall one, or else those by dimension."""
        sample = self.sample
        if sample.rankings is not None and informs(sample.rankings):
            return [sample.rankings]
        found: list[Ranks] = [own for own in (sample.dimension_rankings or {}).values() if informs(own)]
        return found or [sample.rankings or [1.0] * len(sample.responses)]

    @property
    def has_text(self) -> bool:
        """Whether there is a text that the language path may learn."""
        sample = self.sample
        if sample.rationales is None and sample.language is None:
            return all(isinstance(response, str) for response in sample.responses)
        return sample.language is not None or any(text is not None for text in sample.rationales or ())

    def lessons(self, ask: str) -> list[Request]:
        """Texts that the language path may learn, one at a time; none where `has_text` is false.

        They are the rationales of the responses and the text meant for the path; where the sample has neither field,
        the best responses, of each dimension where there is no overall ranking.

        Args:
            ask: text with which a rationale is asked for.

        Raises:
            DataError: ``language`` has a prompt of its own, and media stand in the other one.
        """
        given = self.sample.rationales
        if given is None:
            return self._texts()
        request = self.request()
        explained = [explanation(request, k, ask, text) for k, text in enumerate(given) if text is not None]
        return explained + (self._texts() if self.sample.language is not None else [])

    def _texts(self) -> list[Request]:
        """The text meant for the language path, or else the best responses."""
        sample = self.sample
        if sample.language is not None and not isinstance(sample.prompt, str):
            raise DataError(
                "language has a prompt of its own, so that media must stand in image or video, not in prompt"
            )
        if sample.language is not None:
            return [self.request([sample.language.target], sample.language.prompt)]
        best = [k for own in self.compared() for k in best_of(own)] if self.has_text else []
        return [self.request([sample.responses[k]]) for k in best]

    def request(self, responses: Sequence[Any] | None = None, prompt: str | None = None) -> Request:
        """Request that the runtime packs; responses, as the line has them, or the prompt can be replaced.

        Equal responses stay apart, since each has a rank.

        Raises:
            RequestError: media may not be read.
        """
        sample = self.sample
        asked = sample.prompt if prompt is None else prompt
        responses = sample.responses if responses is None else list(responses)
        changed = msgspec.structs.replace(sample, prompt=asked, responses=responses)
        return replace(to_request(changed, self.reading), duplicates="score")


@dataclass(frozen=True)
class Shrunk:
    """Line whose pictures are shown smaller, or with fewer frames, so that it fits."""

    line: int
    times: int
    """Number of times that they are halved; see `BudgetedPreparer`."""


@dataclass(frozen=True)
class Problem:
    """Reason why a line cannot be trained on."""

    line: int
    kind: str
    """Kind of the problem in a word or two, to count by."""
    text: str
    id: str | int | None = None
    """``id`` of the sample, where it has one that can be read."""


def explanation(request: Request, response: int, ask: str, rationale: str) -> Request:
    """Build the request of one response whose prompt shows one response of another and asks for a rationale.

    The user's last turn goes on with the parts of that response and the text that asks.

    Args:
        request: request that is explained.
        response: index of the response.
        ask: text with which the rationale is asked for.
        rationale: the rationale, as the one response.
    """
    script = script_of(request)
    *before, last = script.turns
    shown = [*_content(last.parts, script), *_content(script.responses[response], script), ask]
    turns = [*(Message(turn.role, _content(turn.parts, script)) for turn in before), Message(last.role, shown)]
    return Request(turns, [rationale], placeholders="text", duplicates="score")


def texts_alone(request: Request) -> Request:
    """Copy of the sample without its media."""
    script = script_of(request)
    turns = [Message(turn.role, _text(turn.parts)) for turn in script.turns]
    prompt = turns if len(turns) > 1 else turns[0].content
    return Request(prompt, [_text(parts) for parts in script.responses], duplicates="score")


def read_samples(
    file: Path, needs: Needs | None = None, media_root: Path | None = None, ignored: Sequence[str] = ()
) -> tuple[list[NumberedSample], list[Problem]]:
    """Read every line of a file, malformed or not; blank lines are skipped.

    Args:
        file: file of JSON lines.
        needs: rankings that each sample must have; None for overall ones.
        media_root: folder that media may come from; None for that of the file.
        ignored: fields to ignore.

    Raises:
        DataError: the file cannot be read, or holds no lines of samples.
    """
    reading = Reading(policy_of_files(file.parent, media_root), Ignore(frozenset(ignored)))
    try:
        with file.open("rb") as stream:
            lines = read_lines(stream, str(file))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}. Give a file of JSON lines.") from error
    except RequestError as error:
        raise DataError(str(error)) from error
    samples, problems = list[NumberedSample](), list[Problem]()
    for line in lines:
        found = read_sample(line, reading, needs)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            samples.append(found)
    return samples, problems


def read_sample(line: Text, reading: Reading, needs: Needs | None = None) -> NumberedSample | Problem:
    """Check one line as far as that goes without opening its media.

    Args:
        line: line of a file.
        reading: settings with which the file is read.
        needs: rankings that it must have; None for overall ones.
    """
    fields: Fields = {}
    try:
        fields = parse_object(line.text)
        sample = NumberedSample(line.number, to_line(fields, Sample, reading.ignore), reading)
    except RequestError as error:
        return Problem(line.number, _kind(str(error)), str(error), readable_id(fields))
    return _check(sample, needs or Needs()) or sample


def check_packs(
    samples: Sequence[NumberedSample], preparer: BudgetedPreparer, recipe: Recipe, advance: Callable[[int], None]
) -> Iterator[Problem | Shrunk]:
    """Read the media of every sample and pack it, as the training will, and list the samples that are not shown whole.

    Args:
        samples: samples from `read_samples`.
        preparer: preparer of the judge.
        recipe: recipe, for its limits.
        advance: function that takes the number of samples so far.
    """
    for numbered in samples:
        if found := _check_pack(numbered, preparer, recipe):
            yield found
        advance(1)


def refuse_unknown(samples: Sequence[NumberedSample], dimensions: Sequence[str]) -> None:
    """Refuse samples that rank dimensions which a head with dimensions has not.

    Raises:
        DataError: a dimension is unknown; the text lists those that there are.
    """
    for numbered in samples if dimensions else ():
        if unknown := [name for name in numbered.sample.dimension_rankings or {} if name not in dimensions]:
            raise DataError(
                f"line {numbered.line}: dimension_rankings names {', '.join(unknown)}; the dimensions of the head are "
                f"{', '.join(dimensions)}. Correct the names, or leave the field out with --ignore-field."
            )


def refuse(problems: Sequence[Problem], file: Path, skip: bool, note: Callable[[str], None]) -> None:
    """Report the problems of a file, with line numbers and counts.

    Raises:
        DataError: there are problems, and they are not to be skipped.
    """
    if not problems:
        return
    counts = ", ".join(f"{count} {kind}" for kind, count in Counter(p.kind for p in problems).most_common())
    ordered = sorted(problems, key=lambda problem: problem.line)
    lines = [f"  line {problem.line}{_named(problem)}: {problem.text}" for problem in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        lines.append("  and lines " + ", ".join(str(problem.line) for problem in ordered[SHOWN:]))
    report = f"{file}: {len(problems)} samples cannot be trained on ({counts}):\n" + "\n".join(lines)
    if not skip:
        raise DataError(f"{report}\nCorrect them, or leave them out with --skip-invalid.")
    note(f"{report}\nThey are left out.")


def _named(problem: Problem) -> str:
    return "" if problem.id is None else f" (id {shorten(repr(problem.id), 60)})"


def tell_shrunk(shrunk: Sequence[Shrunk], file: Path, note: Callable[[str], None]) -> None:
    """Report the lines of a file that are not shown whole."""
    if not shrunk:
        return
    lines = sorted(one.line for one in shrunk)
    named = ", ".join(map(str, lines[:SHOWN])) + (", ..." if len(lines) > SHOWN else "")
    most = 2 ** max(one.times for one in shrunk)
    note(
        f"{file}: {len(lines)} samples are too long with whole pictures: they are trained on with crops or pixels, and "
        f"frames, divided by up to {most} (lines {named}). Scoring shows whole pictures."
    )


def _rows(
    numbered: NumberedSample, preparer: BudgetedPreparer, recipe: Recipe
) -> Iterator[tuple[BudgetedPreparer, Request, Mode | None]]:
    """Requests that the training may pack of a sample, with what packs them and the mode."""
    if ranks(recipe):
        yield preparer, numbered.request(), None
    if learns_language(recipe):
        for lesson in numbered.lessons(recipe.rationale_prompt):
            yield preparer.texts, lesson, "joint"


def _check_pack(numbered: NumberedSample, preparer: BudgetedPreparer, recipe: Recipe) -> Problem | Shrunk | None:
    times, line, name = 0, numbered.line, numbered.sample.id
    try:
        for packs, request, mode in _rows(numbered, preparer, recipe):
            times = max(times, packs.prepare_at_level(request, mode)[1])
    except MediaError as error:
        return Problem(line, "unreadable media", str(error), name)
    except LengthError as error:
        text = f"{error.tokens:,} tokens; max_length of the recipe is {recipe.max_length:,}"
        return Problem(line, "too long", text, name)
    except VisionBudgetError as error:
        return Problem(line, "too many visual tokens", str(error), name)
    except YojError as error:
        return Problem(line, "cannot be packed", str(error), name)
    return Shrunk(line, times) if times else None


def _check(numbered: NumberedSample, needs: Needs) -> Problem | None:
    found = _wrong(numbered, needs)
    return Problem(numbered.line, *found, numbered.sample.id) if found else None


def _wrong(numbered: NumberedSample, needs: Needs) -> tuple[str, str] | None:
    """Kind of an error in a word or two, and a sentence on it."""
    sample = numbered.sample
    n = len(sample.responses)
    if not n:
        return "no responses", "there are no responses"
    if set_here := [name for name in OF_SCORING if getattr(sample, name) is not None]:
        return "not for training", f"{', '.join(set_here)} is how a judge is asked; the recipe says it here"
    for name in ("grades", "rationales"):
        if (own := getattr(sample, name)) is not None and len(own) != n:
            return "lengths", f"{len(own)} {name} for {n} responses"
    if sample.dimension_rankings is not None and (found := wrong_rankings(sample.dimension_rankings, n)):
        return found
    if needs.ranked and (found := unlearnable(sample.rankings, sample.dimension_rankings, needs)):
        return found
    if not needs.ranked and not numbered.has_text:
        return "no text", "there is no text to learn: give rationales, responses as texts, or language with a target"
    try:
        missing = _missing(script_of(numbered.request()))
    except MediaError as error:
        return "unreadable media", str(error)
    except RequestError as error:
        return "not a sample", str(error)
    return ("missing media", f"{', '.join(missing)}: no such file") if missing else None


def _missing(script: Script) -> list[str]:
    """Files that do not exist."""
    sources = [medium.source for medium in script.media]
    flat = [one for source in sources for one in (source if isinstance(source, list) else [source])]
    return [str(path) for path in flat if isinstance(path, Path) and not path.exists()]


def _kind(error: str) -> str:
    """Kind of a malformed line in a word or two."""
    return next((kind for part, kind in KINDS.items() if part in error), "not a sample")


def _content(parts: Sequence[str | int], script: Script) -> list[str | Image | Video]:
    return [part if isinstance(part, str) else script.media[part] for part in parts]


def _text(parts: Sequence[str | int]) -> str:
    return "".join(part for part in parts if isinstance(part, str))
