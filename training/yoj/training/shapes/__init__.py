"""Preference data about simple shapes, in which text alone says nothing about which answer is best."""

from yoj.training.shapes.answers import KINDS
from yoj.training.shapes.dataset import Item, Recipe, make_caption, make_item, write_captions, write_items
from yoj.training.shapes.questions import RESPONSES

__all__ = ["KINDS", "RESPONSES", "Item", "Recipe", "make_caption", "make_item", "write_captions", "write_items"]
