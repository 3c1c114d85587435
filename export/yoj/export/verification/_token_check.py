"""Comparison of the rows of a bundle with what the checkpoint's own chat template and tokenizer make of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from yoj.runtime import Request, Scorer
from yoj.runtime.dimensions import asks_of
from yoj.runtime.manifest import LayoutName, Piece
from yoj.runtime.prepare import Preparer, packing_config
from yoj.runtime.script import Script, script_of

from ..checkpoint.checkpoint import Checkpoint
from ..prompts._chat_template import ChatTemplate, MediaMarkup, template_ids
from ..prompts.layout import encoder_of


class TokenCheck:
    """Check of the rows of one bundle."""

    def __init__(self, scorer: Scorer, checkpoint: Checkpoint, markup: MediaMarkup):
        self._scorer, self._markup, self._template = scorer, markup, ChatTemplate(checkpoint)
        manifest = scorer.manifest
        self._layout: LayoutName = manifest.layout.name
        self._asks = asks_of(manifest.value_head).rows
        self._unshown: tuple[Preparer, Preparer] | None = None
        """Preparers with the checkpoint's tokenizer, with and without what is asked behind responses."""
        asks = any(self._asks)
        if (asks and manifest.layout.separator is not None) or (manifest.response_images and not asks):
            rules = replace(packing_config(manifest), response_images=None)
            encoder = encoder_of(checkpoint)
            self._unshown = Preparer(rules, encoder), Preparer(replace(rules, head=None), encoder)

    def same(self, request: Request) -> bool:
        """Whether the rows of a request are those of the template and the tokenizer.

        No template has a place for pictures in the assistant turn, nor for questions between responses. Rows that have
        some are compared with those of the checkpoint's tokenizer, and these with the template where texts stand in the
        stead of pictures and nothing is asked.
        """
        if self._unshown is None:
            return self._as_rendered(request, self._scorer, self._asks)
        asking, plain = self._unshown
        rows, others = (one.prepare(request, "joint").packs for one in (self._scorer, asking))
        if not all(np.array_equal(a.input_ids_L, b.input_ids_L) for a, b in zip(rows, others, strict=True)):
            return False
        texts = [f"Picture {number}." for number in range(len(request.responses))]
        return self._as_rendered(replace(request, responses=texts), plain, ((),))

    def _as_rendered(self, request: Request, preparer: Any, asks: Sequence[Sequence[Piece]]) -> bool:
        prepared, script = preparer.prepare(request, "joint"), script_of(request)
        spans = [medium.spans for medium in prepared.media]
        return all(
            template_ids(self._template, self._markup, self._layout, _asked(script, ask), spans)
            == pack.input_ids_L.tolist()
            for ask, pack in zip(asks, prepared.packs, strict=True)
        )


def _asked(script: Script, ask: Sequence[Piece]) -> Script:
    """Script whose user turn ends with the response and its question, as a text that a tokenizer reads alike."""
    if not ask:
        return script
    *before, last = script.turns
    texts = "".join(part for part in last.parts if isinstance(part, str))
    question = "".join(texts if piece.kind == "prompt" else piece.value for piece in ask)
    quoted = any(piece.kind == "prompt" for piece in ask)
    kept = tuple(part for part in last.parts if isinstance(part, int) or not quoted)
    return replace(
        script, turns=(*before, replace(last, parts=(*kept, *script.responses[0], question))), responses=(("",),)
    )
