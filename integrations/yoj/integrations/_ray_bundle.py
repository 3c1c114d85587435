"""Bundle that travels over Ray's object store, to each node once."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yoj.runtime import BundleError
from yoj.runtime.bundle import Bundle

PIECE_BYTES = 64 * 2**20
"""Bytes of one object in the store."""


@dataclass(frozen=True)
class ShippedFile:
    """File of a bundle in the object store."""

    size: int
    pieces: Sequence[Any] = field(repr=False)
    """References to arrays of its bytes, in order."""


@dataclass(frozen=True)
class ShippedBundle:
    """Bundle in the object store, for as long as the process that put it there lives."""

    digest: str
    """Digest of its manifest."""
    files: Mapping[str, ShippedFile] = field(repr=False, hash=False)
    """Path in the bundle -> content."""


def ship_bundle(path: str | Path) -> ShippedBundle:
    """Put a bundle of this machine into the object store, from which each node takes it when it first needs it.

    The store of this node must hold all of it, in memory or spilt to its disk. A bundle that every node finds itself,
    in a shared folder or by its name on the Hugging Face hub, need not be shipped.

    Args:
        path: the bundle's folder.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
    """
    ray: Any = importlib.import_module("ray")  # no part of yoj needs it
    folder = Path(path)
    digest = Bundle.open(folder).manifest.digest
    files: dict[str, ShippedFile] = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        size = file.stat().st_size
        pieces = [
            ray.put(np.fromfile(file, np.uint8, PIECE_BYTES, offset=begin)) for begin in range(0, size, PIECE_BYTES)
        ]
        files[file.relative_to(folder).as_posix()] = ShippedFile(size, pieces)
    return ShippedBundle(digest, files)


def local_bundle(bundle: str | Path | ShippedBundle) -> str | Path:
    """Path of a bundle on this node. One that was shipped is copied from the object store by who comes first.

    Args:
        bundle: a path or a name on the hub, which stay what they are, or a shipped bundle.

    Raises:
        BundleError: it could not be copied, for want of room.
    """
    if not isinstance(bundle, ShippedBundle):
        return bundle
    from filelock import FileLock

    out = node_folder() / f"{bundle.digest}.yoj"
    with FileLock(f"{out}.lock"):
        # Who cleans temporary folders may have taken files; the hashes are checked when the bundle is opened.
        if not all(_is_whole(out / name, file) for name, file in bundle.files.items()):
            _copy(bundle, out)
    return out


def node_folder() -> Path:
    """Folder of this node's copies and notes, for this user alone: ``yoj-UID`` where temporary files are (TMPDIR)."""
    folder = Path(tempfile.gettempdir()) / f"yoj-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _is_whole(path: Path, file: ShippedFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def _copy(bundle: ShippedBundle, out: Path) -> None:
    part = out.with_suffix(".part")
    for old in (part, out):  # a copy that was interrupted, or has lost files
        shutil.rmtree(old, ignore_errors=True)
    try:
        for name, file in bundle.files.items():
            _write(part / name, file)
        part.rename(out)
    except OSError as error:
        size = sum(file.size for file in bundle.files.values())
        raise BundleError(
            f"The shipped bundle of {size:,} bytes could not be written to {out}: {error}. Make room there, or let "
            "TMPDIR of Ray's workers name another folder."
        ) from error


def _write(path: Path, file: ShippedFile) -> None:
    ray: Any = importlib.import_module("ray")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for piece in file.pieces:
            stream.write(ray.get(piece))
