"""Bundle on disk -> what a scorer holds while it is open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from .bundle import TOKENIZER_NAME, Bundle
from .engines import Session, open_session, plan_engines
from .errors import BundleError, EngineError
from .families import FAMILIES
from .hub import local_folder
from .manifest import EngineEntry, Mode
from .prepare import PackingConfig, Preparer, packing_config
from .roles import ROLES, scorer_role
from .text import TextEncoder


@dataclass(frozen=True)
class Source:
    """Arguments with which a scorer was loaded; enough to load it again."""

    path: Path
    engine: str | None = None
    precision: str | None = None
    threads: int | None = None
    modes: tuple[Mode, ...] = ()
    max_pixels: int | None = None
    digest: str | None = None
    """Digest of the manifest that was there when the scorer was loaded."""

    @classmethod
    def of(
        cls, path: str | Path, engine: str | None = None, precision: str | None = None, threads: int | None = None
    ) -> Source:
        """Arguments as `Scorer.load` takes them; a bundle of the hub is downloaded.

        Raises:
            HubError: the bundle cannot be downloaded.
        """
        folder = local_folder(path, "bundle", plans=engine in plan_engines())
        return cls(folder.absolute(), engine, precision, threads)

    def open(self) -> Opened:
        """Open the bundle and load its engine; see `Scorer.load`."""
        from .engines.select import select

        with Bundle.opening(self.path) as bundle:
            if self.digest not in (None, bundle.manifest.digest):
                raise BundleError(
                    f"{self.path} is another bundle than when this scorer was loaded: its digest was {self.digest}, "
                    f"and is {bundle.manifest.digest}. Load it again with Scorer.load."
                )
            engine = select(bundle, self.engine, self.precision)
            preparer = preparing(bundle, engine, self.max_pixels).open()
            session = open_session(bundle, engine, self.threads)
            for mode in self.modes:
                session.open(role_of(bundle, engine, mode))
        return Opened(bundle, engine, session, preparer)


@dataclass(frozen=True)
class Opened:
    """Resources that a scorer holds while it is open."""

    bundle: Bundle
    engine: EngineEntry
    session: Session
    preparer: Preparer


@dataclass(frozen=True)
class Preparing:
    """Rules and tokenizer of a bundle, with which a process without an engine prepares requests."""

    rules: PackingConfig
    tokenizer: bytes
    """Content of ``tokenizer.json``."""
    path: Path
    """Folder of the bundle, for errors."""
    vocabulary: int | None
    """Number of rows of the model's embedding table; None where it is not known."""

    def open(self) -> Preparer:
        """Load the tokenizer, and set up the preprocessing.

        Raises:
            BundleError: the tokenizer or the settings do not fit.
        """
        encoder = TextEncoder.decode(self.tokenizer, str(self.path / TOKENIZER_NAME))
        if self.vocabulary is not None and encoder.largest_id >= self.vocabulary:
            raise BundleError(
                f"{self.path / TOKENIZER_NAME} has the id {encoder.largest_id}, the model's embedding table has "
                f"{self.vocabulary} rows. Export the bundle again with the tokenizer of its checkpoint."
            )
        try:
            return Preparer(self.rules, encoder)
        except msgspec.ValidationError as error:
            raise BundleError(f"{self.path}: preprocessing settings: {error}. Export the bundle again.") from error


def preparing(bundle: Bundle, engine: EngineEntry, max_pixels: int | None) -> Preparing:
    """Rules and tokenizer with which the requests of a bundle are prepared; see `Scorer.load`.

    Raises:
        BundleError: the bundle lacks a graph, or is of a family that this version does not know.
    """
    manifest = bundle.manifest
    if missing := {name for name, role in ROLES.items() if role.required} - engine.graphs.keys():
        raise BundleError(f"{bundle.path} has no graph {', '.join(sorted(missing))}. Export the bundle again.")
    if manifest.family not in FAMILIES:
        raise BundleError(
            f"{bundle.path} is of family {manifest.family}; this yoj knows {', '.join(FAMILIES)}. Upgrade yoj."
        )
    rules = packing_config(manifest)
    if max_pixels is not None:
        pixels = min(max_pixels, rules.limits.pixels)
        rules = replace(rules, limits=msgspec.structs.replace(rules.limits, pixels=pixels))
    return Preparing(rules, bundle.files[TOKENIZER_NAME].content, bundle.path, manifest.vocabulary)


def role_of(bundle: Bundle, engine: EngineEntry, mode: Mode) -> str:
    """Name of the graph that scores in a mode.

    Raises:
        EngineError: the bundle has none.
    """
    role = scorer_role(mode)
    if role not in engine.graphs:
        raise EngineError(
            f"{bundle.path} has no graph {role}, which {mode} mode needs; it has "
            f"{', '.join(engine.graphs)}. Export it again with this version of yoj."
        )
    return role
