"""Layout of a manifest: the checkpoint's chat template as pieces. Public names are those of ``manifest``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

PieceKind = Literal["token", "text", "media", "medium", "index", "prompt"]
LayoutName = Literal["assistant", "user"]


class Piece(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of the chat template as rendered at export."""

    kind: PieceKind
    """Kind of the part. token: one special token. text: literal text. media: all images of the prompt, then its videos,
    each as one of ``Layout.one_image``, ``each_image``, ``video``. Inside those: medium, the place of the image or
    video; index, the 1-based number of the image in its row. Inside ``Dimension.asks``: prompt, the texts of the
    prompt."""
    value: str = ""
    """The special token or the literal text; empty for the other kinds."""


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """Pieces around the contents of the turns of a packed sequence."""

    before: dict[str, tuple[Piece, ...]]
    """Pieces before the content of a turn, by its role and that of the turn before: ``system``, ``user``,
    ``system>user``, ``user>assistant``, ``assistant>user``. A turn that is not listed cannot be shown."""
    after: tuple[Piece, ...]
    """Pieces after the responses."""


class Layout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Places of the responses and the pieces around them: the checkpoint's chat template, rendered once at export."""

    name: LayoutName
    """Turn of the responses. ``assistant``: they are the content of an assistant turn. ``user``: they stand in the last
    user turn, behind the prompt and ``glue``."""
    separator: str | None = None
    """Special token between two responses, ``<|resp_sep|>``; None where the model was trained on one response at a
    time, so that joint reading takes one response only."""
    separator_id: int | None = None
    glue: str
    """Text on either side of the separator, two newlines in the YOJO code."""
    text_only: Turns
    """Pieces for a request without images or video."""
    with_media: Turns
    """Pieces for a request with at least one image or video. Where a piece ``media`` stands in it, the template shows
    the media of the prompt there and nowhere else; otherwise each stands in its place among the texts of its turn."""
    one_image: tuple[Piece, ...]
    """Pieces for the image of a row that has one."""
    each_image: tuple[Piece, ...]
    """Pieces for each image of a row that has several."""
    video: tuple[Piece, ...]
    """Pieces for a video."""
    text_glue: str | None = None
    """Text between two texts of one turn; None where it is not known (bundles of schema 1)."""
    media_roles: tuple[str, ...] = ("user",)
    """Roles of the turns in which the template shows media."""
    strips_newlines: bool = False
    """Whether newlines at the end of a response are left out, as OpenRLHF does where no token closes its turn."""
    splits_responses: bool = False
    """Whether a response is encoded apart from what stands before it, as LLaMA-Factory does."""

    @property
    def gathers_media(self) -> bool:
        """Whether the template shows all media of a prompt in one place."""
        return any(piece.kind == "media" for pieces in self.with_media.before.values() for piece in pieces)

    def pieces(self) -> Iterator[Piece]:
        """Every piece of the layout."""
        for turns in (self.text_only, self.with_media):
            for pieces in (*turns.before.values(), turns.after):
                yield from pieces
        for pieces in (self.one_image, self.each_image, self.video):
            yield from pieces

    def problems(self) -> Iterator[str]:
        """Pieces that stand where they have no meaning."""
        for name, turns in (("text_only", self.text_only), ("with_media", self.with_media)):
            places = {f"before[{key!r}]": (pieces, {"media"}) for key, pieces in turns.before.items()}
            for place, (pieces, more) in (places | {"after": (turns.after, set[str]())}).items():
                yield from misplaced(f"layout.{name}.{place}", pieces, more)
        for name in ("one_image", "each_image", "video"):
            yield from misplaced(f"layout.{name}", getattr(self, name), {"medium", "index"})
            if sum(piece.kind == "medium" for piece in getattr(self, name)) > 1:
                yield f"layout.{name} shows its medium more than once"


def misplaced(place: str, pieces: Iterable[Piece], more: set[str]) -> Iterator[str]:
    """Pieces of other kinds than ``token``, ``text`` and those that have a meaning in this place."""
    wrong = sorted({piece.kind for piece in pieces} - {"token", "text"} - more)
    if wrong:
        yield f"{place} has a piece {', '.join(wrong)}, which has no meaning there"
