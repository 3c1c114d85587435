"""Page of judgements: one HTML file that loads nothing, for people to look at."""

from ._document import check_place
from ._item import PageItem
from ._write import FilePage, fields_of, write_one

__all__ = ["FilePage", "PageItem", "check_place", "fields_of", "write_one"]
