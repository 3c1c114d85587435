"""Questions with their answers, and scenes in which a given answer is the best.

Text says nothing about which answer is best, by the order of the draws: the question and the whole set of answers come
first, from text alone; which answer shall be best is uniform over that set; only the scene depends on it. A set of
answers in which some answer could never be best is refused before that answer is drawn.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .answers import STAYS, STYLES, Answer, Claim, Question, grade, grade_specific
from .scene import (
    ATTRIBUTES,
    COLOURS,
    FORMS,
    PLACES,
    SIZES,
    Description,
    Look,
    Move,
    Place,
    Scene,
    draw_look,
    draw_partner,
    draw_place,
    draw_unlike,
)

# How many answers an item of each kind can have.
RESPONSES: dict[str, tuple[int, ...]] = {
    "identify": (2, 4, 8, 16, 32),
    "where": (2, 4),
    "count": (2, 4, 8),
    "front": (2, 4, 8, 16, 32),
    "specific": (2, 4, 8, 16),
    "moves": (2, 4, 8, 16, 32),
}

# For each number of answers, how many values of each attribute (size, colour, form) their product takes.
PRODUCTS: dict[int, tuple[tuple[int, int, int], ...]] = {
    2: ((2, 0, 0), (0, 2, 0), (0, 0, 2)),
    4: ((0, 2, 2), (0, 2, 2), (2, 2, 0), (2, 0, 2)),
    8: ((2, 2, 2), (0, 4, 2), (0, 2, 4), (2, 4, 0), (2, 0, 4)),
    16: ((0, 4, 4), (2, 4, 2), (2, 2, 4)),
    32: ((2, 4, 4),),
}

TRIES = 2000

Draft = tuple[Question, list[Claim]]


class Task(NamedTuple):
    """Draft of a scene: a question, all claims in answer to it, and the claim that shall be best."""

    question: Question
    claims: list[Claim]
    best: Claim


def draw(rng: random.Random, kind: str, responses: int) -> tuple[Question, list[Answer], Scene]:
    """Question, its answers in random order, and a scene in which exactly one of them is the best."""
    question, claims = _DRAFTS[kind](rng, responses)
    rng.shuffle(claims)
    answers = [Answer(claim, rng.choice(STYLES)) for claim in claims]
    best = rng.randrange(len(answers))
    task = Task(question, claims, claims[best])
    for _ in range(TRIES):
        scene = _STAGINGS[question.asks](rng, task)
        qualities = [grade(scene, question, answer).quality for answer in answers]
        if all(quality < qualities[best] for place, quality in enumerate(qualities) if place != best):
            return question, answers, scene
    # Going back to another set of answers here would make the set depend on which one is best.
    raise ValueError(f"no scene makes {claims[best]} the best answer to {question} among {claims}")


def product(rng: random.Random, responses: int) -> list[Claim]:
    """Descriptions that combine a few values of some attributes in every way: each value occurs equally often."""
    counts = rng.choice(PRODUCTS[responses])
    axes: list[list[str | None]] = [
        [*rng.sample(values, number)] if number else [None]
        for values, number in zip(ATTRIBUTES.values(), counts, strict=True)
    ]
    return [Claim("look", Description(*values)) for values in itertools.product(*axes)]


def _draft_identify(rng: random.Random, responses: int) -> Draft:
    return Question("identify", "identify", rng.randrange(4)), product(rng, responses)


def _draft_where(rng: random.Random, responses: int) -> Draft:
    look = draw_look(rng)
    about = rng.choice([Description(colour=look.colour), Description(None, *look[1:])])
    places = rng.sample(range(4), responses)
    return Question("where", "where", about=about), [Claim("number", number=place) for place in places]


def _draft_count(rng: random.Random, responses: int) -> Draft:
    subjects = ["any", "size", "form"] if responses > 4 else ["any", "size", "form", "colour", "colour", "form"]
    subject = rng.choice(subjects)
    about = Description(**({} if subject == "any" else {subject: rng.choice(ATTRIBUTES[subject])}))
    limit = count_limit(responses)
    while True:
        numbers = rng.sample(range(limit + 3), responses)
        if all(closest_counts(number, numbers, limit) for number in numbers):
            return Question("count", "count", about=about), [Claim("number", number=number) for number in numbers]


def count_limit(responses: int) -> int:
    """Greatest count that is staged."""
    return 8 if responses > 4 else 4


def closest_counts(number: int, numbers: Sequence[int], limit: int) -> list[int]:
    """Counts up to `limit` to which `number` alone is the closest of `numbers`."""
    others = [other for other in numbers if other != number]
    return [real for real in range(limit + 1) if all(abs(number - real) < abs(other - real) for other in others)]


def _draft_front(rng: random.Random, responses: int) -> Draft:
    question = Question("front", rng.choice(["front", "front", "behind"]), rng.randrange(4))
    return question, _opposites(rng, responses)


def _opposites(rng: random.Random, responses: int) -> list[Claim]:
    """Product in which every description has a counterpart that differs in all that is mentioned."""
    if responses > 2:
        return product(rng, responses)
    (colour, other_colour), (form, other_form) = rng.sample(COLOURS, 2), rng.sample(FORMS, 2)
    pair = [Description(None, colour, form), Description(None, other_colour, other_form)]
    return [Claim("look", description) for description in pair]


def _draft_moves(rng: random.Random, responses: int) -> Draft:
    if responses > 4 or rng.random() < 0.5:
        return Question("moves", "what"), _opposites(rng, responses)
    about = Description(None, rng.choice(COLOURS), rng.choice(FORMS))
    ends = rng.sample([0, 1, 2, 3, STAYS], responses)
    return Question("moves", "go", about=about), [Claim("number", number=end) for end in ends]


LOOKS: tuple[Look | None, ...] = (None, *(Look(*values) for values in itertools.product(SIZES, COLOURS, FORMS)))


@functools.cache
def _specific_grades(claim: Claim) -> tuple[int, ...]:
    """Quality of a claim in each state of `LOOKS`; which answer is true, and best, is the same in every style."""
    return tuple(grade_specific(look, Answer(claim, "plain")).quality for look in LOOKS)


def winning_looks(claim: Claim, claims: Sequence[Claim]) -> list[Look | None]:
    """States of a place in which a claim is true, or empty talk, and better than all others of `claims`."""
    others = [_specific_grades(other) for other in claims if other != claim]
    return [
        look
        for number, (look, quality) in enumerate(zip(LOOKS, _specific_grades(claim), strict=True))
        if quality >= 0 and all(other[number] < quality for other in others)
    ]


def _draft_specific(rng: random.Random, responses: int) -> Draft:
    question = Question("specific", "specific", rng.randrange(4))
    while True:
        anchor, claims = draw_look(rng), list[Claim]()
        for _ in range(20 * responses):
            claim = _draw_specific_claim(rng, anchor, responses)
            if claim not in claims and all(winning_looks(one, [*claims, claim]) for one in [*claims, claim]):
                claims.append(claim)
            if len(claims) == responses:
                return question, claims


def _draw_specific_claim(rng: random.Random, anchor: Look, responses: int) -> Claim:
    """Claim: empty talk, "nothing", or a more or less specific description, mostly of the anchor's attributes."""
    fate = rng.random()
    if fate < 0.1:
        return Claim("talk")
    if fate < 0.2:
        return Claim("nothing")
    # Large sets need many different descriptions, which then must be specific in order not to shadow each other.
    near = 0.75 if responses <= 4 else 0.4
    other = draw_look(rng)
    look = Look(*(a if rng.random() < near else b for a, b in zip(anchor, other, strict=True)))
    kept = rng.choice([(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 1), (1, 1, 1), (1, 1, 1), (0, 1, 0), (1, 0, 1)])
    if responses > 8 and rng.random() < 0.7:
        kept = (1, 1, 1)
    return Claim("look", Description(*(value if keep else None for value, keep in zip(look, kept, strict=True))))


def _others(rng: random.Random, claims: Sequence[Claim], taken: dict[int, Place]) -> Scene:
    """Scene with the places of `taken` as given, the rest drawn with the answers' looks among them."""
    pool = [claim.look for claim in claims if claim.sort == "look"]
    return Scene(tuple(taken[place] if place in taken else draw_place(rng, pool) for place in range(4)))


def _stage_identify(rng: random.Random, task: Task) -> Scene:
    return _others(rng, task.claims, {task.question.place: (draw_look(rng, task.best.look),)})


def _stage_specific(rng: random.Random, task: Task) -> Scene:
    look = rng.choice(winning_looks(task.best, task.claims))
    return _others(rng, task.claims, {task.question.place: () if look is None else (look,)})


def _stage_where(rng: random.Random, task: Task) -> Scene:
    near = [Description(form=task.question.about.form)]
    while True:
        places: list[Place] = [draw_place(rng, near) for _ in PLACES]
        places[task.best.number] = (draw_look(rng, task.question.about),)
        scene = Scene(tuple(places))
        if sum(task.question.about.colour == look.colour for look in scene.looks()) == 1:
            return scene


def _stage_front(rng: random.Random, task: Task) -> Scene:
    opposite = [claim.look for claim in task.claims if not _agree(claim.look, task.best.look)]
    asked = draw_look(rng, task.best.look)
    partner = draw_partner(rng, asked, rng.choice(opposite))
    place = (partner, asked) if task.question.asks == "behind" else (asked, partner)
    return _others(rng, task.claims, {task.question.place: place})


def _agree(one: Description, other: Description) -> bool:
    return any(a is not None and a == b for a, b in zip(one, other, strict=True))


def _stage_count(rng: random.Random, task: Task) -> Scene:
    about, numbers = task.question.about, [claim.number for claim in task.claims]
    real = rng.choice(closest_counts(task.best.number, numbers, count_limit(len(task.claims))))
    # Up to four shapes mostly have a place of their own, which is easier to read than pairs.
    spare = max(4 - real, 1 if real < 8 else 0)
    extra = rng.randint(0, spare) if about.named() else 0
    while True:
        looks = [draw_look(rng, about) for _ in range(real)]
        while len(looks) < real + extra:
            if not about.fits(other := draw_look(rng)):
                looks.append(other)
        rng.shuffle(looks)
        places = _spread(rng, looks)
        if all(len({look.colour for look in place}) == len(place) for place in places):
            return Scene(places)


def _spread(rng: random.Random, looks: Sequence[Look]) -> tuple[Place, ...]:
    """Looks over the four places, at most two in each; pairs only where needed, or in one scene of six."""
    slots = rng.sample(range(4), 4) + rng.sample(range(4), 4)
    if rng.random() < 1 / 6:
        rng.shuffle(slots)
    places: list[Place] = [()] * 4
    for look, slot in zip(looks, slots, strict=False):
        places[slot] = (*places[slot], look)
    return tuple(places)


def _stage_go(rng: random.Random, task: Task) -> Scene:
    mover = draw_look(rng, task.question.about)
    places: list[Place] = [()] * 4
    order = rng.sample(range(4), 4)
    if task.best.number == STAYS:
        still, origin, target, rest = order
        places[still] = (mover,)
        places[target] = (draw_unlike(rng, [mover]),)
        # Mostly another shape moves, so that motion as such does not answer the question.
        move = Move(origin, target) if rng.random() < 0.85 else None
        free = [rest]
    else:
        origin, *free = [place for place in order if place != task.best.number]
        places[task.best.number] = (mover,)
        move = Move(origin, task.best.number)
    for place in free:
        if rng.random() < 0.6:
            places[place] = (draw_unlike(rng, [look for looks in places for look in looks]),)
    return Scene(tuple(places), rng.randint(2, 4), move)


def _stage_what(rng: random.Random, task: Task) -> Scene:
    origin, target, *rest = rng.sample(range(4), 4)
    places: list[Place] = [()] * 4
    places[target] = (draw_look(rng, task.best.look),)
    opposite = [claim.look for claim in task.claims if not _agree(claim.look, task.best.look)]
    places[rest[0]] = (draw_unlike(rng, places[target], rng.choice(opposite)),)
    if rng.random() < 0.6:
        present = [look for looks in places for look in looks]
        taken = [look[1:] for look in present]
        others = [claim.look for claim in task.claims if claim != task.best and claim.look[1:] not in taken]
        wanted = rng.choice(others) if others and rng.random() < 0.6 else None
        while task.best.look.fits(look := draw_unlike(rng, present, wanted)):
            pass
        places[rest[1]] = (look,)
    return Scene(tuple(places), rng.randint(2, 4), Move(origin, target))


_DRAFTS: dict[str, Callable[[random.Random, int], Draft]] = {
    "identify": _draft_identify,
    "where": _draft_where,
    "count": _draft_count,
    "front": _draft_front,
    "specific": _draft_specific,
    "moves": _draft_moves,
}
_STAGINGS: dict[str, Callable[[random.Random, Task], Scene]] = {
    "identify": _stage_identify,
    "where": _stage_where,
    "count": _stage_count,
    "front": _stage_front,
    "behind": _stage_front,
    "specific": _stage_specific,
    "go": _stage_go,
    "what": _stage_what,
}
