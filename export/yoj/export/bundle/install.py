"""Adding files to an existing bundle: it is whole at every moment, and as it was where anything goes wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from yoj.runtime import manifest as m
from yoj.runtime.bundle import Bundle, sha256
from yoj.runtime.errors import BundleError
from yoj.runtime.version import __version__

REPLACED = ".replaced"
"""Folder, inside that of the new files, where the old files wait until the new manifest stands."""


def check_rewritable(path: Path) -> None:
    """Refuse to change a bundle whose manifest this yoj cannot write again without losing something.

    Args:
        path: folder of a bundle that was opened.

    Raises:
        BundleError: the manifest has fields that only a newer yoj knows; all are named.
    """
    file = path / m.MANIFEST_NAME
    if unknown := m.unknown_fields(file.read_bytes(), str(file)):
        raise BundleError(
            f"{file} was written by a newer yoj and has fields that this one, {__version__}, would lose: "
            f"{', '.join(unknown)}. Upgrade yoj to change the bundle; to score with it needs no upgrade."
        )


def install(path: Path, folder: Path, change: Callable[[m.Manifest], m.Manifest]) -> m.Manifest:
    """Move files in, replace the manifest at once, and only then remove the files that it no longer lists.

    A listed file cannot be replaced together with its hash in one step. Where new files take the names of old ones,
    the manifest first leaves those names out: a kill at any moment leaves a bundle that opens and scores as before,
    and at worst does not list files that nothing is computed from. Never replace a graph, weights or the tokenizer so.

    Args:
        path: folder of the bundle.
        folder: folder on the same file system with the new files under their paths in the bundle. It stays.
        change: function from the present manifest to the new one. Files of the old one that are missing in the
            new one are removed; those of ``folder`` are added here. May raise.

    Returns:
        New manifest, sealed.

    Raises:
        BundleError: the bundle was changed or damaged meanwhile; or see `check_rewritable`.
        OSError: a file cannot be written or moved. The bundle is as it was.
    """
    files = {f.relative_to(folder).as_posix(): f for f in sorted(folder.rglob("*")) if f.is_file()}
    listed = {name: m.File(bytes=file.stat().st_size, sha256=sha256(file)) for name, file in files.items()}
    # What others added to the bundle since it was opened stays.
    changed = change(manifest := Bundle.open(path).manifest)
    check_rewritable(path)
    old = manifest.files.keys() - changed.files.keys() - listed.keys()
    sealed = m.seal(msgspec.structs.replace(changed, files=changed.files | listed))
    replaced = [name for name in files if name in manifest.files and manifest.files[name] != listed[name]]
    undo: list[Callable[[], object]] = []
    try:
        if replaced:
            kept = {name: file for name, file in manifest.files.items() if name not in replaced}
            undo.append(_set_aside(path / m.MANIFEST_NAME, folder / REPLACED / m.MANIFEST_NAME))
            _put_manifest(path, folder, m.seal(msgspec.structs.replace(manifest, files=kept)))
        for name in replaced:
            undo.append(_set_aside(path / name, folder / REPLACED / name))
        for name, file in files.items():
            _to_disk(file)
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if name not in manifest.files:
                undo.append(lambda there=path / name: there.unlink(missing_ok=True))
            os.replace(file, path / name)
        _put_manifest(path, folder, sealed)
    except BaseException:
        for step in reversed(undo):
            step()
        raise
    for name in old:
        (path / name).unlink(missing_ok=True)
    return sealed


def _put_manifest(path: Path, folder: Path, manifest: m.Manifest) -> None:
    written = folder / m.MANIFEST_NAME
    written.write_bytes(m.encode(manifest))
    _to_disk(written)
    os.replace(written, path / m.MANIFEST_NAME)


def _set_aside(file: Path, spare: Path) -> Callable[[], object]:
    """Keep a second name of a file, and return a function that puts the file back."""
    spare.parent.mkdir(parents=True, exist_ok=True)
    try:
        spare.hardlink_to(file)
    except OSError:  # a file system without hard links
        spare.write_bytes(file.read_bytes())
    return lambda: os.replace(spare, file)


def _to_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
