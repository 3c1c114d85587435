"""Bundle on disk -> what a scorer holds while it is open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from .bundle import TOKENIZER_NAME, Bundle
from .engines import Session, open_session
from .errors import BundleError, EngineError
from .families import FAMILIES
from .manifest import EngineEntry, Mode
from .prepare import Preparer, packing_config
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
            preparer = open_preparer(bundle, engine, self.max_pixels)
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


def open_preparer(bundle: Bundle, engine: EngineEntry, max_pixels: int | None) -> Preparer:
    """Preparer of the requests of a bundle; see `Scorer.load`.

    Raises:
        BundleError: the bundle lacks a graph, or its tokenizer or settings do not fit.
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
    encoder = TextEncoder.decode(bundle.files[TOKENIZER_NAME].content, str(bundle.path / TOKENIZER_NAME))
    if manifest.vocabulary is not None and encoder.largest_id >= manifest.vocabulary:
        raise BundleError(
            f"{bundle.path / TOKENIZER_NAME} has the id {encoder.largest_id}, the model's embedding table has "
            f"{manifest.vocabulary} rows. Export the bundle again with the tokenizer of its checkpoint."
        )
    try:
        return Preparer(rules, encoder)
    except msgspec.ValidationError as error:
        raise BundleError(f"{bundle.path}: preprocessing settings: {error}. Export the bundle again.") from error


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
