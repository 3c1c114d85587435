"""Choice of the requests for calibration: a mix of all that is there, without anything that evaluation uses."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yoj.runtime import Request
from yoj.runtime.errors import YojError
from yoj.runtime.lines import read_requests
from yoj.runtime.options import Given

from ._content import Medium, characters, content_hash, medium_of, request_text, text_hash
from ._errors import SampleError

COUNT = 256
"""Number of samples where nothing else is said."""
USUAL = (128, 512)
"""Range of sample numbers in published recipes."""
FEWEST = 64
POOL = 4
"""Number of requests that are packed to know their length, for each that is chosen."""
SHOWN = 8
"""Most lines that an error names."""


@dataclass(frozen=True)
class CalibrationSample:
    """Request that is calibrated on."""

    line: int
    """Number of the request's line in its file."""
    request: Request
    digest: str
    """Hash of the content; see `content_hash`."""
    tokens: int
    """Length L of the packed request."""

    @property
    def stratum(self) -> tuple[int, Medium, int]:
        """Stratum: N, kind of media, and the power of two at or below L."""
        return _stratum(self.request, self.tokens)


@dataclass(frozen=True)
class Selection:
    """Choice from a file."""

    samples: tuple[CalibrationSample, ...]
    """Chosen samples, by line."""
    available: int
    """Number of requests that could have been chosen."""
    repeated: int
    """Number of lines that were skipped because an earlier line is the same request."""


def choose(
    file: Path,
    held_out: Sequence[Path],
    count: int,
    seed: int,
    measure: Callable[[Request], int],
    given: Given | None = None,
) -> Selection:
    """Choose calibration requests from a file.

    Args:
        file: file of JSON lines, as ``yoj-score`` reads them.
        held_out: files of requests for evaluation.
        count: number of samples to choose; all where the file has no more.
        seed: seed of the draw. The same file, count and seed give the same samples on every machine.
        measure: function from a request to its packed length L.
        given: folder of media and ignored fields; None for media in the folder of each file.

    Raises:
        RequestError: a line is not a request.
        SampleError: a file has no requests, or requests are held out too or cannot be packed.
    """
    given = given or Given()
    requests, *others = (read_requests(one, reading=given.reading(one.parent)) for one in (file, *held_out))
    if not requests:
        raise SampleError(f"{file} holds no requests. Give a file with one JSON object a line, as yoj-score reads it.")
    require_disjoint(file, requests, dict(zip(held_out, others, strict=True)))
    distinct = _distinct(file, requests)
    draw = random.Random(seed)
    # Characters stand in for tokens here: packing a whole training set takes hours.
    cells = {line: _stratum(request, characters(request)) for line, request in distinct.items()}
    pool = stratified(cells, POOL * count, draw)
    samples = _measured(file, {line: distinct[line] for line in pool}, measure)
    chosen = stratified({line: sample.stratum for line, sample in samples.items()}, count, draw)
    return Selection(tuple(samples[line] for line in chosen), len(distinct), len(requests) - len(distinct))


def stratified(strata: Mapping[int, Hashable], count: int, draw: random.Random) -> list[int]:
    """Draw items such that every stratum is represented.

    Each stratum gets one place, the largest first where there are more strata than places, and the other places are
    shared out in proportion to what is left of each (largest remainders). Within a stratum, chance decides.

    Args:
        strata: item -> its stratum.
        count: number of items to draw; all where there are no more.
        draw: source of chance.

    Returns:
        Items, sorted.
    """
    groups: dict[Hashable, list[int]] = {}
    for item in sorted(strata):
        groups.setdefault(strata[item], []).append(item)
    members = sorted(groups.values(), key=lambda group: (-len(group), group[0]))
    if count >= len(strata):
        return sorted(strata)
    places = [int(number < count) for number in range(len(members))]
    left = [len(group) - place for group, place in zip(members, places, strict=True)]
    free = count - sum(places)
    shares = [free * n / max(1, sum(left)) for n in left]
    places = [place + int(share) for place, share in zip(places, shares, strict=True)]
    by_remainder = sorted(range(len(members)), key=lambda k: (int(shares[k]) - shares[k], k))
    for k in by_remainder[: count - sum(places)]:
        places[k] += 1
    return sorted(item for group, place in zip(members, places, strict=True) for item in draw.sample(group, place))


def require_disjoint(
    file: Path, requests: Mapping[int, Request], held_out: Mapping[Path, Mapping[int, Request]]
) -> None:
    """Refuse requests that are held out for evaluation, by content.

    Args:
        file: name of the requests in errors.
        requests: requests by line.
        held_out: held-out requests by file and line.

    Raises:
        SampleError: there are such requests; the text names their lines.
    """
    texts: dict[str, list[tuple[Path, int, Request]]] = {}
    for other, theirs in held_out.items():
        for line, request in theirs.items():
            texts.setdefault(_hash_of(other, line, request, text_hash), []).append((other, line, request))
    found: list[str] = []
    for line, request in requests.items():
        # Media are read only where the texts are equal: those of a whole training set would take long.
        for other, their_line, theirs in texts.get(_hash_of(file, line, request, text_hash), ()):
            if _hash_of(file, line, request) == _hash_of(other, their_line, theirs):
                found.append(f"line {line} is line {their_line} of {other} ({_shorten(request_text(request))!r})")
                break
    if found:
        raise SampleError(
            f"{file} has {len(found)} requests that are held out for evaluation: {_listed(found)}. Accuracy would be "
            "measured on what the model was calibrated on; take these lines out of one of the files."
        )


def require_unseen(file: Path, requests: Mapping[int, Request], seen: Collection[str]) -> list[Request]:
    """Require that no request is among those that statistics were gathered from, and return the requests.

    Args:
        file: name of the requests in errors.
        requests: requests by line.
        seen: `content_hash` of each sample.

    Raises:
        SampleError: there are such requests; the text names their lines.
    """
    known = {*seen}
    if found := [f"line {line}" for line, request in requests.items() if _hash_of(file, line, request) in known]:
        raise SampleError(
            f"{file} has {len(found)} requests that the statistics were gathered from: {_listed(found)}. Rankings "
            "would be compared on what the ranges were fitted to; give others."
        )
    return list(requests.values())


def advice(chosen: int, wanted: int) -> str | None:
    """Advice about the number of samples; None where it is usual.

    Args:
        chosen: number of samples.
        wanted: number of samples that was asked for.
    """
    few = f"{chosen} samples" if chosen == wanted else f"{chosen} samples, as the file has no more,"
    if chosen < FEWEST:
        return (
            f"{few} are too few: the largest values of rare positions are likely not among them, and would be clipped. "
            f"Give {USUAL[0]} to {USUAL[1]}."
        )
    if chosen < USUAL[0]:
        return f"{few} are fewer than the usual {USUAL[0]} to {USUAL[1]}."
    if chosen > USUAL[1]:
        return f"{few} are more than the usual {USUAL[0]} to {USUAL[1]}; time grows with them, accuracy seldom does."
    return None


def _stratum(request: Request, length: int) -> tuple[int, Medium, int]:
    return len(request.responses), medium_of(request), length.bit_length() - 1


def _distinct(file: Path, requests: Mapping[int, Request]) -> dict[int, Request]:
    """First of each group of equal requests."""
    same_text: dict[str, list[int]] = {}
    for line, request in requests.items():
        same_text.setdefault(_hash_of(file, line, request, text_hash), []).append(line)
    kept: list[int] = []
    for lines in same_text.values():
        first: dict[str, int] = {}
        for line in lines:
            first.setdefault(_hash_of(file, line, requests[line]) if len(lines) > 1 else "", line)
        kept += first.values()
    return {line: requests[line] for line in sorted(kept)}


def _measured(
    file: Path, requests: Mapping[int, Request], measure: Callable[[Request], int]
) -> dict[int, CalibrationSample]:
    samples: dict[int, CalibrationSample] = {}
    problems: list[str] = []
    for line, request in requests.items():
        try:
            samples[line] = CalibrationSample(line, request, content_hash(request), measure(request))
        except (YojError, OSError) as error:
            problems.append(f"line {line}: {error}")
    if problems:
        raise SampleError(
            f"{file}: {len(problems)} requests cannot be packed. {_listed(problems)} Correct these lines or take them "
            "out."
        )
    return samples


def _hash_of(file: Path, line: int, request: Request, how: Callable[[Request], str] = content_hash) -> str:
    try:
        return how(request)
    except (YojError, OSError) as error:
        raise SampleError(f"{file}, line {line}: {error}. Correct the line or take it out.") from error


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(texts[:SHOWN]) + (f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
