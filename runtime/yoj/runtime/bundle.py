"""A bundle on disk: found, complete and unchanged before anything in it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError, EngineError
from .log import logger
from .manifest import MANIFEST_NAME, Engine, Manifest, decode

TOKENIZER_NAME = "tokenizer.json"
PLANS = "engines/"
"""Beginning of the paths of plans, which are added to a bundle later and can be built again."""


@dataclass(frozen=True)
class Bundle:
    """A folder whose files, but for plans, are all there and have the hashes that its manifest gives.

    Plans are checked when they are to be loaded: one that is damaged does not keep the other engines from scoring.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read the manifest and check the size and SHA-256 of every file but plans before any is deserialised.

        Raises:
            BundleError: no bundle at ``path``, a damaged manifest, files missing or changed (all are named).
        """
        path = Path(path)
        manifest_file = path / MANIFEST_NAME
        if not manifest_file.is_file():
            raise BundleError(f"{path} is not a bundle: there is no {MANIFEST_NAME} in it. Make one with yoj-export.")
        manifest = decode(manifest_file.read_bytes(), str(manifest_file))
        problems = cls(path, manifest).problems(name for name in manifest.files if not name.startswith(PLANS))
        used = {graph.file for engine in manifest.engines for graph in engine.graphs.values()} | {TOKENIZER_NAME}
        problems += [f"{name}: used, but not listed with a hash" for name in sorted(used - manifest.files.keys())]
        if problems:
            raise BundleError(
                f"{path} is not as it was exported, and is refused:\n  "
                + "\n  ".join(problems)
                + "\nCopy the bundle again or export it again."
            )
        entries = ", ".join(f"{entry.engine} {entry.precision}" for entry in manifest.engines)
        logger().info("opened bundle %s: %s with %s, digest %s", path, manifest.family, entries, manifest.digest[:12])
        return cls(path, manifest)

    def problems(self, names: Iterable[str]) -> list[str]:
        """What is wrong with these files: missing, or not of the size and SHA-256 that the manifest gives."""
        return [problem for name in names if (problem := _check(self.path, name, self.manifest))]

    def engine(self, engine: str | None = None, precision: str | None = None) -> Engine:
        """The first engine of the manifest that has this name and precision (None: any).

        Raises:
            EngineError: the bundle holds none; the text lists those it holds.
        """
        for candidate in self.manifest.engines:
            if engine in (None, candidate.engine) and precision in (None, candidate.precision):
                return candidate
        held = ", ".join(
            f"{e.engine} {e.precision}{f' for {e.plans.target}' if e.plans else ''}" for e in self.manifest.engines
        )
        wanted = " in ".join(f"{word!r}" for word in (engine, precision) if word is not None)
        plans = engine in ("tensorrt", "tensorrt-rtx")
        hint = f" Build plans with yoj-export compile {self.path} --engine {engine}." if plans else ""
        raise EngineError(f"{self.path} holds no engine {wanted}; it holds: {held}.{hint}")


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(bundle: Path, name: str, manifest: Manifest) -> str | None:
    expected, file = manifest.files[name], bundle / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return f"{name}: a path that leaves the bundle"
    if not file.is_file():
        return f"{name}: missing"
    if file.stat().st_size != expected.bytes:
        return f"{name}: {file.stat().st_size} bytes instead of {expected.bytes}"
    if sha256(file) != expected.sha256:
        return f"{name}: its content changed (SHA-256 differs from the manifest)"
    return None
