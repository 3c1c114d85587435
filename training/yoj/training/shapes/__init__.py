"""Preference data about simple shapes, in which text alone says nothing about which answer is best."""

from .answers import KINDS
from .dataset import (
    ANSWERS,
    CAPTIONS,
    MARKED,
    Item,
    Mixture,
    Recipe,
    make_caption,
    make_item,
    write_captions,
    write_items,
)
from .questions import RESPONSES

__all__ = [
    "ANSWERS",
    "CAPTIONS",
    "KINDS",
    "MARKED",
    "RESPONSES",
    "Item",
    "Mixture",
    "Recipe",
    "make_caption",
    "make_item",
    "write_captions",
    "write_items",
]
