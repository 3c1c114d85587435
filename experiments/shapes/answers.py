"""Questions, answers, and the one function that grades an answer by the scene."""

from __future__ import annotations

from typing import NamedTuple

from .scene import Description, Look, Scene

KINDS = ("identify", "where", "count", "front", "specific", "moves")
STYLES = ("terse", "plain", "fluent")

STAYS = 4


class Question(NamedTuple):
    """Question.

    `asks` tells the forms of a kind apart: "front" and "behind", "go" and "what"; it equals the kind where there is one
    form. `place` is an index into `PLACES`, `about` the shapes that the question names.

    `asks` tells the forms of a kind apart: "front" and "behind", "go" and "what"; it equals the kind where there is
    one form. `place` is an index into `PLACES`, `about` the shapes that the question names.
    """

    kind: str
    asks: str
    place: int = 0
    about: Description = Description()


class Claim(NamedTuple):
    """Content of an answer: a description, a number (a count, a place or `STAYS`), "nothing" or "talk"."""

    sort: str
    look: Description = Description()
    number: int = 0


class Answer(NamedTuple):
    """Claim, with the style in which it is put."""

    claim: Claim
    style: str


class Grade(NamedTuple):
    """Grade of an answer, comparable within one item, and the label of its quality."""

    quality: int
    label: str


def count(scene: Scene, about: Description) -> int:
    """Number of shapes of the scene that a description fits."""
    return sum(about.fits(look) for look in scene.looks())


def find(scene: Scene, about: Description) -> int:
    """Place of the one shape that a description fits."""
    (place,) = [number for number, looks in enumerate(scene.places) for look in looks if about.fits(look)]
    return place


def grade(scene: Scene, question: Question, answer: Answer) -> Grade:
    """Grade of an answer, computed from the scene alone."""
    claim = answer.claim
    if question.kind == "specific":
        looks = scene.places[question.place]
        return grade_specific(looks[0] if looks else None, answer)
    if question.kind == "count":
        distance = abs(claim.number - count(scene, question.about))
        return Grade(-distance, ("right", "partly right")[distance] if distance < 2 else "wrong count")
    if question.kind == "where":
        return _grade_place(claim.number, find(scene, question.about))
    if question.asks == "go":
        end = find(scene, question.about)
        return _grade_place(claim.number, end if scene.move is not None and scene.move.target == end else STAYS)
    asked, others = _asked(scene, question)
    return _grade_look(claim.look, asked, others)


def _asked(scene: Scene, question: Question) -> tuple[Look, list[Look]]:
    """Shape that is asked about, and the shapes with which it may be mistaken."""
    if question.asks == "what":
        if scene.move is None:
            raise ValueError("nothing moves in a scene that is asked what moves")
        target = scene.move.target
        return scene.places[target][0], [
            look for number, looks in enumerate(scene.places) if number != target for look in looks
        ]
    looks = scene.places[question.place]
    return (looks[1], [looks[0]]) if question.asks == "behind" else (looks[0], list(looks[1:]))


def _grade_look(said: Description, asked: Look, others: list[Look]) -> Grade:
    hits = said.hits(asked)
    if hits == said.named():
        return Grade(2 * hits + 1, "right")
    # Naming a shape that is really there beats naming one that is not, at equally many true attributes.
    there = any(said.fits(other) for other in others)
    return Grade(2 * hits + there, "wrong shape" if there else "partly right" if hits else "wrong attribute")


def _grade_place(said: int, real: int) -> Grade:
    if said == real:
        return Grade(2, "right")
    # The same row or the same column: one of the two words is right.
    if STAYS not in (said, real) and (said // 2 == real // 2 or said % 2 == real % 2):
        return Grade(1, "partly right")
    return Grade(0, "wrong place")


def grade_specific(look: Look | None, answer: Answer) -> Grade:
    """Grade of a description of a place with one shape, or with none.

    True ones rank above empty talk, by how much they say; empty talk ranks above false ones; and what is false
    altogether yet sure of itself comes last.
    """
    claim = answer.claim
    if claim.sort == "talk":
        return Grade(0, "empty talk")
    if claim.sort == "nothing":
        return Grade(4, "right") if look is None else Grade(-4, "ungrounded")
    named = claim.look.named()
    hits = 0 if look is None else claim.look.hits(look)
    if look is not None and hits == named:
        return Grade(1 + hits, "right" if named == len(look) else "less specific")
    if hits == 0 and answer.style == "fluent":
        return Grade(-9, "ungrounded")
    if look is None:
        return Grade(-4, "ungrounded")
    return Grade(hits - named, "partly right" if hits else "wrong attribute")
