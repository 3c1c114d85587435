"""Manifest of a run: what was scored with what, and how far each shard is."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import RequestError
from ..machine import LIBRARIES, instruction_sets, versions
from ._fingerprint import Fingerprint
from ._writing import atomically

FORMAT = 1


class ShardState(msgspec.Struct):
    """State of one shard."""

    output: str
    """File of its results, below the folder of the manifest."""
    state: Literal["waiting", "done", "failed"] = "waiting"
    """``failed``: it could not be read, or is of another form; ``reason`` says why."""
    rows: int | None = None
    scored: int = 0
    failed: int = 0
    left_out: int = 0
    """Rows that --min-margin left out, without those that failed."""
    source: Fingerprint | None = None
    output_size: int = 0
    output_sha256: str = ""
    not_read: list[str] = msgspec.field(default_factory=list[str])
    """Columns that are no part of a request."""
    damaged: int = 0
    """Damaged lines of its journal, whose rows were scored again."""
    first_error: str = ""
    ranked: int = 0
    """Scored rows with rankings that do not all tie."""
    right: int = 0
    """Rows of these whose best response is one of the best-ranked."""
    noticed: int = 0
    """Rows with notices."""
    first_notice: str = ""
    reason: str = ""

    @property
    def has_results(self) -> bool:
        """Whether any row was scored."""
        return bool(self.scored or self.left_out)


class RunManifest(msgspec.Struct):
    """Content of the manifest."""

    format: int
    bundle: str
    bundle_sha256: str
    """SHA-256 of the bundle's manifest."""
    engine: str
    precision: str
    run: str
    """Digest of all that scores depend on beside the requests, as results have it."""
    settings: dict[str, Any]
    """Settings of files that results depend on."""
    scoring: dict[str, Any]
    """Settings that scores depend on."""
    inputs: list[str]
    part: str = "1/1"
    shards: dict[str, ShardState] = msgspec.field(default_factory=dict[str, ShardState])
    """Name -> state, of the shards of this part."""
    usage: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """Rows, seconds and what else was measured, of the last start of the run."""
    versions: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    cpu: list[str] = msgspec.field(default_factory=list[str])
    """Instruction sets that matter to speed and rounding."""
    cores: int | None = None


def about_machine() -> dict[str, Any]:
    """Fields of a manifest that say where it was made."""
    found = {"python": platform.python_version()} | versions(LIBRARIES)
    return {"versions": found, "cpu": [*instruction_sets()], "cores": os.cpu_count()}


def read_manifest(file: Path) -> RunManifest:
    """Read a manifest.

    Raises:
        RequestError: the file is none, or one of a later version.
        OSError: it cannot be read.
    """
    try:
        found = msgspec.json.decode(file.read_bytes(), type=RunManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{file} is no manifest of a run: {error}. Choose another folder for the results."
        ) from error
    if found.format != FORMAT:
        raise RequestError(f"{file} is of format {found.format}; this version of yoj reads {FORMAT}. Upgrade yoj.")
    return found


def write_manifest(file: Path, manifest: RunManifest) -> None:
    """Write a manifest, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(msgspec.to_builtins(manifest), indent=1, ensure_ascii=False) + "\n"
    with atomically(file) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def check_same_run(file: Path, earlier: RunManifest, now: RunManifest, runs: Collection[str]) -> None:
    """Check that results of an earlier start compare with those of this one.

    Args:
        file: file of the earlier manifest.
        earlier: manifest of the earlier start.
        now: manifest of this start.
        runs: digests of runs whose results compare.

    Raises:
        RequestError: they do not; the text says what differs.
    """
    differ: list[str] = []
    if earlier.run not in runs:
        names: Sequence[str] = ("bundle_sha256", "engine", "precision")
        own = [(name, getattr(earlier, name), getattr(now, name)) for name in names]
        differ = [f"{name} was {before} and is {after}" for name, before, after in own if before != after]
        differ += _differences(earlier.scoring, now.scoring)
    differ += _differences(earlier.settings, now.settings)
    if differ:
        raise RequestError(
            f"{file} is of a run with other settings: {'; '.join(differ)}. Give the same ones to go on with it, or "
            "choose another folder for the results."
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted(before.keys() | now.keys())
    return [f"{n} was {before.get(n)!r} and is {now.get(n)!r}" for n in names if before.get(n) != now.get(n)]
