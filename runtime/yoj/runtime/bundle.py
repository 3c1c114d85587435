"""A bundle on disk: found, complete and unchanged before anything in it is used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError, EngineError
from .manifest import MANIFEST_NAME, Engine, Manifest, decode

TOKENIZER_NAME = "tokenizer.json"


@dataclass(frozen=True)
class Bundle:
    """A folder whose files are all there and have the hashes that its manifest gives."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read the manifest and check the size and SHA-256 of every file before any is deserialised.

        Raises:
            BundleError: no bundle at ``path``, a damaged manifest, files missing or changed (all are named).
        """
        path = Path(path)
        manifest_file = path / MANIFEST_NAME
        if not manifest_file.is_file():
            raise BundleError(f"{path} is not a bundle: there is no {MANIFEST_NAME} in it. Make one with yoj-export.")
        manifest = decode(manifest_file.read_bytes(), str(manifest_file))
        problems = [problem for name in manifest.files if (problem := _check(path, name, manifest))]
        used = {graph.file for engine in manifest.engines for graph in engine.graphs.values()} | {TOKENIZER_NAME}
        problems += [f"{name}: used, but not listed with a hash" for name in sorted(used - manifest.files.keys())]
        if problems:
            raise BundleError(
                f"{path} is not as it was exported, and is refused:\n  "
                + "\n  ".join(problems)
                + "\nCopy the bundle again or export it again."
            )
        return cls(path, manifest)

    def engine(self, engine: str | None = None, precision: str | None = None) -> Engine:
        """The first engine of the manifest that has this name and precision (None: any).

        Raises:
            EngineError: the bundle holds none; the text lists those it holds.
        """
        for candidate in self.manifest.engines:
            if engine in (None, candidate.engine) and precision in (None, candidate.precision):
                return candidate
        held = ", ".join(f"{e.engine} {e.precision}" for e in self.manifest.engines)
        raise EngineError(
            f"{self.path} holds no engine {engine or '(any)'} of precision {precision or '(any)'}; it holds: {held}."
        )


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
