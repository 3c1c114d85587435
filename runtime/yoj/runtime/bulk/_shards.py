"""Shards of the input: files, folders and patterns -> a sorted list, the same on every machine."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._file_options import PARQUET, SUFFIXES, Format, suffix_of
from ..errors import RequestError
from ..lines import GZIP, is_zstd

PLAIN: Format = "jsonl"
IN_FOLDERS = [suffix for suffix in SUFFIXES if suffix != ".json"]
"""Ends of the names of shards in a folder, where a plain ``.json`` is most often something else."""


class ShardError(RequestError):
    """Shard that cannot be read, or is of another form than the others. The other shards are scored."""


@dataclass(frozen=True)
class Shard:
    """One file of the input."""

    name: str
    """Path below the input that named it, with slashes."""
    path: Path
    format: Format
    """Format by its first bytes; by its name where it cannot be read, is empty, or is called a Parquet file."""


@dataclass(frozen=True)
class FoundShards:
    """Shards of the inputs."""

    shards: list[Shard]
    """Shards in the order of their names."""
    one_file: bool
    """Whether the input is one file that was named itself."""
    passed_over: list[str]
    """Files of folders that are no shards by their names, and links to folders."""


def find_shards(inputs: Sequence[str]) -> FoundShards:
    """Find the shards of files, folders and patterns.

    Raises:
        RequestError: an input is not there or holds no shard, or two shards are one file or have one name.
    """
    shards: list[Shard] = []
    passed_over: list[str] = []
    for given in inputs:
        if given == "-":
            raise RequestError("Standard input (-) is JSON lines alone, without other inputs or options of files.")
        found = [(path, root) for path, root, wanted in _of_input(Path(given)) if wanted]
        passed_over += sorted(str(path) for path, _, wanted in _of_input(Path(given)) if not wanted)
        if not found:
            ends = ", ".join(IN_FOLDERS)
            there = os.path.isdir(given) or passed_over
            raise RequestError(
                f"{given} holds no file that ends in {ends}." if there else f"{given} is no file, and none is like it."
            )
        if (other := next((path for path, _ in found if not path.is_file()), None)) is not None:
            gone = other.is_symlink() and not other.exists()
            why = "is a link to a file that is not there" if gone else "is no plain file; shards are read several times"
            raise RequestError(f"{other} {why}. {'Remove it' if gone else 'Write it to a file'}.")
        shards += [Shard(path.relative_to(root).as_posix(), path, _format_of(path)) for path, root in found]
    _check_names(shards)
    one_file = len(inputs) == 1 and os.path.isfile(inputs[0])
    return FoundShards(sorted(shards, key=lambda shard: shard.name), one_file, passed_over)


def output_name(shard: Shard, written: Format | None) -> str:
    """Name of a shard's results; None for its own format. The end of the name stays where it says that format."""
    written, suffix = written or shard.format, suffix_of(Path(shard.name))
    if suffix and SUFFIXES[suffix] == written:
        return shard.name
    return f"{shard.name[: len(shard.name) - len(suffix)]}.{written}"


def _format_of(path: Path) -> Format:
    try:
        with path.open("rb") as stream:
            begin = stream.read(len(PARQUET))
    except OSError:
        return SUFFIXES.get(suffix_of(path), PLAIN)
    named = SUFFIXES.get(suffix_of(path), PLAIN)
    if begin == PARQUET or named == "parquet" or not begin:
        return "parquet" if begin == PARQUET else named
    return "jsonl.gz" if begin.startswith(GZIP) else "jsonl.zst" if is_zstd(begin) else PLAIN


def _of_input(given: Path) -> Iterator[tuple[Path, Path, bool]]:
    """Files of an input: path, folder that names begin in, and whether the file is a shard by its name."""
    if given.is_dir():
        yield from _below(given, given)
    elif given.exists():
        yield given, given.parent, True
    else:
        root = _plain_beginning(given)
        for one in map(Path, sorted(glob.glob(str(given), recursive=True))):
            if not one.is_dir():
                asked = one.suffix != "" and one.suffix == given.suffix
                yield one, root, asked or suffix_of(one) in IN_FOLDERS
            elif given.name != "**":  # which names the files of all folders itself
                yield from _below(one, root)


def _below(folder: Path, root: Path) -> Iterator[tuple[Path, Path, bool]]:
    """Files of a folder and of those in it. Names with a dot or an underscore first are of tools, not of shards."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        for name in folders:
            if Path(where, name).is_symlink():  # which may lead anywhere, back here too
                yield Path(where, name), root, False
        for name in sorted(files):
            if name[0] not in "._":
                yield Path(where, name), root, suffix_of(Path(name)) in IN_FOLDERS


def _plain_beginning(pattern: Path) -> Path:
    """Folder with which a pattern begins, up to the first part that has a sign of patterns."""
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _check_names(shards: Sequence[Shard]) -> None:
    paths: dict[str, Shard] = {}
    names: dict[str, Shard] = {}
    for shard in shards:
        if (other := paths.setdefault(os.path.realpath(shard.path), shard)) is not shard:
            also = "" if other.path == shard.path else f", as {other.path} too"
            raise RequestError(f"{shard.path} is given twice{also}. Leave one of the inputs or links that hold it out.")
        if (other := names.setdefault(shard.name, shard)) is not shard:
            raise RequestError(
                f"{other.path} and {shard.path} are both called {shard.name} here, and so would their results be. Give "
                "the folder that holds both, or score them into different folders."
            )
