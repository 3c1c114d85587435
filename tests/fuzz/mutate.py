"""Seeded mutations of bytes and of JSON trees, and a run that counts how they end.

Every mutation is made again from the seed and its number alone, so that a report of a fault is enough to repeat it.
"""

from __future__ import annotations

import copy
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from yoj.runtime.errors import YojError

SHARP_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
SHARP_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
SHARP_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "a", "\0", "../../x", "/etc/passwd", "x" * 5000, "\u202e", "１", "1", "nan"),
    *([], {}, [[]], [None], {"": None}, [0] * 1000, {"a": {"a": {"a": {}}}}),
)
MOST_CHANGES = 4
LONGEST_PIECE = 64
"""Bytes."""


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """The content with one to a few changes, each of them anywhere."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, MOST_CHANGES)):
        rng.choice(BYTE_CHANGES)(changed, rng)
    return bytes(changed)


def mutate_head(content: bytes, rng: random.Random, length: int = 512) -> bytes:
    """The content with changes among its first ``length`` bytes, where formats keep sizes and counts."""
    return mutate_bytes(content[:length], rng) + content[length:]


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """A copy of what JSON can hold with one to a few changes of its structure or its values.

    Lists and objects lose, repeat and exchange entries, keys are renamed, values become those of other types.
    """
    holder = [copy.deepcopy(tree)]
    for _ in range(rng.randint(1, MOST_CHANGES)):
        parent, key = rng.choice(_places(holder))
        rng.choice(TREE_CHANGES)(parent, key, rng)
    return holder[0]


def _places(holder: list[Any]) -> list[tuple[Any, Any]]:
    """Parent and key of every value; the first is the whole tree."""
    found, waiting = list[tuple[Any, Any]](), [(holder, 0)]
    while waiting:
        parent, key = waiting.pop()
        found.append((parent, key))
        value = parent[key]
        if isinstance(value, dict):
            waiting += [(value, name) for name in value]
        elif isinstance(value, list):
            waiting += [(value, place) for place in range(len(value))]
    return found


def _piece(content: bytearray, rng: random.Random) -> slice:
    begin = rng.randrange(len(content) + 1)
    return slice(begin, begin + rng.randint(1, LONGEST_PIECE))


def _flip(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _put_byte(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] = rng.choice((*SHARP_BYTES, rng.randrange(256)))


def _put_number(content: bytearray, rng: random.Random) -> None:
    size = rng.choice((2, 4, 8))
    number = rng.choice(SHARP_NUMBERS) % 256**size
    begin = rng.randrange(len(content) + 1)
    content[begin : begin + size] = number.to_bytes(size, rng.choice(("big", "little")))


def _delete(content: bytearray, rng: random.Random) -> None:
    del content[_piece(content, rng)]


def _repeat(content: bytearray, rng: random.Random) -> None:
    piece = content[_piece(content, rng)]
    begin = rng.randrange(len(content) + 1)
    content[begin:begin] = piece * rng.choice((1, 2, 50))


def _insert(content: bytearray, rng: random.Random) -> None:
    begin = rng.randrange(len(content) + 1)
    content[begin:begin] = rng.randbytes(rng.randint(1, LONGEST_PIECE))


def _blank(content: bytearray, rng: random.Random) -> None:
    place = _piece(content, rng)
    content[place] = bytes([rng.choice(SHARP_BYTES)]) * len(content[place])


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content) + 1) :]


BYTE_CHANGES = (_flip, _flip, _put_byte, _put_byte, _put_number, _put_number, _delete, _repeat, _insert, _blank, _cut)
"""Changes of bytes. What stands twice is tried twice as often: it leaves most of the file whole."""


def _replace(parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = copy.deepcopy(rng.choice(SHARP_VALUES))


def _remove(parent: Any, key: Any, rng: random.Random) -> None:
    if len(parent) > 1:
        del parent[key]


def _rename(parent: Any, key: Any, rng: random.Random) -> None:
    if isinstance(parent, dict):
        parent[rng.choice(("", "x", f"{key} ", str(key).upper(), str(key)[:-1]))] = parent.pop(key)


def _wrap(parent: Any, key: Any, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 3, 500))):
        parent[key] = rng.choice(([parent[key]], {"a": parent[key]}))


def _copy_over(parent: Any, key: Any, rng: random.Random) -> None:
    """A value takes the place of a neighbour."""
    others = list(parent) if isinstance(parent, dict) else range(len(parent))
    parent[rng.choice(others)] = copy.deepcopy(parent[key])


def _change_number(parent: Any, key: Any, rng: random.Random) -> None:
    value = parent[key]
    if isinstance(value, int | float):
        parent[key] = rng.choice((-value, value + 1, value * 1000, value * 1.5, str(value)))


def _change_text(parent: Any, key: Any, rng: random.Random) -> None:
    value = parent[key]
    if isinstance(value, str):
        place = rng.randrange(len(value) + 1)
        parent[key] = value[:place] + rng.choice(("\0", "/", "..", "é", "{{", "9", " ", "\n")) + value[place + 1 :]


TREE_CHANGES = (_replace, _replace, _remove, _rename, _wrap, _copy_over, _change_number, _change_text)


@dataclass(frozen=True)
class Fault:
    """A mutation that ended otherwise than it may."""

    number: int
    """With the seed enough to make it again."""
    case: str
    what: str


@dataclass
class Report:
    """How the mutations of a run ended."""

    seed: int
    ends: Counter[str] = field(default_factory=Counter)
    """How many ended as ``answer``, or in each error of ours."""
    faults: list[Fault] = field(default_factory=list)
    slowest_s: float = 0.0
    """CPU time of the slowest mutation."""
    slowest: str = ""

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        lines = [f"seed {self.seed}: {counts}; slowest {self.slowest_s:.2f} CPU s ({self.slowest})"]
        return "\n".join(lines + [f"FAULT {one.number} ({one.case}): {one.what}" for one in self.faults])


@dataclass(frozen=True)
class Run:
    """What is mutated, how, and who takes it."""

    cases: Mapping[str, Any]
    """Whole inputs under their names."""
    mutate: Callable[[Any, random.Random], Any]
    take: Callable[[str, Any], object]
    """Uses a mutated input, given its case's name; answers or raises."""
    bound_s: float
    """CPU seconds that no mutation may take."""

    def mutation(self, seed: int, number: int) -> tuple[str, Any]:
        """Case and input of one number."""
        rng = random.Random(f"{seed}:{number}")
        case = sorted(self.cases)[number % len(self.cases)]
        return case, self.mutate(self.cases[case], rng)

    def report(self, seed: int, count: int, first: int = 0) -> Report:
        """Take ``count`` mutations, from number ``first`` on. Errors that are not ours are faults, and none ends the
        run; so is what takes too long."""
        report = Report(seed)
        for number in range(first, first + count):
            case, mutated = self.mutation(seed, number)
            begin = time.process_time()
            try:
                self.take(case, mutated)
                end = "answer"
            except YojError as error:
                end = type(error).__name__
                if not str(error).strip():
                    report.faults.append(Fault(number, case, f"{end} without a text"))
            except BaseException as error:  # a panic of a Rust library is no Exception
                if isinstance(error, KeyboardInterrupt):
                    raise
                end = "foreign error"
                report.faults.append(Fault(number, case, f"{type(error).__qualname__}: {error}"[:300]))
            lasted = time.process_time() - begin
            report.ends[end] += 1
            if lasted > report.slowest_s:
                report.slowest_s, report.slowest = lasted, f"{number}, {case}"
            if lasted > self.bound_s:
                report.faults.append(Fault(number, case, f"took {lasted:.1f} CPU s of {self.bound_s:g}"))
        return report
