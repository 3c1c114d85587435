"""Samples from JSON lines, checked one by one before anything is trained."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from yoj.runtime.errors import LengthError, MediaError, YojError
from yoj.runtime.jsonl import Line, line_request
from yoj.runtime.manifest import Mode
from yoj.runtime.request import Request

from .errors import DataError, VisionBudgetError
from .preparer import BudgetedPreparer
from .recipe import Recipe

SHOWN = 10
"""Problems that an error names; the others are counted."""


class Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the language path learns of a sample, where it is not the best response."""

    prompt: str
    target: str


class Sample(Line, frozen=True, forbid_unknown_fields=True):
    """One line as ``yoj-score`` reads it, with what only training uses, and no field of another name.

    Objective ``language`` alone does without rankings.
    """

    language: Language | None = None
    kind: str | None = None
    """Free text; evaluations report it apart."""
    grades: list[str] | None = None
    """[N] free text on each response."""
    scene: int | None = None
    """What the sample was made from."""


@dataclass(frozen=True)
class Numbered:
    """A sample and where it stands."""

    line: int
    sample: Sample
    folder: Path
    """Of its file; media are relative to it."""

    def lessons(self) -> list[Request]:
        """What the language path may learn of it, one at a time: the text meant for it, or else the best responses."""
        sample = self.sample
        if sample.language is not None:
            return [self.request([sample.language.target], sample.language.prompt)]
        ranks = sample.rankings or [0.0] * len(sample.responses)
        best = min(ranks)
        return [self.request([text]) for text, rank in zip(sample.responses, ranks, strict=True) if rank == best]

    def request(self, responses: Sequence[str] | None = None, prompt: str | None = None) -> Request:
        """What the runtime packs, with other texts where they are given."""
        whole = line_request(self.sample, self.folder)
        return replace(
            whole,
            prompt=whole.prompt if prompt is None else prompt,
            responses=whole.responses if responses is None else list(responses),
        )


@dataclass(frozen=True)
class Shrunk:
    """A line whose pictures are shown smaller, or with fewer frames, so that it fits."""

    line: int
    times: int
    """That they are halved; see `BudgetedPreparer`."""


@dataclass(frozen=True)
class Problem:
    """Why a line cannot be trained on."""

    line: int
    kind: str
    """A word or two, to count by."""
    text: str


def read_samples(file: Path, ranked: bool = True) -> tuple[list[Numbered], list[Problem]]:
    """Every line of a file, good or not; blank lines are passed over.

    Args:
        file: JSON lines.
        ranked: whether each sample must say which response is better.

    Raises:
        DataError: the file cannot be read, or holds no lines of samples.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}. Give a file of JSON lines.") from error
    text = text.removeprefix(codecs.BOM_UTF8)
    if text.lstrip().startswith(b"["):
        raise DataError(f"{file} holds one JSON array. Give JSON lines: one sample a line, without commas between.")
    samples, problems = list[Numbered](), list[Problem]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            sample = Numbered(number, msgspec.json.decode(line, type=Sample), file.parent)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            kind = "unknown field" if "unknown field" in str(error) else "not a sample"
            problems.append(Problem(number, kind, str(error)))
            continue
        if problem := _check(sample, ranked):
            problems.append(problem)
        else:
            samples.append(sample)
    return samples, problems


def check_packs(
    samples: Sequence[Numbered], preparer: BudgetedPreparer, recipe: Recipe, advance: Callable[[int], None]
) -> Iterator[Problem | Shrunk]:
    """Read the media of every sample and pack it, as the training will, and tell of those that are not shown whole.

    Args:
        samples: of `read_samples`.
        preparer: of the judge.
        recipe: for its limits.
        advance: called with the number of samples looked at.
    """
    for numbered in samples:
        if found := _check_pack(numbered, preparer, recipe):
            yield found
        advance(1)


def refuse(problems: Sequence[Problem], file: Path, skip: bool, note: Callable[[str], None]) -> None:
    """Report what is wrong with a file, with line numbers and counts.

    Raises:
        DataError: there are problems and they are not to be skipped.
    """
    if not problems:
        return
    counts = ", ".join(f"{count} {kind}" for kind, count in Counter(p.kind for p in problems).most_common())
    ordered = sorted(problems, key=lambda problem: problem.line)
    lines = [f"  line {problem.line}: {problem.text}" for problem in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        lines.append("  and lines " + ", ".join(str(problem.line) for problem in ordered[SHOWN:]))
    report = f"{file}: {len(problems)} samples cannot be trained on ({counts}):\n" + "\n".join(lines)
    if not skip:
        raise DataError(f"{report}\nCorrect them, or leave them out with --skip-invalid.")
    note(f"{report}\nThey are left out.")


def tell_shrunk(shrunk: Sequence[Shrunk], file: Path, note: Callable[[str], None]) -> None:
    """Report which lines of a file are not shown whole."""
    if not shrunk:
        return
    lines = sorted(one.line for one in shrunk)
    named = ", ".join(map(str, lines[:SHOWN])) + (", ..." if len(lines) > SHOWN else "")
    most = 2 ** max(one.times for one in shrunk)
    note(
        f"{file}: {len(lines)} samples are too long with whole pictures: they are trained on with crops or pixels, and "
        f"frames, divided by up to {most} (lines {named}). Scoring shows whole pictures."
    )


def _rows(numbered: Numbered, recipe: Recipe) -> Iterator[tuple[Request, Mode | None]]:
    """Everything that the training may pack of a sample."""
    if recipe.objective != "language":
        yield numbered.request(), None
    if recipe.objective in ("joint", "language"):
        for lesson in numbered.lessons():
            yield lesson, "joint"


def _check_pack(numbered: Numbered, preparer: BudgetedPreparer, recipe: Recipe) -> Problem | Shrunk | None:
    times = 0
    try:
        for request, mode in _rows(numbered, recipe):
            times = max(times, preparer.prepare_at_level(request, mode)[1])
    except MediaError as error:
        return Problem(numbered.line, "unreadable media", str(error))
    except LengthError as error:
        text = f"{error.tokens:,} tokens; max_length of the recipe is {recipe.max_length:,}"
        return Problem(numbered.line, "too long", text)
    except VisionBudgetError as error:
        return Problem(numbered.line, "too many visual tokens", str(error))
    except YojError as error:
        return Problem(numbered.line, "cannot be packed", str(error))
    return Shrunk(numbered.line, times) if times else None


def _check(numbered: Numbered, ranked: bool) -> Problem | None:
    sample, line = numbered.sample, numbered.line
    n = len(sample.responses)
    if not n or not all(isinstance(text, str) for text in sample.responses):
        return Problem(line, "no responses", "there are no responses")
    if sample.seconds_between_frames is not None and not sample.seconds_between_frames > 0:
        return Problem(line, "not a sample", f"seconds_between_frames is {sample.seconds_between_frames}")
    if sample.grades is not None and len(sample.grades) != n:
        return Problem(line, "lengths", f"{len(sample.grades)} grades for {n} responses")
    if (ranked or sample.rankings is not None) and (problem := _check_rankings(sample.rankings, n, ranked)):
        return Problem(line, *problem)
    paths = [sample.image, sample.video]
    flat = [path for of in paths if of is not None for path in ([of] if isinstance(of, str) else of)]
    missing = [path[:80] or "''" for path in flat if not _exists(numbered.folder, path)]
    if missing:
        return Problem(line, "missing media", f"{', '.join(missing)}: no such file in {numbered.folder}")
    return None


def _exists(folder: Path, path: str) -> bool:
    try:
        return bool(path) and (folder / path).exists()
    except OSError:  # longer than a path can be: the medium itself, perhaps
        return False


def _check_rankings(rankings: Sequence[float] | None, n: int, ranked: bool) -> tuple[str, str] | None:
    if rankings is None:
        return "no rankings", "there are no rankings"
    if len(rankings) != n:
        return "lengths", f"{len(rankings)} rankings for {n} responses"
    if not all(rank == rank and abs(rank) < float("inf") for rank in rankings):
        return "not a sample", f"rankings are {rankings}"
    if ranked and len(set(rankings)) == 1:
        return "all tied", f"all {n} responses have rank {rankings[0]:g}: nothing can be learnt"
    return None
