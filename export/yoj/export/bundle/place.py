"""Temporary place of a bundle under construction, and its renaming to the final one."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from yoj.runtime import manifest as m
from yoj.runtime.bundle import sha256


def folder_beside(path: Path, note: Callable[[str], None]) -> Path:
    """Temporary sibling of ``path``, on the same file system; not created.

    Args:
        path: final path of the bundle.
        note: function that takes a line about what a killed run has left.
    """
    own = path.parent / f".{path.name}.{os.getpid()}.tmp"
    shutil.rmtree(own, ignore_errors=True)
    for left in sorted(path.parent.glob(f".{glob.escape(path.name)}.*.tmp")):
        note(f"{left} is of a run that was killed, or that goes on elsewhere: delete it if it was killed")
    return own


def write_manifest(folder: Path, manifest: m.Manifest, hashes: dict[str, str]) -> m.Manifest:
    """List every file of the folder, seal the manifest and write it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != m.MANIFEST_NAME)
    names = {path.relative_to(folder).as_posix(): path for path in files}
    listed = {n: m.File(bytes=p.stat().st_size, sha256=hashes.get(n) or sha256(p)) for n, p in names.items()}
    sealed = m.seal(msgspec.structs.replace(manifest, files=listed))
    (folder / m.MANIFEST_NAME).write_bytes(m.encode(sealed))
    return sealed


def put_in_place(folder: Path, out: Path) -> None:
    """Rename the new bundle to its place; an older one is removed only after the new one stands."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    if not out.exists():
        folder.rename(out)
        return
    old = out.parent / f".{out.name}.{os.getpid()}.old"
    out.rename(old)
    folder.rename(out)
    shutil.rmtree(old)
