"""Packing for training: the runtime's, within the recipe's limits of tokens."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families import FAMILIES as EXPORT_FAMILIES
from yoj.export.families import ExportFamily
from yoj.export.prompts.language_path import with_end
from yoj.export.prompts.layout import encoder_of, render_layout
from yoj.runtime import Prepared, Request
from yoj.runtime.errors import LengthError
from yoj.runtime.families import FAMILIES
from yoj.runtime.manifest import Layout, Mode
from yoj.runtime.orders import Orders
from yoj.runtime.prepare import PackingConfig, Preparer
from yoj.runtime.script import script_of

from ._errors import RecipeError, VisionBudgetError
from ._recipe import Recipe, trained_mode

MIN_PIXELS, MAX_PIXELS = "image_min_pixels", "image_max_pixels"
"""Settings of the preprocessing of families that bound pictures by their pixels."""
HALVINGS = 3
"""Number of times that sizes are halved: crops are tried at 8, 4, 2 and 1, as in the YOJO code's collation of
samples."""


class BudgetedPreparer:
    """Preparer of samples as in the runtime, but those that are too long get smaller pictures and fewer frames.

    Crops or pixels, and frames, are halved up to `HALVINGS` times.
    """

    def __init__(self, preparer: Preparer, max_vision_tokens: int, texts: Preparer | None = None):
        """Take the runtime's preparer, and the one of texts to learn where that is another."""
        self.family, self.max_vision_tokens = preparer.family, max_vision_tokens
        self.levels = [_halve(preparer, times) for times in range(HALVINGS + 1)]
        """Preparers for each level, the runtime's first."""
        self.texts = self if texts is None else BudgetedPreparer(texts, max_vision_tokens)
        """Preparer of texts to learn: nothing is asked behind them, and a token ends them."""

    def prepare(self, request: Request, mode: Mode | None = None, orders: Orders | None = None) -> Prepared:
        """Prepare a request at the first level that keeps both limits; arguments are the runtime's.

        Raises:
            LengthError: the request has more than ``max_length`` tokens at every level.
            VisionBudgetError: the request has more than ``max_vision_tokens`` visual tokens at every level.
            RequestError: the request cannot be packed; see its subclasses.
        """
        return self.prepare_at_level(request, mode, orders)[0]

    def prepare_at_level(
        self, request: Request, mode: Mode | None = None, orders: Orders | None = None
    ) -> tuple[Prepared, int]:
        """Result of `prepare`, and the number of times that pictures and frames were halved for it."""
        error: LengthError | VisionBudgetError | None = None
        for times, level in enumerate(self.levels if script_of(request).media else self.levels[:1]):
            try:
                prepared = level.prepare(request, mode, orders)
            except LengthError as too_long:
                error = too_long
                continue
            rows = sum(medium.rows for medium in prepared.media)
            if rows <= self.max_vision_tokens:
                return prepared, times
            text = f"{rows:,} visual tokens; max_vision_tokens of the recipe is {self.max_vision_tokens:,}"
            error = VisionBudgetError(text)
        assert error is not None
        raise error


def make_preparer(checkpoint: Checkpoint, family: ExportFamily, recipe: Recipe) -> BudgetedPreparer:
    """Packing of the runtime for the model that is trained, within the recipe's limits."""
    layout: Layout = render_layout(checkpoint, recipe.layout, family.markup())
    limits = msgspec.structs.replace(family.limits, L=min(family.limits.L, recipe.max_length))
    transparency = checkpoint.training.transparency or "white"
    rules = PackingConfig(
        checkpoint.family,
        layout,
        limits,
        _preprocessing(family, recipe),
        trained_mode(recipe),
        transparency,
        head=checkpoint.head.manifest_entry(int(checkpoint.config["text_config"]["hidden_size"]), recipe.hidden_state)
        if checkpoint.head.asks
        else None,
    )
    encoder, texts = encoder_of(checkpoint), rules
    if recipe.objective == "joint":
        texts = replace(rules, head=None, layout=with_end(layout, checkpoint))
    own = Preparer(texts, encoder) if texts != rules else None
    return BudgetedPreparer(Preparer(rules, encoder), recipe.max_vision_tokens, own)


def _preprocessing(family: ExportFamily, recipe: Recipe) -> dict[str, Any]:
    """Settings of the family's preprocessing, with the recipe's limit of pixels."""
    settings, most = family.preprocessing(), recipe.max_pixels
    if most is None:
        return settings
    if MAX_PIXELS not in settings:
        raise RecipeError(
            f"max_pixels is {most:,}, but the pictures of {recipe.base} are not bounded by their pixels. Leave it out, "
            f"and set {' and '.join(family.size_settings)} in the base's processor file."
        )
    if most < (least := settings[MIN_PIXELS]):
        raise RecipeError(
            f"max_pixels is {most:,}, but the processor of {recipe.base} shows no picture with fewer than {least:,}. "
            "Give more."
        )
    return settings | {MAX_PIXELS: most}


def write_max_pixels(folder: Path, family: ExportFamily, pixels: int) -> None:
    """Write a limit of pixels into the processor file of a checkpoint, a copy of its base's.

    The setting is the one that the image processor alone reads: a video processor without a file of its own takes what
    else stands there.
    """
    part = family.processor_parts()[0]
    file = folder / part.file.name
    values = json.loads(file.read_text("utf-8"))
    (values[part.section] if part.nested else values)["max_pixels"] = pixels
    file.write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def _halve(preparer: Preparer, times: int) -> Preparer:
    """Preparer with the same tokenizer and smaller settings."""
    rules = preparer.rules
    settings = dict(rules.preprocessing)
    for name in EXPORT_FAMILIES[rules.family].size_settings:
        least = settings.get(name.replace("max", "min"), 1)
        settings[name] = max(settings[name] >> times, least)
    limits = msgspec.structs.replace(
        rules.limits, frames=max(rules.limits.frames >> times, min(rules.limits.frames, 1))
    )
    smaller = copy.copy(preparer)
    smaller.rules = replace(rules, limits=limits, preprocessing=settings)
    smaller.family = FAMILIES[rules.family](settings, preparer.packer.encoder.token_id)
    return smaller
