"""Bundle on disk: found, complete, and unchanged before anything is scored with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from ._log import logger
from .errors import BundleError, EngineError
from .held import HeldFile, HeldFiles, is_there
from .manifest import MANIFEST_NAME, EngineEntry, Manifest, decode

TOKENIZER_NAME = "tokenizer.json"
WEIGHTS = "onnx/weights.data"
"""Weight file, which no library parses: numbers one after the other, at offsets that the graphs give."""
PLANS = "engines/"
"""Beginning of the paths of TensorRT plans, which are added to a bundle later and can be built again."""


@dataclass(frozen=True)
class Bundle:
    """Folder whose files, TensorRT plans apart, are all there and have the hashes that its manifest gives.

    Plans are checked when they are to be loaded: one that is damaged does not keep the other engines from scoring.
    """

    path: Path
    manifest: Manifest
    files: HeldFiles
    """Files of the bundle, opened once: a bundle that is replaced meanwhile stays the same for whoever holds this
    object."""

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read the manifest and check the size and SHA-256 of every file but plans before any is deserialised.

        Raises:
            BundleError: no bundle at ``path``, a damaged manifest, files missing or changed (all are named).
        """
        with cls.opening(path) as bundle:
            return bundle

    @classmethod
    @contextlib.contextmanager
    def opening(cls, path: str | Path) -> Generator[Bundle, None, None]:
        """Open a bundle as `open` does, but take the SHA-256 of the weights while the block runs, beside other work.

        Inside the block every other file is known to be unchanged, and the weights to be of the right size. What was
        made of them may be used after the block alone, which raises where they were changed.

        Raises:
            BundleError: as from `open`, at the beginning or at the end of the block.
        """
        path = Path(path)
        manifest_file = path / MANIFEST_NAME
        if not is_there(path):
            raise BundleError(
                f"{path} is not a bundle: nothing of that name is here. Give the folder of a bundle, which "
                "yoj-export makes, or org/name@revision of the Hugging Face hub."
            )
        if not manifest_file.is_file():
            raise BundleError(f"{path} is not a bundle: there is no {MANIFEST_NAME} in it. Make one with yoj-export.")
        manifest = decode(manifest_file.read_bytes(), str(manifest_file))
        bundle = cls(path, manifest, HeldFiles(path.resolve()))
        # Brings `logging` with it, which a program that only imports the runtime need not load.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, "hash") as hashing:
            weights = hashing.submit(bundle.problems, manifest.files.keys() & {WEIGHTS})
            problems = bundle.problems(n for n in manifest.files if n != WEIGHTS and not n.startswith(PLANS))
            unlisted = bundle.used() - manifest.files.keys()
            problems += [f"{name}: used, but not listed with a hash" for name in sorted(unlisted)]
            if problems or _misfit(bundle, WEIGHTS):
                raise _refusal(path, problems + weights.result())
            try:
                yield bundle
            finally:  # whatever else failed, changed weights may be why
                if problems := weights.result():
                    raise _refusal(path, problems)
        entries = ", ".join(f"{entry.engine} {entry.precision}" for entry in manifest.engines)
        logger().info("opened bundle %s: %s with %s, digest %s", path, manifest.family, entries, manifest.digest[:12])

    def problems(self, names: Iterable[str]) -> list[str]:
        """Faults of these files: missing, or not of the size and SHA-256 that the manifest gives."""
        return [problem for name in names if (problem := _check(self, name))]

    def check_unwritten(self) -> None:
        """Refuse to go on where open files were written into instead of being replaced.

        Raises:
            BundleError: files were written into; all are named.
        """
        if changed := self.files.changed():
            raise BundleError(
                f"{self.path}: {', '.join(changed)} was written into while the bundle was open, so what it scores is "
                "no longer what was checked. Load it again with Scorer.load; put a new bundle in place by renaming "
                "its folder, not by copying over the old one."
            )

    def used(self) -> set[str]:
        """Paths of the graphs, TensorRT plans and the tokenizer, none of which may be missing."""
        graphs = [graph for engine in self.manifest.engines for graph in engine.graphs.values()]
        again = {graph.unsigned.file for graph in graphs if graph.unsigned}
        return {graph.file for graph in graphs} | again | {TOKENIZER_NAME}

    def engine(self, engine: str | None = None, precision: str | None = None) -> EngineEntry:
        """Find the first engine of the manifest with this name and precision (None: any).

        Raises:
            EngineError: the bundle holds none; the text lists those that it holds.
        """
        for candidate in self.manifest.engines:
            if engine in (None, candidate.engine) and precision in (None, candidate.precision):
                return candidate
        from .engines import plan_engines  # engines open bundles, and import this module

        held = ", ".join(
            f"{e.engine} {e.precision}{f' for {e.plans.target}' if e.plans else ''}" for e in self.manifest.engines
        )
        wanted = " in ".join(f"{word!r}" for word in (engine, precision) if word is not None)
        build = f"yoj-export compile {self.path} --engine {engine}"
        hint = f" Build plans with {build}." if engine in plan_engines() else ""
        raise EngineError(f"{self.path} holds no engine {wanted}; it holds: {held}.{hint}")


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return HeldFile(file).sha256()


def _refusal(path: Path, problems: list[str]) -> BundleError:
    return BundleError(
        f"{path} is not as it was exported, and is refused:\n  "
        + "\n  ".join(problems)
        + "\nCopy the bundle again or export it again."
    )


def _check(bundle: Bundle, name: str) -> str | None:
    if problem := _misfit(bundle, name):
        return problem
    begin, file = time.perf_counter(), bundle.files[name]
    if name != WEIGHTS and not name.startswith(PLANS) and name in bundle.used():
        _ = file.content  # what is hashed below
    digest = file.sha256()
    logger().debug("hashed %s of %s in %.2f s", name, bundle.path, time.perf_counter() - begin)
    if digest != bundle.manifest.files[name].sha256:
        return f"{name}: its content changed (SHA-256 differs from the manifest)"
    return None


def _misfit(bundle: Bundle, name: str) -> str | None:
    """Fault of a listed file that shows without reading it."""
    expected = bundle.manifest.files.get(name)
    if expected is None:
        return None
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return f"{name}: a path that leaves the bundle"
    if not (bundle.files.folder / name).is_file():
        return f"{name}: missing"
    try:
        size = bundle.files[name].size
    except OSError as error:
        return f"{name}: cannot be read: {error.strerror}"
    return f"{name}: {size} bytes instead of {expected.bytes}" if size != expected.bytes else None
