"""Scorer of a bundle beside its checkpoint: in an engine or, where none has its precision, in PyTorch."""

from __future__ import annotations

import msgspec

from yoj.runtime import Scorer
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines import open_session
from yoj.runtime.engines.select import select

from ..checkpoint.checkpoint import Checkpoint
from ..families import ExportFamily
from ..families.opening import open_language
from ..graph.traced import TracedSession


def open_scorer(bundle: Bundle, checkpoint: Checkpoint, family: ExportFamily, engine: str | None = None) -> Scorer:
    """Open the bundle in one of its engines or, as no CPU engine has bfloat16, with the traced modules in its place.

    Args:
        bundle: bundle to open.
        checkpoint: checkpoint that it was made from.
        family: family of the checkpoint.
        engine: name of the engine; see `yoj.runtime.Scorer.load`.

    Raises:
        EngineError: the engine cannot be opened.
    """
    entry = select(bundle, engine, None)
    if (entry.engine, entry.precision) != ("onnxruntime", "bfloat16"):  # quantised graphs need their config, too
        return Scorer(bundle, entry, open_session(bundle, entry, None))
    in_its_place = msgspec.structs.replace(entry, engine="pytorch")
    specs = family.graphs if bundle.manifest.language is None else (*family.graphs, open_language(checkpoint, family))
    return Scorer(bundle, in_its_place, TracedSession.load(checkpoint, specs, entry.precision))
