"""Opening of a checkpoint's family, once every tensor that its graphs need is known to exist and to fit."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import CheckpointError
from ..checkpoint.checkpoint import Checkpoint
from . import FAMILIES, ExportFamily, GraphSpec


def open_family(checkpoint: Checkpoint) -> ExportFamily:
    """Find the family of a checkpoint, and check that every tensor that the graphs need exists and fits.

    Raises:
        CheckpointError: the configuration is not supported, or tensors are missing or misshapen.
    """
    family = FAMILIES[checkpoint.family](checkpoint)
    graphs = family.graphs
    problems = [problem for spec in graphs for problem in _misfits(spec, checkpoint)]
    used = {source for spec in graphs for source in spec.sources.values() for source in source.names}
    left = [n for n in checkpoint.weights.names() if n not in used and not n.startswith(family.unused)]
    problems += [f"{name}: left over, the configuration has no place for it" for name in left]
    if problems:
        shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise CheckpointError(
            f"{checkpoint.trunk} does not hold the tensors that its config.json describes:\n  " + "\n  ".join(shown)
        )
    rows = vocabulary_rows(graphs)
    if checkpoint.separator_id is not None and checkpoint.separator_id >= rows:
        raise CheckpointError(
            f"{checkpoint.trunk}: the separator would be token {checkpoint.separator_id}, but the embedding tables "
            f"have only {rows} rows. Use the checkpoint whose embeddings were extended for it; a model that reads one "
            "response at a time needs none: --mode isolated."
        )
    token, largest = max(checkpoint.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    if largest >= rows:
        raise CheckpointError(
            f"{checkpoint.file('tokenizer.json')}: {token!r} has the id {largest}, but the embedding tables have only "
            f"{rows} rows. Copy the tokenizer of the model that was trained."
        )
    return family


def open_language(checkpoint: Checkpoint, family: ExportFamily) -> GraphSpec:
    """Language graph of an opened family, whose head is known to exist and to fit.

    Raises:
        CheckpointError: the checkpoint has no language head, or one that does not fit.
    """
    spec = family.language_graph()
    if problems := _misfits(spec, checkpoint):
        raise CheckpointError(f"{checkpoint.trunk}: the language graph cannot be made: {'; '.join(problems)}.")
    return spec


def vocabulary_rows(specs: Sequence[GraphSpec]) -> int:
    """Number of rows of the embedding table."""
    return next(shape[0] for spec in specs for name, shape in _shapes(spec) if name == "embedding.weight")


def _misfits(spec: GraphSpec, checkpoint: Checkpoint) -> list[str]:
    problems: list[str] = []
    for name, shape in _shapes(spec):
        source = spec.sources[name]
        missing = [source for source in source.names if source not in checkpoint.weights]
        stored = checkpoint.weights.source_shapes(source)
        expected = shape[::-1] if source.transpose else shape
        if missing or not source.names:
            problems.append(f"{', '.join(missing) or name}: missing")
        elif (sum(s[0] for s in stored), *expected[1:]) != expected or any(s[1:] != expected[1:] for s in stored):
            problems.append(f"{', '.join(source.names)}: shape {', '.join(map(str, stored))}, expected {expected}")
    return problems


def _shapes(spec: GraphSpec) -> list[tuple[str, tuple[int, ...]]]:
    return [(n, tuple(p.shape)) for n, p in spec.module.named_parameters() if n in spec.sources]
