"""Checkpoints in the released dimensions of the 4B backbones with random weights: base, rank-128 LoRA and value head.

What an export costs depends on shapes alone; the scores mean nothing. Tokenizer, template and processor files are
those of a small judge of the same family.

yoj-bench large-checkpoint checkpoints/shapes-qwen3_vl FOLDER
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from yoj.export.checkpoint.adapter_files import ADAPTER_CONFIG
from yoj.export.checkpoint.adapter_names import PREFIX
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.checkpoint.head import SETTINGS, TrainedHead
from yoj.export.checkpoint.weights import StoredTensor, Weights
from yoj.export.families import FAMILIES, GraphSpec
from yoj.runtime.roles import JOINT

from ._shapes import LAYERS, WORDS

RANK = 128
SHARD_BYTES = 5 * 10**9
NOISE = 2**24
"""Number of random values that all tensors are cut from."""
TEXT = {"hidden_size": 2560, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "intermediate_size": 9728, "rope_theta": 5_000_000.0, "max_position_embeddings": 36_864}  # fmt: skip
DEEPSTACK = 3
"""Features of the vision tower that go into the first layers of the trunk, each into one."""
MOLMO2: dict[str, Any] = {
    "text_config": TEXT | {"additional_vocab_size": 128},
    "vit_config": {"hidden_size": 1152, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 72,
                   "intermediate_size": 4304, "num_hidden_layers": 27, "image_default_input_size": [378, 378],
                   "image_num_pos": 729, "image_patch_size": 14},
    "adapter_config": {"hidden_size": 1152, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 72,
                       "intermediate_size": 9728, "text_hidden_size": 2560, "vit_layers": [-3, -9]},
}  # fmt: skip
QWEN3_VL: dict[str, Any] = {
    "text_config": TEXT | {"rope_scaling":
                           {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"}},
    "vision_config": {"depth": 24, "hidden_size": 1024, "num_heads": 16, "intermediate_size": 4096,
                      "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
                      "out_hidden_size": 2560},
}  # fmt: skip
CONFIGS = {"molmo2": MOLMO2, "qwen3_vl": QWEN3_VL}
"""Dimensions of Molmo2-4B and Qwen3-VL-4B-Instruct that differ from those of the small judges."""
WIDTHS = {"hidden_size", "num_attention_heads", "num_key_value_heads", "num_heads", "intermediate_size",
          "text_hidden_size", "out_hidden_size"}  # fmt: skip
"""Entries that are divided in a narrower model; the size of a head is not one of them."""
_CROP = {"size": {"height": 378, "width": 378}, "patch_size": 14}
PROCESSORS: dict[str, dict[str, dict[str, Any]]] = {
    "molmo2": {
        "preprocessor_config.json": _CROP | {"max_crops": 8, "overlap_margins": [4, 4]},
        "video_preprocessor_config.json": _CROP,
    },
    "qwen3_vl": {"preprocessor_config.json": {"size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}}},
}


def write(
    like: Path,
    folder: Path,
    layers: int = LAYERS,
    words: int = WORDS,
    narrowed: int = 1,
    tower: int | None = None,
) -> Path:
    """Write an adapter checkpoint, one tensor in memory at a time.

    Args:
        like: folder of a small judge in the adapter layout, whose family is written.
        folder: folder to make, with the base in ``base``.
        layers: number of layers of the trunk.
        words: number of rows of the embedding table; the tokenizer of ``like`` uses only the first.
        narrowed: divisor of all widths: trunk and tower keep the proportions of the 4B models, and have fewer
            heads of the same size.
        tower: most layers of the vision tower; None for as many as the trunk.
    """
    base = folder / "base"
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    small = Checkpoint.open([like])
    config = {
        name: value | _narrow(CONFIGS[small.family].get(name, {}), narrowed) if isinstance(value, dict) else value
        for name, value in small.config.items()
    }
    config["text_config"] |= {"num_hidden_layers": layers, "vocab_size": words}
    _cut_tower(config, tower or layers)
    (base / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    for name, changed in PROCESSORS[small.family].items():
        for file in (folder / name, base / name):
            if file.is_file():
                settings = json.loads(file.read_text("utf-8")) | changed
                file.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    shapes = base_shapes(small, config)
    _write_shards(shapes, base)
    _write_adapter(shapes, folder)
    return folder


def _narrow(settings: Mapping[str, Any], by: int) -> dict[str, Any]:
    return {name: value // by if name in WIDTHS else value for name, value in settings.items()}


def _cut_tower(config: dict[str, Any], layers: int) -> None:
    """Leave a vision tower with at most so many layers, and take its features from those that are left."""
    if "vit_config" in config:
        tower, adapter = config["vit_config"], config["adapter_config"]
        tower["num_hidden_layers"] = depth = min(tower["num_hidden_layers"], layers)
        if -min(adapter["vit_layers"]) > depth:
            adapter["vit_layers"] = [-1, -depth]
    else:
        tower = config["vision_config"]
        tower["depth"] = depth = min(tower["depth"], layers)
        if max(tower["deepstack_visual_indexes"]) >= depth:
            tower["deepstack_visual_indexes"] = list(range(depth))[:DEEPSTACK]


def base_shapes(small: Checkpoint, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that the graphs of a family read, with this configuration.

    Args:
        small: checkpoint of the family, of any size.
        config: content of ``config.json``.
    """
    text = config["text_config"]
    rows = (text["vocab_size"], text.get("additional_vocab_size", 0))
    graphs = {spec.role: spec for spec in FAMILIES[small.family](small).graphs}
    embedding = graphs[JOINT].sources["embedding.weight"]
    tables = dict(zip(embedding.names, ((count, text["hidden_size"]) for count in rows), strict=False))
    names = {name: small.weights.shape(name) for name in small.weights.names()}  # tell how the model was saved
    stored = {name: StoredTensor(Path(), torch.bfloat16, shape, 0) for name, shape in (names | tables).items()}
    wide = replace(small, config=config, weights=Weights(stored), head=_head(text["hidden_size"]))
    shapes = dict(tables)
    for spec in FAMILIES[small.family](wide).graphs:
        shapes |= dict(_shapes(spec, set(tables), config))
    return shapes


def _shapes(spec: GraphSpec, known: set[str], config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, parameter in spec.module.named_parameters():
        if name not in spec.sources or known & set(spec.sources[name].names):
            continue
        of, shape = spec.sources[name], tuple(parameter.shape)
        (source,) = of.names
        shape = shape[::-1] if of.transpose else shape
        if of.flatten:
            vision = config["vision_config"]
            side, frames = vision["patch_size"], vision["temporal_patch_size"]
            shape = (shape[0], shape[1] // (frames * side * side), frames, side, side)
        yield source, shape


def _head(width: int, hidden: int = 1024) -> TrainedHead:
    tensors = {"0.weight": torch.randn(hidden, width) / width**0.5, "0.bias": torch.zeros(hidden)}
    # Scores of magnitude 1, after the division by the root of the width.
    tensors |= {"2.weight": torch.randn(1, hidden) * (width / hidden) ** 0.5, "2.bias": torch.zeros(1)}
    return TrainedHead("mlp", "silu", "last", tensors)


def _write_shards(shapes: Mapping[str, tuple[int, ...]], base: Path) -> None:
    """Write the tensors in bfloat16, in shards with an index, as released."""
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    size = 0
    for name, shape in shapes.items():
        count = 2 * torch.Size(shape).numel()
        if size + count > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += count
    noise = torch.randn(NOISE, generator=torch.Generator().manual_seed(0))
    index: dict[str, str] = {}
    with tqdm(total=len(shapes), desc=str(base), disable=None) as bar:
        for number, shard in enumerate(shards, 1):
            name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            index |= dict.fromkeys(shard, name)
            _write_shard(shard, base / name, noise, bar)
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}, indent=1) + "\n", "utf-8")


def _write_shard(shard: Mapping[str, tuple[int, ...]], file: Path, noise: torch.Tensor, bar: tqdm[Any]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shard.items():
        begin, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shard.items():
            for block in _values(name, shape, noise):
                stream.write(block.view(torch.uint8).numpy().data)
            bar.update()


def _values(name: str, shape: tuple[int, ...], noise: torch.Tensor) -> Iterator[torch.Tensor]:
    """Random values: near 1 for a norm's weights, otherwise scaled so that activations keep their size."""
    left, norm = torch.Size(shape).numel(), len(shape) == 1 and name.endswith("weight")
    scale = 0.02 if len(shape) == 1 or "embed" in name else torch.Size(shape[1:]).numel() ** -0.5
    values = (noise * scale + (1.0 if norm else 0.0)).to(torch.bfloat16)
    while left > 0:
        yield values[: min(left, len(values))]
        left -= len(values)


def _write_adapter(shapes: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    file = folder / ADAPTER_CONFIG
    config = json.loads(file.read_text("utf-8")) | {"r": RANK, "lora_alpha": 16, "base_model_name_or_path": "base"}
    file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] in config["target_modules"] and "vis" not in name:
            tensors[f"{PREFIX}{module}.lora_A.weight"] = torch.randn(RANK, shape[1]) * shape[1] ** -0.5
            tensors[f"{PREFIX}{module}.lora_B.weight"] = torch.randn(shape[0], RANK) * 0.01
    save_file(tensors, folder / "adapter_model.safetensors")
    width = next(shape[1] for name, shape in shapes.items() if "embed" in name)
    head = _head(width)
    save_file(head.tensors, folder / "value_head.safetensors")
    settings = json.loads((folder / SETTINGS).read_text("utf-8"))
    settings |= head.settings()
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
