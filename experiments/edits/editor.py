"""Editor: a small policy that reads an instruction and the shapes of a source, and draws an edit of each place.

It stands for a generator of pictures in the experiments with judges as rewards: it can draw anything, right or wrong,
and knows of its mistakes only what a reward or a rationale tells it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import nn

from ..shapes.scene import COLOURS, FORMS, PLACES, SIZES, Look
from .drawing import FLAWS, Drawing, Flaw, draw_shape
from .items import EditItem

CONTENTS: tuple[Look | None, ...] = (None, *(Look(*of) for of in itertools.product(SIZES, COLOURS, FORMS)))
"""Contents that a place can have."""
INDEX = {look: number for number, look in enumerate(CONTENTS)}
KEEP = len(CONTENTS)
"""Choice that leaves a place as it is."""
STRENGTHS = (None, *FLAWS)
WIDTH, LAYERS, HEADS, LONGEST = 96, 3, 4, 160


@dataclass(frozen=True)
class Asked:
    """Inputs of the editor for B requests."""

    ids_BT: torch.Tensor
    """Tokens of instruction and feedback, int64, 0 behind their end."""
    feedback_BT: torch.Tensor
    """1 where a token is of the feedback, int64."""
    contents_BP: torch.Tensor
    """Content of each of the four places, int64."""


@dataclass(frozen=True)
class Choices:
    """Edits that were chosen for B requests."""

    contents_BP: torch.Tensor
    """Index into `CONTENTS`, or `KEEP`, int64."""
    flaw_B: torch.Tensor
    """Index into `STRENGTHS`, int64."""


@dataclass(frozen=True)
class Chances:
    """Log probabilities of edits of B requests."""

    contents_BPC: torch.Tensor
    """Log probability of each content of each place, [B, 4, 50]."""
    flaw_BS: torch.Tensor
    """Log probability of each strength of the flaw, [B, 3]."""

    def log_likelihood(self, choices: Choices) -> torch.Tensor:
        """Log likelihood of one edit for each request, [B]."""
        chosen = self.contents_BPC.gather(2, choices.contents_BP.unsqueeze(2)).squeeze(2).sum(1)
        return chosen + self.flaw_BS.gather(1, choices.flaw_B.unsqueeze(1)).squeeze(1)

    def divergence(self, other: Chances) -> torch.Tensor:
        """Kullback-Leibler divergence from other chances of the same requests, nats [B]."""
        contents = self.contents_BPC.exp() * (self.contents_BPC - other.contents_BPC)
        flaws = self.flaw_BS.exp() * (self.flaw_BS - other.flaw_BS)
        return contents.sum((1, 2)) + flaws.sum(1)


class Editor(nn.Module):
    """Policy over edits: each place and the flaw are chosen independently, given what was read."""

    def __init__(self, tokenizer: Path, seed: int):
        """Make an untrained editor that reads texts with a tokenizer's file."""
        super().__init__()
        torch.manual_seed(seed)
        self.tokenizer_file = tokenizer
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.words = nn.Embedding(self.tokenizer.get_vocab_size() + 1, WIDTH)
        self.positions = nn.Parameter(torch.randn(LONGEST, WIDTH) * 0.02)
        self.sources = nn.Embedding(2, WIDTH)
        self.looks = nn.Embedding(len(CONTENTS), WIDTH)
        self.places = nn.Parameter(torch.randn(len(PLACES), WIDTH) * 0.5)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 3 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.contents = nn.Linear(WIDTH, len(CONTENTS) + 1)
        self.flaws = nn.Linear(WIDTH, len(STRENGTHS))

    def read(self, items: Sequence[EditItem], feedback: Sequence[str] | None = None) -> Asked:
        """Inputs for items, each with a text of feedback where there is any."""
        rows: list[list[int]] = []
        kinds: list[list[int]] = []
        for number, item in enumerate(items):
            asked = self.tokenizer.encode(item.instruction).ids
            told = self.tokenizer.encode(feedback[number]).ids if feedback else []
            rows.append([1 + token for token in asked + told][:LONGEST])
            kinds.append(([0] * len(asked) + [1] * len(told))[:LONGEST])
        longest = max(map(len, rows))
        pad = [[0] * (longest - len(row)) for row in rows]
        return Asked(
            torch.tensor([row + more for row, more in zip(rows, pad, strict=True)]),
            torch.tensor([row + more for row, more in zip(kinds, pad, strict=True)]),
            torch.tensor([[INDEX[item.source.look(place)] for place in range(len(PLACES))] for item in items]),
        )

    def forward(self, asked: Asked) -> Chances:
        """Chances of every edit of each request."""
        length = asked.ids_BT.shape[1]
        text = self.words(asked.ids_BT) + self.positions[:length] + self.sources(asked.feedback_BT)
        scene = self.looks(asked.contents_BP) + self.places
        hidden = torch.cat([scene, text], dim=1)
        absent = F.pad(asked.ids_BT == 0, (len(PLACES), 0))
        hidden = self.blocks(hidden, src_key_padding_mask=absent)[:, : len(PLACES)]
        return Chances(self.contents(hidden).log_softmax(-1), self.flaws(hidden.mean(1)).log_softmax(-1))

    @torch.no_grad()
    def sample(self, asked: Asked, generator: torch.Generator) -> Choices:
        """Draw one edit for each request."""
        chances = self(asked)
        batch = len(chances.contents_BPC)
        drawn = torch.multinomial(chances.contents_BPC.exp().flatten(0, 1), 1, generator=generator)
        flaws = torch.multinomial(chances.flaw_BS.exp(), 1, generator=generator)[:, 0]
        return Choices(drawn.view(batch, len(PLACES)), flaws)


def choices_of(sources: Sequence[Drawing], results: Sequence[Drawing]) -> Choices:
    """Choices that make these results of these sources; what is as before is kept."""
    contents = [
        [KEEP if (look := result.look(place)) == source.look(place) else INDEX[look] for place in range(len(PLACES))]
        for source, result in zip(sources, results, strict=True)
    ]
    flaws = [0 if result.flaw is None else STRENGTHS.index(result.flaw.strength) for result in results]
    return Choices(torch.tensor(contents), torch.tensor(flaws))


def draw_choices(sources: Sequence[Drawing], choices: Choices, rng: random.Random) -> list[Drawing]:
    """Results of choices. A shape that stays in its place, or only moves, keeps how it is drawn."""
    return [
        _draw(source, contents, strength, rng)
        for source, contents, strength in zip(
            sources, choices.contents_BP.tolist(), choices.flaw_B.tolist(), strict=True
        )
    ]


def _draw(source: Drawing, contents: Sequence[int], strength: int, rng: random.Random) -> Drawing:
    result = source
    known = {shape.look: shape for shape in source.shapes if shape is not None}
    for place, number in enumerate(contents):
        look = source.look(place) if number == KEEP else CONTENTS[number]
        if look is None:
            result = result.put(place, None)
        elif look != source.look(place):
            before = source.shapes[place]
            drawn = known.get(look) or (before or draw_shape(rng, look))._replace(look=look)
            result = result.put(place, drawn)
    name = STRENGTHS[strength]
    return result if name is None else replace(result, flaw=Flaw(rng.randrange(len(PLACES)), name, rng.getrandbits(64)))
