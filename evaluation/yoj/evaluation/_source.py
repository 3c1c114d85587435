"""Files of a benchmark: a file or folder here, or a data set of the Hugging Face hub, and the digests of its files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from yoj.runtime.bundle import sha256
from yoj.runtime.error_texts import shorten
from yoj.runtime.held import is_there
from yoj.runtime.hub import dataset_folder, is_hub_id, origin

from ._errors import EvaluationError
from ._items import Item
from ._media import media_files
from .benchmarks._base import Benchmark

LFS = b"version https://git-lfs.github.com/spec/"
"""Beginning of the few lines that git leaves in place of a large file."""


@dataclass(frozen=True)
class FileRecord:
    """Content of a file, by its digest."""

    sha256: str
    size: int
    """Size in bytes."""


@dataclass(frozen=True)
class BenchmarkFiles:
    """Files of a benchmark, as they were when it was opened."""

    path: Path
    """File or folder that is read."""
    repository: str | None
    """``org/name`` on the hub; None where the files do not come from there."""
    commit: str | None
    files: Mapping[str, FileRecord]
    """Name relative to the folder -> content."""

    @property
    def record(self) -> dict[str, Any]:
        """Values of JSON that results record, and `check_same` compares."""
        files = {name: {"sha256": file.sha256, "bytes": file.size} for name, file in self.files.items()}
        return {"repository": self.repository, "commit": self.commit, "files": files}

    def with_media(self, items: Iterable[Item]) -> BenchmarkFiles:
        """These files, and those of the pictures and videos that items read, by their names beside the first.

        Raises:
            EvaluationError: a file cannot be read or was not downloaded.
            YojError: a request cannot be one, or a folder holds no frames.
        """
        folder = self.path if self.path.is_dir() else self.path.parent
        files = dict(self.files)
        for path in dict.fromkeys(path for item in items for path in media_files(item.request)):
            # A name that is not UTF-8 has half characters, which no JSON can hold.
            name = Path(os.path.relpath(path, folder)).as_posix().encode("utf-8", "backslashreplace").decode()
            if name not in files:
                files[name] = _record(path)
        return replace(self, files=dict(sorted(files.items())))

    def check_same(self, earlier: Mapping[str, Any]) -> None:
        """Refuse to go on where an earlier run read another revision, or other files.

        Files of the hub and a copy of them in a folder here are the same.

        Args:
            earlier: `record` of that run.

        Raises:
            EvaluationError: a commit or a digest is another one, or a file is missing or was added; or ``earlier`` is
                no record.
        """
        try:
            commit, before = earlier["commit"], {name: file["sha256"] for name, file in earlier["files"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(
                f"The earlier run records its source as {shorten(repr(earlier))}, which names no commit and files. "
                "Run it again into another folder."
            ) from error
        if commit and self.commit and commit != self.commit:
            raise EvaluationError(
                f"The earlier run read {earlier.get('repository')}@{commit}, this one {self.repository}@{self.commit}. "
                "Give that revision, or run into another folder."
            )
        now = {name: file.sha256 for name, file in self.files.items()}
        differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if differing:
            name = differing[0]
            more = f", and {len(differing) - 1} more files differ" if differing[1:] else ""
            raise EvaluationError(
                f"{name} had the SHA-256 {before.get(name, 'of no file')} in the earlier run and has "
                f"{now.get(name, 'that of no file')} in this one{more}. Give the same files, or run into another "
                "folder."
            )


def open_source(given: str, benchmark: Benchmark) -> BenchmarkFiles:
    """Find the files of a benchmark, download them where a hub id is given, and compute their digests.

    Where one file is given only its digest is computed; `BenchmarkFiles.with_media` adds the pictures that it names.
    Hidden files and ``*.md`` are left out.

    Args:
        given: a file, a folder, or ``org/name@revision`` of a data set; what exists as a path is that path.
        benchmark: record of the benchmark, whose patterns are downloaded.

    Raises:
        EvaluationError: there is no such path and it is no hub id, or a file cannot be read or was not downloaded.
        HubError: the data set cannot be had, or no revision is named.
    """
    from_hub = is_hub_id(given)
    path = dataset_folder(given, benchmark.patterns)
    if not is_there(path):
        where = f", or its hub id with a revision: {benchmark.hub}@main" if benchmark.hub else ""
        raise EvaluationError(
            f"{shorten(given)} is no file or folder here. Give the file or folder of {benchmark.title}{where}."
        )
    names = {file: file.relative_to(path).as_posix() for file in _walk(path)} if path.is_dir() else {path: path.name}
    if from_hub:  # the cache may hold more of the repository than was asked for now
        names = {file: name for file, name in names.items() if any(fnmatch(name, one) for one in benchmark.patterns)}
    if not names:
        raise EvaluationError(f"The folder {path} holds no file. Give the file or folder of {benchmark.title}.")
    repository, _, commit = (origin(path) or "").partition("@")
    files = {name: _record(file) for file, name in sorted(names.items(), key=lambda item: item[1])}
    return BenchmarkFiles(path, repository or None, commit or None, files)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder, also through links, since readers follow those."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in files if not name.startswith(".") and not name.endswith(".md"))


def _record(file: Path) -> FileRecord:
    try:
        with file.open("rb") as stream:
            begin = stream.read(len(LFS))
        if begin == LFS:
            raise EvaluationError(
                f"{file} is a pointer of Git LFS to a file that was not downloaded. Fetch it with git lfs pull, or "
                "with hf download."
            )
        return FileRecord(sha256(file), file.stat().st_size)
    except OSError as error:
        raise EvaluationError(f"{file} cannot be read: {error.strerror or error}.") from error
