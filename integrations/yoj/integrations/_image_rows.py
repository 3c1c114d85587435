"""Rows of a trainer of image editors or generators: an image, its prompt, and the pictures that the prompt shows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoj.runtime import MediaError, RequestError
from yoj.runtime.error_texts import shorten

from ._generated import Generated, generated_image, generated_images
from ._identity import identity
from ._kinds import is_fields, is_list


@dataclass(frozen=True)
class ImageGroups:
    """Settings by which the rows of a call become groups: rows of one prompt and the same source pictures are one."""

    size: int | None
    """Images of a prompt, as in the trainer's settings (``sample.num_image_per_prompt`` of Flow-GRPO): each group of a
    call must be that many, or several times as many where the same row was drawn twice. None for groups of any size, of
    which a part cannot be told from a whole; it is meant for evaluation."""
    source_keys: tuple[str, ...] = ()
    """Keys of a row's metadata that hold its source pictures, in the order in which the judge shall see them: each a
    path or a picture, or a list of them. With keys ``ref_images`` are not looked at; without, these are the sources."""
    source_root: str | Path | None = None
    """Folder to which paths in the metadata are relative; None for the current one."""
    group_key: str | None = None
    """Key of a row's metadata that tells groups of one prompt and source apart; None where nothing does."""
    gather: bool = True
    """Whether groups are gathered over the ranks of ``torch.distributed``, where it is initialised. All ranks must then
    make the reward at the same place, and call it equally often."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RequestError: a setting has a value that it cannot have.
        """
        if self.size is not None and (type(self.size) is not int or self.size < 1):
            raise RequestError(f"size is {self.size!r}; give the number of images of a prompt, or None.")
        if not is_list(self.source_keys):
            raise RequestError(f"source_keys is {self.source_keys!r}; give a tuple of keys, such as ('image',).")


@dataclass(frozen=True)
class ImageRow:
    """One image of a trainer, and what it answers."""

    prompt: str
    sources: tuple[Any, ...]
    """Pictures that stand before the prompt."""
    image: Generated
    digest: bytes
    """Hash of what all rows of a group have in common."""


def read_rows(
    images: Any, prompts: Sequence[str], metadata: Any, ref_images: Any, groups: ImageGroups
) -> list[ImageRow]:
    """Read the rows of one call.

    Args:
        images: images, one a row; see `generated_images`.
        prompts: prompt of each row.
        metadata: mapping of each row; None or empty where nothing is read from it.
        ref_images: source picture of each row, or a list of them, or None; None for rows without.
        groups: settings.

    Raises:
        RequestError: the columns are not of one length, or a value of a row cannot be read; the row is named.
        MediaError: a source picture cannot be compared with those of other rows.
    """
    found = generated_images(images, "images")
    rows = len(found)
    if isinstance(prompts, str) or len(prompts) != rows:
        raise RequestError(f"There are {rows} images and {len(prompts)} prompts; give a prompt for each image.")
    fields = _metadata(metadata, rows)
    if groups.source_keys:
        sources = [_named(one, row, groups) for row, one in enumerate(fields)]
    else:
        sources = _references(ref_images, rows)
    return [
        ImageRow(prompt, shown, image, _digest(row, prompt, shown, groups, one))
        for row, (prompt, shown, image, one) in enumerate(zip(prompts, sources, found, fields, strict=True))
    ]


def _metadata(metadata: Any, rows: int) -> list[Mapping[str, Any]]:
    if metadata is None or (is_fields(metadata) and not metadata):  # Flow-GRPO itself gives {} where there is none
        return [{}] * rows
    if not is_list(metadata) or len(metadata) != rows:
        what = f"{len(metadata)} entries" if is_list(metadata) else f"the type {type(metadata).__name__}"
        raise RequestError(f"metadata has {what}; there are {rows} images: give a list of one mapping for each.")
    for row, one in enumerate(metadata):
        if not is_fields(one):
            raise RequestError(f"metadata[{row}] is {shorten(repr(one), 80)}; give a mapping.")
    return list(metadata)


def _named(fields: Mapping[str, Any], row: int, groups: ImageGroups) -> tuple[Any, ...]:
    """Source pictures that the metadata of a row names."""
    found: list[Any] = []
    for key in groups.source_keys:
        value = fields.get(key)
        if value is None:
            keys = ", ".join(sorted(map(str, fields))) or "nothing"
            raise RequestError(f"metadata[{row}] has no {key!r}, of source_keys; it has {keys}.")
        found += [_placed(one, groups.source_root) for one in (value if is_list(value) else [value])]
    return tuple(_readable(one, f"metadata[{row}]") for one in found)


def _placed(source: Any, root: str | Path | None) -> Any:
    """Source with its path under the root; a path that is absolute stays."""
    return Path(root or "") / source if isinstance(source, str | os.PathLike) else source


def _references(ref_images: Any, rows: int) -> list[tuple[Any, ...]]:
    if ref_images is None:
        return [()] * rows
    if not is_list(ref_images):
        ref_images = generated_images(ref_images, "ref_images")
    if len(ref_images) != rows:
        raise RequestError(f"There are {rows} images and {len(ref_images)} ref_images; give one for each image.")
    return [
        tuple(_readable(one, f"ref_images[{row}]") for one in (shown if is_list(shown) else [shown]) if one is not None)
        for row, shown in enumerate(ref_images)
    ]


def _readable(source: Any, name: str) -> Any:
    """Source picture in a form that a request takes.

    Raises:
        RequestError: it is none, or has numbers that are not finite.
    """
    found = generated_image(source, name)
    if isinstance(found, MediaError):
        raise RequestError(str(found))
    return found


def _digest(row: int, prompt: object, shown: Sequence[Any], groups: ImageGroups, fields: Mapping[str, Any]) -> bytes:
    if not isinstance(prompt, str):
        raise RequestError(f"prompts[{row}] is {shorten(repr(prompt), 80)}; give a text.")
    if groups.group_key is not None and groups.group_key not in fields:
        raise RequestError(
            f"metadata[{row}] has no {groups.group_key!r}, of group_key; give it, or leave group_key out."
        )
    return identity((prompt, shown, None if groups.group_key is None else fields[groups.group_key]))[0]
