"""Checkpoint -> bundle: graphs, tokenizer, manifest, checked against the reference, in place at once or not at all."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import torch

from yoj.runtime import Scorer
from yoj.runtime import manifest as m
from yoj.runtime.bundle import WEIGHTS, Bundle, sha256
from yoj.runtime.codec import Reading
from yoj.runtime.engines import open_session
from yoj.runtime.engines.onnxruntime import free_memory
from yoj.runtime.engines.plans import select
from yoj.runtime.hub import origin
from yoj.runtime.instruction_sets import instruction_sets
from yoj.runtime.prepare import Preparer, rules_of
from yoj.runtime.text import TextEncoder
from yoj.runtime.version import __version__

from .attention import query_blocks
from .card import model_card
from .checkpoint import Checkpoint, Training, own_code
from .describe import describe_assumptions, describe_prompts, describe_quantisation
from .errors import CheckpointError, OutputError
from .families import FAMILIES, ExportFamily, GraphSpec
from .fidelity import Fidelity, measure, require
from .files import folder_beside
from .graph import WeightFile, write_graph
from .layout import render_layout
from .names import QUANTISATION
from .precision import LARGEST, overflowing_layers, prepare_samples
from .quantisation import Plan, encode_plan, quantise_graphs, read_plan
from .quantised import STORED, Scheme
from .traced import PRECISIONS, Precision, TracedSession

LIBRARIES = (
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
COMPARISON_BYTES = 10
"""Memory for each weight: the stock model in float32, and the engine, which on a CPU computes in float32 as well."""
SHOWN_LAYERS = 8


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
    precision: Precision | Scheme | Literal["auto"] = "float32"
    """Of the graphs. auto: float16 where it holds what the layers compute on sample packs, else bfloat16."""
    samples: Path | None = None
    """For auto and float16: JSON lines of requests, the first of which are run. None: noise, which rarely finds the
    largest."""
    reading: Reading | None = None
    """How the samples are read: where media may come from, and which fields are passed over."""
    compare: bool = True
    """Compare the bundle with the reference, which takes both models into memory."""
    plan: Path | None = None
    """Of quantised matrices, a folder of ``yoj-calibrate plan``; the precision is then its scheme."""
    rest: Precision = "float32"
    """With a plan: of everything else."""


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
    rows = _vocabulary(graphs)
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


def _vocabulary(specs: Sequence[GraphSpec]) -> int:
    """Rows of the embedding table."""
    return next(shape[0] for spec in specs for name, shape in _shapes(spec) if name == "embedding.weight")


def build(recipe: Recipe, progress: Progress) -> tuple[m.Manifest, Fidelity | None]:
    """Export, compare unless the recipe says not to, and put the bundle in place.

    Raises:
        CheckpointError: something is wrong with the checkpoint.
        FidelityError: the engine does not agree with the reference.
        OutputError: the target exists, or the disk or the memory is too small.
    """
    out = recipe.out
    if out.exists() and not (out / m.MANIFEST_NAME).is_file():
        raise OutputError(f"{out} exists and is no bundle. Choose another --out; --force replaces only bundles.")
    if out.exists() and not recipe.force:
        raise OutputError(f"{out} exists. Choose another --out, or replace it with --force.")
    progress.stage("read checkpoint")
    training = replace(recipe.training, trained_mode=recipe.mode or recipe.training.trained_mode)
    checkpoint = Checkpoint.open(recipe.checkpoints, recipe.base, training)
    if named := own_code(checkpoint):
        progress.note(f"auto_map is ignored, no code of a checkpoint is ever run: {'; '.join(named)}")
    family = open_family(checkpoint)
    layout = render_layout(checkpoint, recipe.layout, family.markup())
    for note in (f"prompts: {describe_prompts(layout)}", *checkpoint.notes, *describe_assumptions(checkpoint, family)):
        progress.note(note)
    settings = {kind: part.place for kind, part in zip(("image", "video"), family.processor_parts(), strict=True)}
    for kind, place in settings.items():
        progress.note(f"{kind} settings: {place}")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = folder_beside(out, progress.note)
    try:
        (folder / "onnx").mkdir(parents=True)
        plan = _read_plan(recipe, checkpoint)
        specs = family.graphs() if plan is None else quantise_graphs(family.graphs(), family.smoothing(), plan)
        _check_room(checkpoint, specs, recipe, folder)
        checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
        manifest = msgspec.structs.replace(_describe(checkpoint, family, layout), vocabulary=_vocabulary(specs))
        precision, overflow = _choose_precision(checkpoint, family, recipe, manifest, folder, progress)
        rest = recipe.rest if plan else None
        dtype = PRECISIONS[rest or precision]
        graphs, hashes = _write_graphs(checkpoint, specs, folder, dtype, progress)
        if plan:
            (folder / QUANTISATION).write_bytes(encode_plan(plan))
        progress.stage("hash checkpoint")
        manifest = msgspec.structs.replace(
            manifest,
            engines=(
                m.Engine(
                    engine="onnxruntime",
                    precision=precision,
                    graphs=graphs,
                    rest=rest,
                    query_blocks=query_blocks(dtype),
                ),
            ),
            provenance=_provenance(checkpoint, overflow, settings),
        )
        _write_manifest(folder, manifest, hashes)
        fidelity = _compare(checkpoint, family, folder, progress) if recipe.compare else None
        card = model_card(manifest, fidelity, describe_quantisation(folder))
        (folder / "README.md").write_text(card, "utf-8")
        manifest = _write_manifest(folder, manifest, hashes)
        _put_in_place(folder, out)
    except OutputError:  # which is an OSError, and says itself what to do
        raise
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}. Make room, or choose another --out.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return manifest, fidelity


def open_scorer(bundle: Bundle, checkpoint: Checkpoint, family: ExportFamily, engine: str | None = None) -> Scorer:
    """The bundle in one of its engines or, as no CPU engine has bfloat16, with the traced modules in its place.

    Args:
        bundle: to open.
        checkpoint: what it was made from.
        family: of the checkpoint.
        engine: see `Scorer.load`.

    Raises:
        EngineError: the engine cannot be opened.
    """
    entry = select(bundle, engine, None)
    if (entry.engine, entry.precision) != ("onnxruntime", "bfloat16"):  # a plan's graphs need the plan, too
        return Scorer(bundle, entry, open_session(bundle, entry, None))
    in_its_place = msgspec.structs.replace(entry, engine="pytorch")
    return Scorer(bundle, in_its_place, TracedSession.load(checkpoint, family.graphs(), entry.precision))


def checkpoint_hashes(checkpoint: Checkpoint) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint, by folder and name."""
    return {_relative(file): sha256(file) for file in checkpoint.files()}


def provenance_differences(manifest: m.Manifest, checkpoint: Checkpoint) -> list[str]:
    """Files of a checkpoint that are not those that a bundle was made from, by content."""
    made_from = manifest.provenance.checkpoint
    known = set(made_from.values())
    return [f"{file} is not what the bundle was made from" for file in checkpoint.files() if sha256(file) not in known]


def _read_plan(recipe: Recipe, checkpoint: Checkpoint) -> Plan | None:
    """The plan of a quantised precision, checked against the checkpoint."""
    if recipe.precision not in STORED:
        if recipe.plan is not None:
            raise CheckpointError(f"--plan is for {', '.join(STORED)}; the precision is {recipe.precision}.")
        if recipe.rest != "float32":
            raise CheckpointError(f"--rest goes with --plan; without one, give --precision {recipe.rest}.")
        return None
    if recipe.plan is None:
        raise CheckpointError(f"{recipe.precision} needs --plan, a folder that yoj-calibrate plan has made.")
    plan = read_plan(recipe.plan)
    if plan.said.scheme != recipe.precision:
        raise CheckpointError(
            f"{recipe.plan} is a plan for {plan.said.scheme}; give --precision {plan.said.scheme} or make another plan."
        )
    if recipe.rest == "bfloat16" and recipe.compare:
        raise CheckpointError("No engine of a CPU has bfloat16 to compare with: add --no-compare to --rest bfloat16.")
    known = set(plan.said.checkpoint.values())
    if strange := [file for file in checkpoint.files() if sha256(file) not in known]:
        raise CheckpointError(
            f"{recipe.plan} was made for another checkpoint: {strange[0]} is not among its files. Make a plan for this "
            "one."
        )
    return plan


def _check_room(checkpoint: Checkpoint, specs: Sequence[GraphSpec], recipe: Recipe, folder: Path) -> None:
    """Refuse before anything is written what would fail after minutes."""
    values = _values(checkpoint, specs)
    dtype = PRECISIONS.get(recipe.precision, PRECISIONS[recipe.rest] if recipe.plan else torch.float16)
    size = _bytes(checkpoint, specs, dtype)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"{folder.parent} has {free / 1e6:,.1f} MB free; the weights need {size / 1e6:,.1f} MB. Make room, or "
            "choose another --out."
        )
    need, memory = values * COMPARISON_BYTES, free_memory()
    if recipe.compare and memory is not None and need > memory:
        raise OutputError(
            f"To compare the bundle with the reference takes about {need / 1e9:.1f} GB of memory, and "
            f"{memory / 1e9:.1f} GB are free. Export with --no-compare, and run yoj-export verify where there is more."
        )


def _values(checkpoint: Checkpoint, specs: Sequence[GraphSpec]) -> int:
    """Numbers in the weight file."""
    return _bytes(checkpoint, specs, torch.float32) // torch.float32.itemsize


def _bytes(checkpoint: Checkpoint, specs: Sequence[GraphSpec], dtype: torch.dtype) -> int:
    """Of the weight file, in a precision."""
    plans = {plan for spec in specs for plan in spec.plans.values()}
    shapes = ((plan.change.dtype(dtype), checkpoint.weights.planned_shape(plan)) for plan in plans)
    return sum(stored.itemsize * torch.Size(shape).numel() for stored, shape in shapes)


def _choose_precision(
    checkpoint: Checkpoint,
    family: ExportFamily,
    recipe: Recipe,
    manifest: m.Manifest,
    folder: Path,
    progress: Progress,
) -> tuple[str, dict[str, float] | None]:
    """The precision of the graphs and, where float16 was asked about, the layers that it does not hold."""
    if recipe.precision != "auto" and (recipe.precision != "float16" or not recipe.compare):
        return recipe.precision, None
    progress.stage("probe float16")
    preparer = Preparer(rules_of(manifest), TextEncoder.open(folder / "tokenizer.json"))
    batch = prepare_samples(recipe.samples, preparer, recipe.reading)
    overflow = overflowing_layers(checkpoint, family, batch, preparer.family)
    for name, value in list(overflow.items())[:SHOWN_LAYERS]:
        progress.note(f"{name}: up to {value:,.0f}; float16 holds {LARGEST:,.0f}")
    if recipe.precision == "float16":
        if overflow:  # a CPU multiplies in float32, so that no comparison here would show it
            progress.note(f"warning: {len(overflow)} layers may overflow on a GPU; --precision auto takes bfloat16")
        return "float16", overflow
    precision = "bfloat16" if overflow else "float16"
    progress.note(f"{precision}: {len(overflow)} layers come near the end of float16 or pass it")
    return precision, overflow


def _write_graphs(
    checkpoint: Checkpoint, specs: Sequence[GraphSpec], folder: Path, dtype: torch.dtype, progress: Progress
) -> tuple[dict[str, m.Graph], dict[str, str]]:
    """The graphs by role, and the hashes that are known from writing."""
    weight_file = WeightFile(folder / WEIGHTS, checkpoint.weights, progress.advance)
    graphs: dict[str, m.Graph] = {}
    progress.stage("trace and write graphs", _bytes(checkpoint, specs, dtype))
    for spec in specs:
        graphs[spec.role] = write_graph(spec, folder, weight_file, dtype)
        progress.note(graphs[spec.role].file)
    return graphs, {WEIGHTS: weight_file.sha256}


def _compare(checkpoint: Checkpoint, family: ExportFamily, folder: Path, progress: Progress) -> Fidelity:
    progress.stage("compare with the reference")
    fidelity = measure(open_scorer(Bundle.open(folder), checkpoint, family), checkpoint, family, progress.note)
    require(fidelity)
    encoded = msgspec.json.format(msgspec.json.encode([fidelity]), indent=2) + b"\n"
    (folder / "fidelity.json").write_bytes(encoded)
    return fidelity


def _describe(checkpoint: Checkpoint, family: ExportFamily, layout: m.Layout) -> m.Manifest:
    """All that is known before the graphs are written."""
    head, hidden_size = checkpoint.head, int(checkpoint.config["text_config"]["hidden_size"])
    return m.Manifest(
        schema_version=m.SCHEMA_VERSION,
        min_reader=m.MIN_READER,
        family=checkpoint.family,
        trained_mode=checkpoint.training.trained_mode or "joint",
        layout=layout,
        value_head=m.ValueHead(
            type="linear" if head.type == "linear" else "mlp",
            activation=head.activation,
            readout=head.readout,
            hidden_state=family.hidden_state,
            divisor=head.divisor(hidden_size),
            outputs=head.outputs,
        ),
        limits=family.limits,
        attention_heads=family.attention_heads,
        vision_heads=family.vision_heads,
        hidden_size=hidden_size,
        preprocessing=family.preprocessing(),
        engines=(),
        probabilities=m.Probabilities(temperature=1.0, calibrated=False),
        provenance=m.Provenance(checkpoint={}, libraries={}, created=""),
        transparency=checkpoint.training.transparency or "white",
        files={},
        digest="",
    )


def _provenance(checkpoint: Checkpoint, overflow: dict[str, float] | None, processor: dict[str, str]) -> m.Provenance:
    versions = {"yoj": __version__} | {name: _version(name) for name in LIBRARIES}
    return m.Provenance(
        checkpoint=checkpoint_hashes(checkpoint),
        libraries={name: version for name, version in versions.items() if version},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        instruction_sets=instruction_sets(),
        float16_overflow=overflow,
        processor=processor,
        hub=tuple(filter(None, map(origin, dict.fromkeys((*checkpoint.folders, checkpoint.trunk))))),
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
    return f"{file.parent.resolve().name}/{file.name}"  # the file itself may be a link to a cache's nameless content


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
