"""Preference data about simple shapes, in which text alone says nothing about which answer is best."""

from .answers import KINDS
from .dataset import (
    ANSWERS,
    CAPTIONS,
    FRONTS,
    MARKED,
    MARKED_FRONTS,
    Item,
    Mixture,
    ShapesConfig,
    make_caption,
    make_item,
    write_captions,
    write_items,
)
from .questions import RESPONSES

__all__ = [
    "ANSWERS",
    "CAPTIONS",
    "FRONTS",
    "KINDS",
    "MARKED",
    "MARKED_FRONTS",
    "RESPONSES",
    "Item",
    "Mixture",
    "ShapesConfig",
    "make_caption",
    "make_item",
    "write_captions",
    "write_items",
]
