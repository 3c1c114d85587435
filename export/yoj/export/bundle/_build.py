"""Checkpoint -> bundle: graphs, tokenizer, manifest, compared with the stock model, in place at once or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import torch

from yoj.runtime import manifest as m
from yoj.runtime.bundle import WEIGHTS, Bundle, sha256
from yoj.runtime.prepare import Preparer, packing_config
from yoj.runtime.schemes import SCHEMES
from yoj.runtime.text import TextEncoder

from .._errors import CheckpointError, OutputError
from ..checkpoint._text_files import read_json
from ..checkpoint.checkpoint import Checkpoint, own_code
from ..families import ExportFamily, GraphSpec
from ..families.opening import open_family, open_language, vocabulary_rows
from ..graph._blocked_attention import query_blocks
from ..graph.precision import PRECISIONS
from ..graph.write import WeightFile, write_graph
from ..prompts.language_path import language_path
from ..prompts.layout import render_layout
from ..quantisation.config import QuantisationConfig, encode_spec, quantise_graphs, read_config
from ..verification._float16_range import LARGEST, overflowing_layers, prepare_samples
from ..verification.fidelity import Fidelity, measure, require
from ..verification.scorer import open_scorer
from ._config import ExportConfig, Progress
from ._describe import describe_assumptions, describe_prompts, describe_quantisation
from ._room import check_room, weight_bytes
from .card import model_card
from .names import QUANTISATION
from .place import folder_beside, put_in_place, write_manifest
from .provenance import provenance

RECIPE = "recipe.json"
"""File in which `yoj-train` keeps its recipe, in the folder of a checkpoint."""
SHOWN_LAYERS = 8


def build(config: ExportConfig, progress: Progress) -> tuple[m.Manifest, Fidelity | None]:
    """Export, compare unless the config says not to, and put the bundle in place.

    Raises:
        CheckpointError: something is wrong with the checkpoint.
        FidelityError: the engine does not agree with the stock model.
        OutputError: the target exists, or the disk or the memory is too small.
    """
    out = config.out
    if out.exists() and not (out / m.MANIFEST_NAME).is_file():
        raise OutputError(f"{out} exists and is no bundle. Choose another --out; --force replaces only bundles.")
    if out.exists() and not config.force:
        raise OutputError(f"{out} exists. Choose another --out, or replace it with --force.")
    opened = _open(config, progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = folder_beside(out, progress.note)
    try:
        manifest, fidelity = _fill(folder, opened, config, progress)
        put_in_place(folder, out)
    except OutputError:  # which is an OSError, and says itself what to do
        raise
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}. Make room, or choose another --out.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return manifest, fidelity


@dataclass(frozen=True)
class _Opened:
    """Checkpoint that is exported, with all that was read of it."""

    checkpoint: Checkpoint
    family: ExportFamily
    layout: m.Layout
    settings: dict[str, str]
    """Kind of media -> place of the settings that its processor has."""


def _open(config: ExportConfig, progress: Progress) -> _Opened:
    """Read the checkpoint, and say how."""
    progress.stage("read checkpoint")
    training = replace(config.training, trained_mode=config.mode or config.training.trained_mode)
    checkpoint = Checkpoint.open(config.checkpoints, config.base, training)
    if checkpoint.training.trained_n is not None and checkpoint.training.trained_mode == "isolated":
        raise CheckpointError(
            f"trained_n is {checkpoint.training.trained_n}, and the model was trained on one response at a time. Leave "
            "--trained-n out, or give --mode joint."
        )
    if named := own_code(checkpoint):
        progress.note(f"auto_map is ignored, no code of a checkpoint is ever run: {'; '.join(named)}")
    _check_layout(checkpoint.folders[-1], config.layout)
    family = open_family(checkpoint)
    layout = render_layout(checkpoint, config.layout, family.markup())
    for note in (f"prompts: {describe_prompts(layout)}", *checkpoint.notes, *describe_assumptions(checkpoint, family)):
        progress.note(note)
    settings = {kind: part.place for kind, part in zip(("image", "video"), family.processor_parts(), strict=True)}
    for kind, place in settings.items():
        progress.note(f"{kind} settings: {place}")
    return _Opened(checkpoint, family, layout, settings)


def _check_layout(folder: Path, layout: str) -> None:
    """Refuse another layout than that in which `yoj-train` trained.

    Raises:
        CheckpointError: the recipe in the checkpoint says another one.
    """
    trained = read_json(folder / RECIPE).get("layout", layout) if (folder / RECIPE).is_file() else layout
    if trained != layout:
        raise CheckpointError(
            f"{folder / RECIPE} says that the responses stood in the layout {trained!r} in training, and the layout of "
            f"the bundle is to be {layout!r}, which would change rankings. Give --layout {trained}."
        )


def _fill(
    folder: Path, opened: _Opened, config: ExportConfig, progress: Progress
) -> tuple[m.Manifest, Fidelity | None]:
    """Write the files of the bundle, and compare its scores unless the config says not to."""
    checkpoint, family = opened.checkpoint, opened.family
    (folder / "onnx").mkdir(parents=True)
    quantisation = _read_quantisation(config, checkpoint)
    specs = family.graphs
    language = language_path(checkpoint, opened.layout) if config.language else None
    if language is not None:
        # Behind the others: what they have in the weight file stays where it is without it.
        specs = (*specs, open_language(checkpoint, family))
    if quantisation is not None:
        specs = quantise_graphs(specs, family.smoothing(), quantisation)
    check_room(checkpoint, specs, config, folder)
    checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
    manifest = _describe(checkpoint, family, opened.layout)
    manifest = msgspec.structs.replace(manifest, vocabulary=vocabulary_rows(specs), language=language)
    precision, overflow = _choose_precision(checkpoint, family, config, manifest, folder, progress)
    base_precision = config.base_precision if quantisation else None
    dtype = PRECISIONS[base_precision or precision]
    graphs, hashes = _write_graphs(checkpoint, specs, folder, dtype, progress)
    if quantisation:
        (folder / QUANTISATION).write_bytes(encode_spec(quantisation))
    progress.stage("hash checkpoint")
    entry = m.EngineEntry(
        engine="onnxruntime",
        precision=precision,
        graphs=graphs,
        base_precision=base_precision,
        query_blocks=query_blocks(dtype),
    )
    source = provenance(checkpoint, overflow, opened.settings)
    manifest = msgspec.structs.replace(manifest, engines=(entry,), provenance=source)
    write_manifest(folder, manifest, hashes)
    fidelity = _compare(checkpoint, family, folder, progress) if config.compare else None
    card = model_card(manifest, fidelity, describe_quantisation(folder))
    (folder / "README.md").write_text(card, "utf-8")
    return write_manifest(folder, manifest, hashes), fidelity


def _read_quantisation(config: ExportConfig, checkpoint: Checkpoint) -> QuantisationConfig | None:
    """Quantisation config of the export, checked against the checkpoint; None where nothing is quantised."""
    if config.precision not in SCHEMES:
        if config.quantisation is not None:
            raise CheckpointError(f"--quantisation is for {', '.join(SCHEMES)}; the precision is {config.precision}.")
        if config.base_precision != "float32":
            raise CheckpointError(
                f"--base-precision goes with --quantisation; without it, give --precision {config.base_precision}."
            )
        return None
    if config.quantisation is None:
        raise CheckpointError(
            f"{config.precision} needs --quantisation, a folder that yoj-calibrate quantisation has made."
        )
    quantisation = read_config(config.quantisation)
    if quantisation.spec.scheme != config.precision:
        raise CheckpointError(
            f"{config.quantisation} is a config for {quantisation.spec.scheme}; give --precision "
            f"{quantisation.spec.scheme} or make another one."
        )
    if config.base_precision == "bfloat16" and config.compare:
        raise CheckpointError(
            "No engine of a CPU has bfloat16 to compare with: add --no-compare to --base-precision bfloat16."
        )
    known = set(quantisation.spec.checkpoint.values())
    if strange := [file for file in checkpoint.files() if sha256(file) not in known]:
        raise CheckpointError(
            f"{config.quantisation} was made for another checkpoint: {strange[0]} is not among its "
            "files. Make a quantisation config for this one."
        )
    return quantisation


def _choose_precision(
    checkpoint: Checkpoint,
    family: ExportFamily,
    config: ExportConfig,
    manifest: m.Manifest,
    folder: Path,
    progress: Progress,
) -> tuple[str, dict[str, float] | None]:
    """Precision of the graphs and, where float16 was asked about, the layers that it does not hold."""
    if config.precision != "auto" and (config.precision != "float16" or not config.compare):
        return config.precision, None
    progress.stage("probe float16")
    preparer = Preparer(packing_config(manifest), TextEncoder.open(folder / "tokenizer.json"))
    batch = prepare_samples(config.samples, preparer, config.reading)
    overflow = overflowing_layers(checkpoint, family, batch, preparer.family)
    for name, value in list(overflow.items())[:SHOWN_LAYERS]:
        progress.note(f"{name}: up to {value:,.0f}; float16 holds {LARGEST:,.0f}")
    if config.precision == "float16":
        if overflow:  # a CPU multiplies in float32, so that no comparison here would show it
            progress.note(f"warning: {len(overflow)} layers may overflow on a GPU; --precision auto takes bfloat16")
        return "float16", overflow
    precision = "bfloat16" if overflow else "float16"
    progress.note(f"{precision}: {len(overflow)} layers come near the end of float16 or pass it")
    return precision, overflow


def _write_graphs(
    checkpoint: Checkpoint, specs: Sequence[GraphSpec], folder: Path, dtype: torch.dtype, progress: Progress
) -> tuple[dict[str, m.Graph], dict[str, str]]:
    """Write the graphs; returns them by role, and the hashes that are known from writing."""
    weight_file = WeightFile(folder / WEIGHTS, checkpoint.weights, progress.advance)
    graphs: dict[str, m.Graph] = {}
    progress.stage("trace and write graphs", weight_bytes(checkpoint, specs, dtype))
    for spec in specs:
        graphs[spec.role] = write_graph(spec, folder, weight_file, dtype)
        progress.note(graphs[spec.role].file)
    return graphs, {WEIGHTS: weight_file.sha256}


def _compare(checkpoint: Checkpoint, family: ExportFamily, folder: Path, progress: Progress) -> Fidelity:
    progress.stage("compare with the stock model")
    fidelity = measure(open_scorer(Bundle.open(folder), checkpoint, family), checkpoint, family, progress.note)
    require(fidelity)
    encoded = msgspec.json.format(msgspec.json.encode([fidelity]), indent=2) + b"\n"
    (folder / "fidelity.json").write_bytes(encoded)
    return fidelity


def _describe(checkpoint: Checkpoint, family: ExportFamily, layout: m.Layout) -> m.Manifest:
    """Manifest with all that is known before the graphs are written."""
    head, hidden_size = checkpoint.head, int(checkpoint.config["text_config"]["hidden_size"])
    return m.Manifest(
        schema_version=m.SCHEMA_VERSION,
        min_reader=m.MIN_READER,
        family=checkpoint.family,
        trained_mode=checkpoint.training.trained_mode or "joint",
        trained_n=checkpoint.training.trained_n,
        layout=layout,
        value_head=head.manifest_entry(hidden_size, family.hidden_state),
        limits=family.limits,
        attention_heads=family.attention_heads,
        vision_heads=family.vision_heads,
        hidden_size=hidden_size,
        preprocessing=family.preprocessing(),
        engines=(),
        probabilities=m.Probabilities(temperature=1.0, calibrated=False),
        provenance=m.Provenance(checkpoint={}, libraries={}, created=""),
        response_images=checkpoint.training.response_images,
        transparency=checkpoint.training.transparency or "white",
        files={},
        digest="",
    )
