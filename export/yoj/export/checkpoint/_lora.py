"""PEFT adapters -> their changes to each tensor of the base model."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from .._errors import CheckpointError
from ._adapter_settings import AdapterSettings
from ._edits import Added, Edit, LowRank, LowRankTable, Replaced, RowRange, Rows, Stored
from ._trained_layouts import HEAD_MODULES
from .adapter_files import read_adapter_tensors
from .adapter_names import HEADS, BaseNames, Key, first_part, read_key
from .weights import StoredTensor

SHOWN = 20
"""Most lines about single tensors in an error."""
TABLES = ("embed_tokens.weight", "wte.embedding", "wte.new_embedding")
"""Endings of the names of tables that may be resized in training."""
PAIRS = {"lora_A": "lora_B", "lora_embedding_A": "lora_embedding_B"}

Part: TypeAlias = tuple[Key, Stored]


def read_adapters(
    folders: Sequence[Path],
    base: Mapping[str, StoredTensor],
    config: Mapping[str, Any] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Edit]]:
    """Changes of the adapters, in their order, by the tensor that they change.

    Args:
        folders: folders of the adapters, each with ``adapter_config.json``.
        base: tensors of the base model.
        config: ``config.json`` of the base, by whose ``model_type`` other names of its tensors are known.
        note: function that takes a line about what was left out, or is not as it seems.

    Raises:
        CheckpointError: an adapter cannot be merged, or its tensors do not fit the base.
    """
    edits: dict[str, list[Edit]] = {}
    shapes = {name: stored.shape for name, stored in base.items()}
    for folder in folders:
        own = dict(shapes)  # the reader changes it as tables are resized
        for edit in _Reader(folder, BaseNames(own, config or {}), own, note).read():
            for name in edit.names:
                edits.setdefault(name, []).append(edit)
                shapes[name] = edit.shape_after(name, shapes[name])
    return edits


@dataclass
class _Reader:
    """Reader of one adapter; everything that is wrong with it is collected, to be raised once."""

    folder: Path
    names: BaseNames
    shapes: dict[str, tuple[int, ...]]
    """Shapes of the base's tensors, after the changes read so far."""
    note: Callable[[str], None]
    problems: list[str] = field(default_factory=list[str])
    strangers: list[str] = field(default_factory=list[str])
    """Lines about tensors that the base lacks."""
    found: dict[str, tuple[RowRange, ...]] = field(default_factory=dict[str, tuple[RowRange, ...]])
    """Places of the tensors that are changed, by their names in the adapter."""
    changed: set[tuple[tuple[RowRange, ...], str]] = field(default_factory=set[tuple[tuple[RowRange, ...], str]])
    """Names of the changed tensors with the kind of change: an adapter has one of each."""

    def read(self) -> list[Edit]:
        """Changes of the adapter: whole tensors, then low ranks, then rows of tables."""
        self.settings = AdapterSettings.read(self.folder)
        self._note_settings()
        tensors = read_adapter_tensors(self.folder)
        groups: dict[tuple[int, str], dict[str, Part]] = {}
        edits: list[Edit] = []
        rows: list[Edit] = []
        kept = self._of_the_trunk({name: stored for name, (_, stored) in tensors.items()})
        # Tables that were resized come first: what else was trained in them has their new rows.
        for key, stored in sorted(kept, key=lambda part: part[0].kind != "whole"):
            if key.kind == "whole":
                edits += self._replace(key, stored)
            elif key.kind == "trainable_tokens_delta":
                rows += self._rows(key, stored)
            elif key.kind in (parts := groups.setdefault((-key.depth, key.module), {})):
                self.problems.append(f"{key.name}: the same as {parts[key.kind][0].name}")
            else:
                parts[key.kind] = (key, stored)
        for (_, module), parts in sorted(groups.items(), key=lambda group: group[0]):
            edits += self._low_rank(module, parts)
        self._check_complete()
        self._refuse(sorted({str(file) for file, _ in tensors.values()}), bool(edits or rows))
        return edits + rows

    def _note_settings(self) -> None:
        if unknown := self.settings.unknown():
            self.note(f"{self.settings.file}: {', '.join(unknown)} is not known here, and taken to be without effect")
        if start := self.settings.start:
            self.note(f"{self.settings.file}: what {start} took out of the base is computed again, in float32")

    def _of_the_trunk(self, tensors: Mapping[str, Stored]) -> list[Part]:
        """Keys without those of heads, whose omission is said, and without copies of the base."""
        kept: list[Part] = []
        left: Counter[str] = Counter()
        for name, stored in tensors.items():
            key = read_key(name)
            if (head := first_part(key.module)) in HEADS:
                left[head] += 1
                if head != "lm_head" and key.kind != "whole":
                    self.problems.append(
                        f"{name}: LoRA of a head, which is read apart; train it whole (modules_to_save)"
                    )
            elif not key.copy:
                kept.append((key, stored))
        for head, count in left.items():
            if head in HEAD_MODULES:  # looked for elsewhere
                continue
            why = "no score needs it" if head == "lm_head" else "a head is read apart"
            self.note(f"{self.folder.name}: {head} ({count} of {len(tensors)} tensors) is left out: {why}")
        adapters = {key.adapter for key, _ in kept if key.adapter}
        if len(adapters) > 1:
            self.problems.append(f"it holds several adapters, {', '.join(sorted(adapters))}; save one alone")
        return kept

    def _replace(self, key: Key, stored: Stored) -> list[Edit]:
        if "lora_" in key.module:
            self.problems.append(f"{key.name}: of no kind of adapter that can be merged")
            return []
        if not (pieces := self._find(key, key.module, "whole")):
            return []
        shape = self._joined(pieces)
        kept = sum(piece.stop - piece.start for piece in pieces[:-1])
        if key.module.endswith(TABLES) and len(stored.shape) == len(shape) and stored.shape[0] > kept:
            fits = stored.shape[1:] == shape[1:]  # it may have been resized
        else:
            fits = stored.shape == shape
        if not fits:
            self.problems.append(f"{key.name}: {stored.shape} does not fit {key.module} {shape}")
            return []
        edit = Edit(pieces, Replaced(stored))
        for name in edit.names:
            self.shapes[name] = edit.shape_after(name, self.shapes[name])
        return [edit]

    def _rows(self, key: Key, stored: Stored) -> list[Edit]:
        if not (pieces := self._find(key, f"{key.module}.weight", key.kind)):
            return []
        rows, *width = self._joined(pieces)
        indices = self.settings.token_indices(key.module) or []
        right = all(type(index) is int and 0 <= index < rows for index in indices) and len(set(indices)) == len(indices)
        if not right or stored.shape != (len(indices), *width):
            self.problems.append(
                f"{key.name}: {stored.shape} for a table {(rows, *width)}, but trainable_token_indices is {indices}"
            )
            return []
        return [Edit(pieces, Rows(tuple(indices), stored))]

    def _low_rank(self, module: str, parts: dict[str, Part]) -> list[Edit]:
        """Changes from a module's two matrices and what belongs to them."""
        down_kind = next((kind for kind in PAIRS if kind in parts), None)
        if down_kind is None or PAIRS[down_kind] not in parts:
            missing = "not one of a lora_A, lora_B pair" if down_kind is None else f"its {PAIRS[down_kind]} is missing"
            self.problems += [f"{key.name}: {missing}" for key, _ in list(parts.values())[:1]]
            return []
        if more := parts.keys() - {down_kind, PAIRS[down_kind], "lora_magnitude_vector", "lora_B.bias"}:
            self.problems.append(f"{parts[more.pop()][0].name}: not one of the tensors of {parts[down_kind][0].name}")
            return []
        (key, down), (_, up) = parts[down_kind], parts[PAIRS[down_kind]]
        target, known_as = self._target(module)
        if not (pieces := self._find(key, target, f"{down_kind} {key.depth}")):
            return []
        shape, table = self._joined(pieces), down_kind != "lora_A"
        magnitude = self._magnitude(key, parts.get("lora_magnitude_vector"), shape[-1] if table else shape[0])
        if fault := _misfit(up.shape, down.shape, shape, table):
            self.problems.append(f"{key.name}: {fault} {target} {shape}")
            return []
        rank = down.shape[0]
        if rank != (said := self.settings.rank(known_as)):
            self.problems.append(f"{key.name}: rank {rank}, but {self.settings.file.name} says {said}")
            return []
        if (start := self.settings.start) and (table or len(shape) != 2):
            self.problems.append(f"{key.name}: {start} takes nothing out of tensors like {target} {shape}")
            return []
        scale = self.settings.scale(known_as, rank)
        if table:
            return [Edit(pieces, LowRankTable(down, up, scale, magnitude))]
        edits = [Edit(pieces, LowRank(down, up, scale, magnitude, start))]
        return edits + (self._bias(module, parts["lora_B.bias"], scale) if "lora_B.bias" in parts else [])

    def _magnitude(self, pair: Key, part: Part | None, outputs: int) -> Stored | None:
        """Lengths of DoRA, which exist if, and only if, the settings say so."""
        dora = bool(self.settings.values.get("use_dora"))
        if part is None:
            if dora:
                self.problems.append(f"{pair.name}: its lora_magnitude_vector is missing, and use_dora is set")
            return None
        key, stored = part
        if not dora:
            self.problems.append(f"{key.name}: not one of a lora_A, lora_B pair, and use_dora is not set")
        elif math.prod(stored.shape) != outputs:
            self.problems.append(f"{key.name}: {stored.shape} does not fit {outputs} outputs")
        return stored

    def _bias(self, module: str, part: Part, scale: float) -> list[Edit]:
        key, stored = part
        if not (pieces := self._find(key, f"{module}.bias", key.kind)):
            return []
        if stored.shape != (shape := self._joined(pieces)):
            self.problems.append(f"{key.name}: {stored.shape} does not fit {module}.bias {shape}")
        return [Edit(pieces, Added(stored, scale))]

    def _target(self, module: str) -> tuple[str, str]:
        """Parameter of a module that is changed, and the name by which the settings know it.

        It is the module's weight or one of ``target_parameters``.
        """
        named = [f"{module}.{leaf}" for leaf in self.settings.parameters(module)]
        named = [name for name in named if self.names.find(name)]
        if len(named) > 1:
            self.problems.append(f"{module}: which of {', '.join(named)} of target_parameters it is, no name tells")
        return (named[0], named[0]) if named else (f"{module}.weight", module)

    def _find(self, key: Key, path: str, kind: str) -> tuple[RowRange, ...]:
        pieces = self.names.find(path)
        if not pieces:
            self.strangers.append(f"{key.name}: the base has no {path}")
        elif (pieces, kind) in self.changed:
            self.problems.append(f"{key.name}: another tensor changes {path} in the same way")
        else:
            self.found[path] = pieces
            self.changed.add((pieces, kind))
        return pieces

    def _joined(self, pieces: tuple[RowRange, ...]) -> tuple[int, ...]:
        """Shape of the tensor that the adapter knows."""
        return (sum(piece.stop - piece.start for piece in pieces), *self.shapes[pieces[0].name][1:])

    def _check_complete(self) -> None:
        """Find tensors that were trained by the settings and that the file does not hold."""
        if self.problems or self.strangers or not self.found:
            return
        said = self.settings
        targets = said.values.get("target_modules")
        narrowed = any(said.values.get(name) for name in ("exclude_modules", "layers_to_transform", "layers_pattern"))
        if isinstance(targets, list) and not narrowed:
            lost = untrained(targets, self.names, self.shapes, self.found)
            self.problems += [f"{name}: no LoRA pair, though {said.file.name} targets it" for name in lost]
        for module in said.values.get("modules_to_save") or []:
            inside = f".{module}."
            in_base = module.rpartition(".")[2] not in HEADS and any(inside in f".{name}" for name in self.shapes)
            if in_base and not any(inside in f".{name}." for name in self.found):
                self.problems.append(f"modules_to_save names {module}, but none of its tensors is there")
        tables = [path for path in self.found if (self.found[path], "trainable_tokens_delta") in self.changed]
        for table in said.token_tables():
            if table.rpartition(".")[2] not in HEADS and not any(f".{table}.weight" in f".{path}" for path in tables):
                self.problems.append(
                    f"trainable_token_indices names {table}, but its trainable_tokens_delta is not there"
                )
        self._note_biases()

    def _note_biases(self) -> None:
        """Report biases that were trained and are missing: versions of PEFT have not saved them."""
        if self.settings.values.get("bias") in (None, "none"):
            return
        biases = [f"{path.removesuffix('.weight')}.bias" for path in self.found if path.endswith(".weight")]
        lost = [path for path in biases if path not in self.found and self.names.find(path)]
        if lost:
            self.note(
                f"{self.settings.file}: bias is {self.settings.values['bias']!r}, but {len(lost)} are not in the file, "
                f"{lost[0]} among them; the base's stay, as with PEFT"
            )

    def _refuse(self, files: Sequence[str], any_edit: bool) -> None:
        """Raise the collected problems."""
        problems, advice = (
            self.problems[:SHOWN],
            "Save the adapter again from the training, with save_pretrained of PEFT.",
        )
        if len(self.problems) > SHOWN:
            problems.append(f"... and {len(self.problems) - SHOWN} more")
        if self.strangers:
            problems.append(_strange(self.strangers, self.found))
            if not self.found:
                advice = (
                    "Give the base that the adapter was trained on (--base); its modules must have the released names."
                )
        if not problems and not any_edit:
            problems.append("it holds no LoRA tensors")
        if problems:
            text = "\n  ".join(problems)
            raise CheckpointError(f"{', '.join(files) or self.folder} does not fit the base model:\n  {text}\n{advice}")


def _strange(strangers: Sequence[str], found: Mapping[str, Any]) -> str:
    """Line on tensors that the base lacks."""
    all_of_them = len(strangers) + len(found)
    return strangers[0] + ("" if len(strangers) == 1 else f", nor {len(strangers) - 1} more of {all_of_them} tensors")


def _misfit(up: tuple[int, ...], down: tuple[int, ...], shape: tuple[int, ...], table: bool) -> str | None:
    """Whether B x A, or A and B of a table, give a tensor of a shape; if not, the beginning of a sentence."""
    if table:
        fits = len(up) == len(down) == 2 and (down[1], up[0]) == shape and up[1] == down[0]
    else:
        fits = len(up) == len(down) == len(shape) >= 2 and (up[0], *down[1:]) == shape and up[1] == down[0]
        fits = fits and all(size == 1 for size in up[2:])
    return None if fits else f"B {up} x A {down} does not fit"


def untrained(
    targets: Sequence[str], names: BaseNames, shapes: Mapping[str, tuple[int, ...]], found: Iterable[str]
) -> list[str]:
    """Tensors that an adapter should have changed by its list of target modules, and does not.

    Where it has other names than the base, or is of a part of the model, only those are known that have the name of a
    changed one but for the number of the layer.
    """
    found = set(found)
    known = {name for name in shapes if first_part(name) not in HEADS}
    if not found <= known:
        known = {sibling for path in found for sibling in _siblings(path, names)}
    modules = [name.removesuffix(".weight") for name in sorted(known - found) if name.endswith(".weight")]
    return [f"{module}.weight" for module in modules if any(f".{module}".endswith(f".{target}") for target in targets)]


def _siblings(path: str, names: BaseNames) -> Iterable[str]:
    """Names of the tensor in every layer that the base has."""
    found = re.fullmatch(r"((?:.*?\.)?)\d+(\..*)", path)
    if found is None:
        return
    for layer in itertools.count():
        sibling = f"{found[1]}{layer}{found[2]}"
        if not names.find(sibling):
            return
        yield sibling
