"""Places of a run's files: results, journals, manifest."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .._file_options import SUFFIXES, FileOptions, Format, suffix_of
from .._results_file import open_locked
from ..errors import RequestError
from ._shards import FoundShards, Shard, output_name


@dataclass(frozen=True)
class Place:
    """Folder of the results, or one file of them."""

    folder: Path
    file: str | None
    """Name of the one file of results; None for names like those of the shards."""
    options: FileOptions

    @property
    def manifest(self) -> Path:
        """File of the manifest of this part of the run."""
        if self.file is not None:
            return self.folder / f"{self.file}.run.json"
        part = self.options.part
        return self.folder / ("run.json" if part is None else f"run-{part[0]}-of-{part[1]}.json")

    def manifests(self) -> list[Path]:
        """Manifests of all parts that are there."""
        if self.file is not None:
            return [self.manifest] if self.manifest.exists() else []
        return sorted([*self.folder.glob("run.json"), *self.folder.glob("run-*-of-*.json")])

    def output(self, shard: Shard) -> str:
        """Name of the results of a shard, below the folder."""
        return self.file or output_name(shard, self.options.format)

    def format(self, shard: Shard) -> Format:
        """Format of the results of a shard."""
        by_name = SUFFIXES.get(suffix_of(Path(self.file))) if self.file is not None else None
        return self.options.format or by_name or shard.format

    def journal(self, shard: Shard) -> Path:
        """File of the journal of a shard."""
        output = self.folder / self.output(shard)
        return output.with_name(f".{output.name}.journal")

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep other processes from this part of the run.

        Raises:
            RequestError: another process is at it.
        """
        file = self.manifest.with_name(f".{self.manifest.name}.lock")
        with open_locked(file):
            try:
                yield
            finally:
                file.unlink(missing_ok=True)


def make_place(out: str | None, inputs: Sequence[str], found: FoundShards, options: FileOptions) -> Place:
    """Choose and make the folder of the results.

    Args:
        out: --out; with a slash at its end it is a folder, which may not be there yet.
        inputs: inputs as they were given.
        found: shards of the inputs.
        options: options of files.

    Raises:
        RequestError: results would stand on or among the requests, or --out is no folder.
    """
    if out is None:
        raise RequestError("Give --out: a folder for the results of these inputs, or a file where there is one file.")
    path = Path(out)
    one = found.one_file and not path.is_dir() and not out.endswith(("/", os.sep))
    if not one and path.exists() and not path.is_dir():
        raise RequestError(f"--out {out} is a file. Results of several shards need a folder: choose another name.")
    folders = [given for given in inputs if os.path.isdir(given)]
    around = next((folder for folder in folders if path.resolve().is_relative_to(Path(folder).resolve())), None)
    if around is not None:
        raise RequestError(
            f"--out {out} lies in {around}, whose shards are scored, and results would be taken for shards the next "
            "time. Choose a folder beside it."
        )
    if any(not os.path.exists(given) for given in inputs):  # patterns, which may match what is written there
        among = next((shard for shard in found.shards if shard.path.resolve().is_relative_to(path.resolve())), None)
        if among is not None:
            raise RequestError(
                f"--out {out} holds {among.path}, which a pattern names, so that results would be taken for shards. "
                "Choose a folder beside the inputs."
            )
    if one and path.suffix and not suffix_of(path) and options.format is None:
        raise RequestError(
            f"--out {out} has the name of no format that is written: {', '.join(SUFFIXES)}. Change the name, or give "
            "--format."
        )
    told = SUFFIXES.get(suffix_of(path)) if one else None
    if told is not None and options.format not in (None, told):
        raise RequestError(
            f"--out {out} has the name of {told}, and --format says {options.format}. Change one of them."
        )
    place = Place(path.parent if one else path, path.name if one else None, options)
    _check_apart(place, found.shards)
    place.folder.mkdir(parents=True, exist_ok=True)
    return place


def _check_apart(place: Place, shards: Sequence[Shard]) -> None:
    names: dict[str, Shard] = {}
    for shard in shards:
        output = place.folder / place.output(shard)
        if output.exists() and output.samefile(shard.path):
            raise RequestError(f"--out: {output} is the requests themselves. Choose another place for the results.")
        if (other := names.setdefault(place.output(shard), shard)) is not shard:
            raise RequestError(
                f"Results of {other.path} and {shard.path} would both be {output}. Score them into different folders."
            )
