"""Mutated files of bundles and checkpoints: manifests, tokenizers, settings, templates, heads and headers of weights.

    python tests/fuzz/files.py --count 5000 --seed 1

Hashes of a bundle are made to fit, as an attacker would. Each mutation ends in what was read or in an error of ours,
within a bound of CPU time; what else happens is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import msgspec
import torch
from mutate import Run, mutate_bytes, mutate_head, mutate_tree
from safetensors.torch import save

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.prompts.layout import render_layout
from yoj.runtime import Scorer
from yoj.runtime.manifest import decode

TESTS = Path(__file__).parents[1]
BUNDLE = TESTS / "data" / "bundles" / "qwen3_vl-0.1"
MERGED = TESTS / "golden" / "data" / "checkpoint-merged"
ADAPTER = TESTS / "golden" / "data" / "checkpoint-adapter"
BOUND_S = 30.0
JSON_FILES = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "reward_model_config.json", "adapter_config.json"),
    *("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
)


@functools.cache
def workplace() -> Path:
    """A folder of copies, each of which a mutation changes and then has as it was."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    shutil.copytree(BUNDLE, place / "bundle")
    for folder in (MERGED, ADAPTER):
        shutil.copytree(folder, place / folder.name)
    return place


def changed_file(file: Path, content: bytes, use: Any) -> object:
    """What ``use`` gives while a file holds something else."""
    before = file.read_bytes() if file.exists() else None
    file.unlink(missing_ok=True)
    file.write_bytes(content)
    try:
        return use()
    finally:
        file.unlink()
        if before is not None:
            file.write_bytes(before)


def encoded(tree: Any) -> bytes:
    """JSON; of a tree that is nested too deeply for Python's encoder, something nested as deeply."""
    try:
        return json.dumps(tree).encode()
    except RecursionError:
        return b"[" * 2000


# Bundles


@functools.cache
def bundle_cases() -> dict[str, Any]:
    """The manifest, in the present schema, and the tokenizer."""
    manifest = decode((BUNDLE / "manifest.json").read_bytes(), "manifest.json")
    return {
        "manifest.json": msgspec.to_builtins(manifest),
        "tokenizer.json": json.loads((BUNDLE / "tokenizer.json").read_bytes()),
    }


def sealed(tree: Any) -> bytes:
    """A manifest as JSON, with the digest that fits it where it can have one."""
    if not isinstance(tree, dict):
        return json.dumps(tree).encode()
    text = json.dumps(tree | {"digest": ""}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(tree | {"digest": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()}).encode()


def open_bundle(case: str, tree: Any) -> object:
    place = workplace() / "bundle"
    if case == "manifest.json":
        return changed_file(place / case, sealed(tree), lambda: score(place))
    content = encoded(tree)
    listed = {case: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    manifest = bundle_cases()["manifest.json"]
    manifest = sealed(manifest | {"files": manifest["files"] | listed})
    return changed_file(
        place / "manifest.json", manifest, lambda: changed_file(place / case, content, lambda: score(place))
    )


def score(place: Path) -> object:
    with Scorer.load(place, threads=1) as scorer:
        return scorer.score("What is shown?", ["A cat.", "A red bus."])


def bundles() -> Run:
    return Run(bundle_cases(), mutate_tree, open_bundle, BOUND_S)


# Checkpoints


def head_files() -> dict[str, bytes]:
    """The value head of the merged checkpoint in both of its forms."""
    file = MERGED / "value_head.pt"
    return {
        "value_head.pt": file.read_bytes(),
        "value_head.safetensors": save(torch.load(file, weights_only=True)),
    }


def checkpoint_cases() -> dict[str, Any]:
    """Every kind of file of a checkpoint, by its path."""
    cases: dict[str, Any] = {f"{MERGED.name}/{name}": content for name, content in head_files().items()}
    for folder in (MERGED, ADAPTER):
        for file in sorted(folder.iterdir()):
            if file.suffix == ".json" and file.name in JSON_FILES:
                cases[f"{folder.name}/{file.name}"] = json.loads(file.read_bytes())
            elif file.suffix in (".jinja", ".safetensors"):
                cases[f"{folder.name}/{file.name}"] = file.read_bytes()
    return cases


def mutate_file(content: Any, rng: random.Random) -> Any:
    if not isinstance(content, bytes):
        return mutate_tree(content, rng)
    return rng.choice((mutate_bytes, mutate_head))(content, rng)


def open_checkpoint(case: str, content: Any) -> object:
    file = workplace() / case
    written = content if isinstance(content, bytes) else encoded(content)

    def use() -> object:
        others = [other for other in file.parent.glob("value_head.*") if other != file]
        hidden = [other.rename(other.with_name(f"{other.name}.hidden")) for other in others if "value_head" in case]
        try:
            checkpoint = Checkpoint.open([file.parent])
            family = open_family(checkpoint)
            family.preprocessing()
            if "tokenizer" in case or "template" in case:
                render_layout(checkpoint, "assistant", family.markup())
            return checkpoint
        finally:
            for other in hidden:
                other.rename(other.with_name(other.name.removesuffix(".hidden")))

    return changed_file(file, written, use)


def checkpoints() -> Run:
    return Run(checkpoint_cases(), mutate_file, open_checkpoint, BOUND_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--count", type=int, default=5000, help="mutations, half of bundles and half of checkpoints [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to repeat a fault [%(default)s]")
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.simplefilter("ignore")
    found = 0
    for name, run in (("bundles", bundles()), ("checkpoints", checkpoints())):
        report = run.report(given.seed, given.count // 2, given.first)
        print(f"{name}: {report}", flush=True)
        found += len(report.faults)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
