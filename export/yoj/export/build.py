"""Checkpoint -> bundle: graphs, tokenizer, manifest, checked against the reference, in place at once or not at all."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
import torch

from yoj.runtime import Scorer
from yoj.runtime import manifest as m
from yoj.runtime.bundle import sha256

from .card import model_card
from .checkpoint import Checkpoint, Training
from .errors import CheckpointError, OutputError
from .families import FAMILIES, ExportFamily, GraphSpec
from .fidelity import Fidelity, measure, require
from .graph import WeightFile, write_graph
from .head import divisor
from .layout import render_layout

LIBRARIES = (
    "yoj",
    "torch",
    "transformers",
    "tokenizers",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "numpy",
    "pillow",
)
WEIGHTS = "onnx/weights.data"


class Progress(Protocol):
    """Who is told how far the work is."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None:
        """A new stage begins."""
        ...

    def advance(self, count: int) -> None:
        """So many bytes more were written."""
        ...

    def note(self, text: str) -> None:
        """A step inside the stage is done."""
        ...


@dataclass(frozen=True)
class Recipe:
    """What to build."""

    checkpoints: Sequence[str | Path]
    base: str | Path | None
    layout: m.LayoutName
    out: Path
    mode: m.Mode | None = None
    """How the model was trained to read the responses; None: what the checkpoint says, else joint."""
    force: bool = False
    """Replace an existing bundle."""
    training: Training = field(default_factory=Training)
    """What is known of it beside the checkpoint's own settings."""


def open_family(checkpoint: Checkpoint) -> ExportFamily:
    """The family of a checkpoint, and a check that every tensor that the graphs need is there and fits.

    Raises:
        CheckpointError: an unsupported configuration, missing or misshapen tensors.
    """
    family = FAMILIES[checkpoint.family](checkpoint)
    graphs = family.graphs()
    problems = [problem for spec in graphs for problem in _misfits(spec, checkpoint)]
    used = {source for spec in graphs for plan in spec.plans.values() for source in plan.sources}
    left = [n for n in checkpoint.weights.names() if n not in used and not n.startswith(family.unused)]
    problems += [f"{name}: left over, the configuration has no place for it" for name in left]
    if problems:
        shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise CheckpointError(
            f"{checkpoint.trunk} does not hold the tensors that its config.json describes:\n  " + "\n  ".join(shown)
        )
    rows = next(shape[0] for spec in graphs for name, shape in _shapes(spec) if name == "embedding.weight")
    if checkpoint.separator_id >= rows:
        raise CheckpointError(
            f"{checkpoint.trunk}: the separator would be token {checkpoint.separator_id}, but the embedding tables "
            f"have only {rows} rows. Use the checkpoint whose embeddings were extended for it."
        )
    return family


def build(recipe: Recipe, progress: Progress) -> tuple[m.Manifest, Fidelity]:
    """Export, verify, and put the bundle in place.

    Raises:
        CheckpointError: something is wrong with the checkpoint.
        FidelityError: the engine does not agree with the reference.
        OutputError: the target exists, or the disk is too small.
    """
    out = recipe.out
    if out.exists() and not (out / m.MANIFEST_NAME).is_file():
        raise OutputError(f"{out} exists and is no bundle. Choose another --out; --force replaces only bundles.")
    if out.exists() and not recipe.force:
        raise OutputError(f"{out} exists. Choose another --out, or replace it with --force.")
    progress.stage("read checkpoint")
    checkpoint = Checkpoint.open(recipe.checkpoints, recipe.base, recipe.training)
    family = open_family(checkpoint)
    layout = render_layout(checkpoint, recipe.layout, family.markup())
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name}.{os.getpid()}.tmp"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        (folder / "onnx").mkdir(parents=True)
        graphs, hashes = _write_graphs(checkpoint, family, folder, progress)
        checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
        progress.stage("hash checkpoint")
        mode = recipe.mode or checkpoint.training.trained_mode or "joint"
        manifest = _describe(checkpoint, family, mode, layout, graphs)
        _write_manifest(folder, manifest, hashes)
        progress.stage("compare with the reference")
        fidelity = measure(Scorer.load(folder), checkpoint, family, progress.note)
        require(fidelity)
        encoded = msgspec.json.format(msgspec.json.encode([fidelity]), indent=2) + b"\n"
        (folder / "fidelity.json").write_bytes(encoded)
        (folder / "README.md").write_text(model_card(manifest, fidelity), "utf-8")
        manifest = _write_manifest(folder, manifest, hashes)
        _put_in_place(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return manifest, fidelity


def provenance_differences(manifest: m.Manifest, checkpoint: Checkpoint) -> list[str]:
    """Files of a checkpoint that are not those that a bundle was made from, by content."""
    made_from = manifest.provenance.checkpoint
    known = set(made_from.values())
    return [f"{file} is not what the bundle was made from" for file in checkpoint.files() if sha256(file) not in known]


def _write_graphs(
    checkpoint: Checkpoint, family: ExportFamily, folder: Path, progress: Progress
) -> tuple[dict[str, m.Graph], dict[str, str]]:
    """The graphs by role, and the hashes that are known from writing."""
    specs = family.graphs()
    plans = {plan for spec in specs for plan in spec.plans.values()}
    size = sum(4 * torch.Size(checkpoint.weights.planned_shape(plan)).numel() for plan in plans)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(f"{folder.parent} has {free / 1e9:.1f} GB free; the weights need {size / 1e9:.1f} GB.")
    weight_file = WeightFile(folder / WEIGHTS, checkpoint.weights, progress.advance)
    graphs: dict[str, m.Graph] = {}
    progress.stage("trace and write graphs", size)
    for spec in specs:
        graphs[spec.role] = write_graph(spec, folder, weight_file, torch.float32)
        progress.note(graphs[spec.role].file)
    return graphs, {WEIGHTS: weight_file.sha256}


def _describe(
    checkpoint: Checkpoint, family: ExportFamily, mode: m.Mode, layout: m.Layout, graphs: dict[str, m.Graph]
) -> m.Manifest:
    head, hidden_size = checkpoint.head, int(checkpoint.config["text_config"]["hidden_size"])
    versions = {name: _version(name) for name in LIBRARIES}
    return m.Manifest(
        schema_version=m.SCHEMA_VERSION,
        family=checkpoint.family,
        trained_mode=mode,
        layout=layout,
        value_head=m.ValueHead(
            type="linear" if head.type == "linear" else "mlp",
            activation=head.activation,
            readout=head.readout,
            hidden_state=family.hidden_state,
            divisor=divisor(hidden_size),
            outputs=head.outputs,
        ),
        limits=family.limits,
        attention_heads=family.attention_heads,
        vision_heads=family.vision_heads,
        hidden_size=hidden_size,
        preprocessing=family.preprocessing(),
        engines=(m.Engine(engine="onnxruntime", precision="float32", graphs=graphs),),
        probabilities=m.Probabilities(temperature=1.0, calibrated=False),
        provenance=m.Provenance(
            checkpoint={_relative(file): sha256(file) for file in checkpoint.files()},
            libraries={name: version for name, version in versions.items() if version},
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        ),
        files={},
        digest="",
    )


def _write_manifest(folder: Path, manifest: m.Manifest, hashes: dict[str, str]) -> m.Manifest:
    """List every file of the folder, seal the manifest and write it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != m.MANIFEST_NAME)
    names = {path.relative_to(folder).as_posix(): path for path in files}
    listed = {n: m.File(bytes=p.stat().st_size, sha256=hashes.get(n) or sha256(p)) for n, p in names.items()}
    sealed = m.seal(msgspec.structs.replace(manifest, files=listed))
    (folder / m.MANIFEST_NAME).write_bytes(m.encode(sealed))
    return sealed


def _put_in_place(folder: Path, out: Path) -> None:
    """Rename; what stood there before is removed only after the new bundle stands."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    if not out.exists():
        folder.rename(out)
        return
    old = out.parent / f".{out.name}.{os.getpid()}.old"
    out.rename(old)
    folder.rename(out)
    shutil.rmtree(old)


def _misfits(spec: GraphSpec, checkpoint: Checkpoint) -> list[str]:
    problems: list[str] = []
    for name, shape in _shapes(spec):
        plan = spec.plans[name]
        missing = [source for source in plan.sources if source not in checkpoint.weights]
        stored = checkpoint.weights.source_shapes(plan)
        expected = shape[::-1] if plan.transpose else shape
        if missing or not plan.sources:
            problems.append(f"{', '.join(missing) or name}: missing")
        elif (sum(s[0] for s in stored), *expected[1:]) != expected or any(s[1:] != expected[1:] for s in stored):
            problems.append(f"{', '.join(plan.sources)}: shape {', '.join(map(str, stored))}, expected {expected}")
    return problems


def _shapes(spec: GraphSpec) -> list[tuple[str, tuple[int, ...]]]:
    return [(n, tuple(p.shape)) for n, p in spec.module.named_parameters() if n in spec.plans]


def _relative(file: Path) -> str:
    """Folder and file: enough to tell shards of a base and an adapter apart, and no path of this machine."""
    return f"{file.resolve().parent.name}/{file.name}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
