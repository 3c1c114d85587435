"""Words of questions, answers and scenes."""

from __future__ import annotations

from .answers import STAYS, Answer, Question
from .scene import PLACES, Description, Look, Scene

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TALK = {
    "terse": "hard to say",
    "plain": "It is hard to say what is there.",
    "fluent": "You can see many things when you look at the picture.",
}


def noun(look: Description | Look) -> str:
    """Shape without article, such as "small red circle" or "red shape"."""
    size, colour, form = look
    return " ".join(word for word in (size, colour, form or "shape") if word)


def sentence(text: str) -> str:
    """Text with a capital and a full stop."""
    return text[0].upper() + text[1:] + "."


def ask(question: Question) -> str:
    """Text of a question."""
    place, about = PLACES[question.place], noun(question.about)
    return {
        "identify": f"What is in the {place}?",
        "where": f"Where is the {about}?",
        "count": f"How many {plural(question.about)} are there?",
        "front": f"What is in front in the {place}?",
        "behind": f"What is behind in the {place}?",
        "specific": f"Describe the {place}.",
        "go": f"Where does the {about} go?",
        "what": "What moves?",
    }[question.asks]


def say(question: Question, answer: Answer) -> str:
    """Text of an answer."""
    claim, style = answer
    if claim.sort == "talk":
        return TALK[style]
    terse, plain, fluent = _phrases(question, answer)
    if style == "terse":
        return terse
    return sentence(plain if style == "plain" else f"You can clearly see {fluent}")


def _phrases(question: Question, answer: Answer) -> tuple[str, str, str]:
    """Claim in the three styles; the fluent one is what follows "You can clearly see"."""
    claim, place = answer.claim, PLACES[question.place]
    if claim.sort == "nothing":
        return "nothing", "nothing is there", f"nothing in the {place}"
    if question.kind == "count":
        text = f"{NUMBERS[claim.number]} {plural(question.about, claim.number)}"
        return text, f"there {'is' if claim.number == 1 else 'are'} {text}", f"{text} here"
    if question.asks == "where":
        text = f"in the {PLACES[claim.number]}"
        return text, f"it is {text}", f"it {text}"
    if question.asks == "go":
        if claim.number == STAYS:
            return "nowhere", "it stays where it is", "it stay where it is"
        text = f"to the {PLACES[claim.number]}"
        return text, f"it goes {text}", f"it go {text}"
    if question.asks == "what":
        text = f"the {noun(claim.look)}"
        return text, f"{text} moves", f"{text} move"
    text = f"a {noun(claim.look)}"
    where = {"front": "in front", "behind": "behind"}.get(question.asks, f"in the {place}")
    return text, f"there is {text}", f"{text} {where}"


def plural(about: Description, number: int = 0) -> str:
    """Noun phrase for the shapes that a description fits, in the number that goes with `number`."""
    text = noun(about)
    return text if number == 1 else text + ("es" if text.endswith("s") else "s")


def caption(scene: Scene) -> tuple[str, str]:
    """Prompt for a dense caption, and the caption: all four places, then what moved."""
    parts = []
    for name, looks in zip(PLACES, scene.places, strict=True):
        text = " in front of ".join(f"a {noun(look)}" for look in looks) or "nothing"
        parts.append(sentence(f"{name}: {text}"))
    if scene.frames == 1:
        return "Describe the picture.", " ".join(parts)
    if scene.move is None:
        parts.append("Nothing moves.")
    else:
        mover = noun(scene.places[scene.move.target][0])
        parts.append(f"The {mover} moves from the {PLACES[scene.move.origin]} to the {PLACES[scene.move.target]}.")
    return "Describe the video.", " ".join(parts)
