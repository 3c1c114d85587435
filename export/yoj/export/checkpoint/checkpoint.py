"""Trained checkpoint in either form that the YOJO code writes: merged, or LoRA adapters over a base model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from tokenizers import AddedToken, Tokenizer

from yoj.runtime.families import FAMILIES
from yoj.runtime.held import is_there
from yoj.runtime.images import Transparency
from yoj.runtime.manifest import Mode, ResponseImages
from yoj.runtime.text import not_special, read_tokenizer

from .._errors import CheckpointError
from ._bases import check_floating, trained_over_another, trained_over_quantised
from ._dimension_texts import DIMENSIONS, DimensionText
from ._edit_reward import (
    MODEL_CONFIG,
    PICKLED,
    REWARD_TOKEN,
    EditRewardFolder,
    find_edit_reward,
    is_head,
    read_edit_head,
)
from ._lora import TABLES, read_adapters
from ._single_heads import Search, find_head, head_prefix
from ._text_files import read_json
from ._trained_layouts import bare_name, head_name
from .adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_folder, check_one_kind, home_folder, trained_whole
from .head import SETTINGS, TrainedHead
from .weights import StoredTensor, Weights, read_folder

SEPARATOR = "<|resp_sep|>"

HiddenState: TypeAlias = Literal["post_norm", "pre_norm"]
VideoExpansion: TypeAlias = Literal["flat", "nested"]


@dataclass(frozen=True)
class Training:
    """Facts of the training that no tensor shows, by the keys of ``reward_model_config.json``; None: not said."""

    hidden_state: HiddenState | None = None
    """Hidden state that the head reads: after or before the trunk's final norm."""
    video_expansion: VideoExpansion | None = None
    """Whether the template's vision markers around a video are replaced with its placeholder, or stay around its
    frames, which have markers of their own."""
    trained_mode: Mode | None = None
    """Mode in which the responses were read."""
    trained_n: tuple[int, int] | None = None
    """Fewest and most responses that it read together."""
    transparency: Transparency | None = None
    """Treatment of transparency in pictures; where it is not said, they are put on white, as stock processors do."""
    response_images: ResponseImages | None = None
    """Pictures that every response showed in training, of any size or of that of the prompt's last picture."""
    dimensions: tuple[DimensionText, ...] | None = None
    """Texts that ask for each dimension, where the layout has them; None for those beside the weights."""
    rationale_prompt: str | None = None
    """Text behind a response that asked for its rationale; None where the model wrote none."""


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint whose files are found and checked; weights are read later, one at a time."""

    folders: tuple[Path, ...]
    """Folder of one merged checkpoint, or of adapters in the order in which they are applied."""
    base: Path | None
    """Folder of the base model of adapters."""
    config: dict[str, Any]
    """Content of ``config.json``."""
    head: TrainedHead
    weights: Weights
    tokenizer: Tokenizer
    """Tokenizer with the separator inside, where one is read; no truncation, no padding."""
    training: Training = Training()
    adapters: tuple[Path, ...] = ()
    """Folders of the adapters: those of ``folders``, or a folder below with the adapter's name."""
    notes: tuple[str, ...] = ()
    """Notices of parts of the adapters that were left out, or are not as they seem."""
    elsewhere: tuple[Path, ...] = ()
    """Further folders of files of the tokenizer and the processor, which come before those of the base."""

    @classmethod
    def open(
        cls, paths: Sequence[str | Path], base: str | Path | None = None, training: Training | None = None
    ) -> Checkpoint:
        """Find the files of a checkpoint and check that they fit each other.

        Args:
            paths: one merged checkpoint, or one or several adapter folders in their order. A training folder that
                is no adapter itself stands for its newest ``checkpoint-N``.
            base: base model of the adapters; None for the one that the first adapter names.
            training: facts that override ``reward_model_config.json``.

        Raises:
            CheckpointError: something is wrong; the text names the file and the fix.
        """
        if not paths:
            raise CheckpointError("No checkpoint was given.")
        if found := find_edit_reward([Path(path) for path in paths], None if base is None else Path(base)):
            return cls._open_edit_reward(found, training or Training())
        if training is not None and training.dimensions is not None:
            raise CheckpointError(
                f"{paths[-1]} is no checkpoint of EditReward, whose dimensions alone have texts of their own. Leave "
                "--dimensions out."
            )
        folders = tuple(_resolve(Path(path)) for path in paths)
        found = [adapter_folder(folder) for folder in folders]
        adapters = tuple(folder for folder in found if folder is not None)
        for folder in dict.fromkeys((*folders, *adapters)):
            check_one_kind(folder)
        folders = tuple(
            folder if adapter is None else home_folder(folder, adapter, SETTINGS)
            for folder, adapter in zip(folders, found, strict=True)
        )
        trunk = _trunk(folders, found, base)
        config = _read_config(trunk)
        check_floating(trunk, config, adapters)
        stored = read_folder(trunk)
        notes = [*trained_over_quantised(trunk, adapters), *trained_over_another(trunk, adapters)]
        head = find_head(Search(folders, trunk, config, stored, _hidden_size(config, trunk), adapters))
        trained = _read_training(folders[-1], training or Training(), head)
        tensors = _backbone(trunk, stored, head_prefix(config, trunk / "config.json"))
        weights = Weights(tensors, read_adapters(adapters, tensors, config, notes.append))
        return cls(
            folders=folders,
            base=trunk if adapters else None,
            config=config,
            head=head,
            weights=weights,
            tokenizer=_read_tokenizer(
                find((folders[-1], trunk), "tokenizer.json"),
                None if trained.trained_mode != "isolated" else 0 if head.layout.single else _table_rows(weights),
            ),
            training=trained,
            adapters=adapters,
            notes=(*head.notes, *notes),
        )

    @classmethod
    def _open_edit_reward(cls, found: EditRewardFolder, training: Training) -> Checkpoint:
        """Open a full fine-tune of EditReward; see `yoj.export.checkpoint._edit_reward`."""
        at = next(place for place in found.places if (place / "config.json").is_file())
        config, tensors = _read_config(at), found.tensors()
        head = read_edit_head(found, tensors, _hidden_size(config, at), training.dimensions)
        read = _read_training(found.folder, training, head)
        file = find(found.places, "tokenizer.json")
        tokenizer = _read_tokenizer(file, 0)
        if tokenizer.token_to_id(REWARD_TOKEN) is None or not_special(tokenizer, REWARD_TOKEN):
            raise CheckpointError(
                f"{file} has no special token {REWARD_TOKEN}, which the training added. Copy the folder tokenizer/ of "
                "the checkpoint."
            )
        return cls(
            folders=(found.folder,),
            base=found.base,
            config=config,
            head=head,
            weights=Weights({name: stored for name, stored in tensors.items() if not is_head(name)}),
            tokenizer=tokenizer,
            training=replace(read, response_images=read.response_images or "any_size"),
            notes=head.notes,
            elsewhere=found.places[1:],
        )

    @classmethod
    def open_base(cls, folder: Path, make_head: Callable[[int], TrainedHead], training: Training) -> Checkpoint:
        """Open a base model in its released layout, with a value head that is yet to be trained.

        Args:
            folder: folder of the base.
            make_head: function from the hidden size to the head.
            training: facts of the training to come.

        Raises:
            CheckpointError: something is wrong; the text names the file and the fix.
        """
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder} holds no config.json. Give the folder of a base model.")
        config = _read_config(folder)
        return cls(
            folders=(folder,),
            base=None,
            config=config,
            head=make_head(_hidden_size(config, folder)),
            weights=Weights(read_folder(folder)),
            tokenizer=_read_tokenizer(folder / "tokenizer.json"),
            training=training,
        )

    @property
    def family(self) -> str:
        """``model_type`` of the backbone."""
        return self.config["model_type"]

    @property
    def trunk(self) -> Path:
        """Folder of ``config.json`` and the backbone's weights."""
        return self.base or self.folders[-1]

    @property
    def places(self) -> tuple[Path, ...]:
        """Folders of files of the tokenizer and the processor, the first to count in front."""
        return tuple(dict.fromkeys((self.folders[-1], *self.elsewhere, self.trunk)))

    @property
    def separator_id(self) -> int | None:
        """Id of the separator token; None where responses were read one at a time and nothing separates them."""
        return None if self.head.layout.single else self.tokenizer.token_to_id(SEPARATOR)

    def file(self, name: str) -> Path:
        """Path of a tokenizer or processor file: of the last adapter, or else of the base.

        Raises:
            CheckpointError: neither folder has it.
        """
        return find(self.places, name)

    def files(self) -> Iterator[Path]:
        """Every file that the export reads or that says where the weights come from."""
        wanted = ("*.safetensors", "*.safetensors.index.json", "value_head.pt", "value_head.bin")
        wanted += (SETTINGS, ADAPTER_CONFIG)
        wanted += ("config.json", "tokenizer.json", "chat_template.jinja", "*processor_config.json")
        wanted += ("chat_template.json", "additional_chat_templates/*.jinja")
        wanted += tuple(name for name in ADAPTER_WEIGHTS if not name.endswith(".safetensors"))
        wanted += (MODEL_CONFIG, DIMENSIONS, *PICKLED) if self.elsewhere else ()
        for folder in dict.fromkeys((*self.folders, *self.adapters, *self.elsewhere, self.trunk)):
            for pattern in wanted:
                yield from sorted(folder.glob(pattern))
        yield from dict.fromkeys(file for folder in self.adapters for file in trained_whole(folder))


def own_code(checkpoint: Checkpoint) -> list[str]:
    """Classes in Python files beside the weights that the checkpoint's settings name; yoj never runs them."""
    found = list[str]()
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        for folder in dict.fromkeys((*checkpoint.folders, *checkpoint.places)):
            if (file := folder / name).is_file() and isinstance(named := read_json(file).get("auto_map"), dict):
                found.append(f"{file} ({', '.join(sorted(map(str, named)))})")
    return found


def find(places: Sequence[Path], name: str) -> Path:
    """``name`` in the first folder that has it.

    Raises:
        CheckpointError: none has it.
    """
    for place in places:
        if (place / name).is_file():
            return place / name
    where = " and ".join(map(str, dict.fromkeys(places)))
    raise CheckpointError(f"{name} is missing in {where}. Copy it from the model that was trained.")


def _resolve(path: Path) -> Path:
    if not (is_there(path) and path.is_dir()):
        raise CheckpointError(
            f"{path} is not a folder. Give the folder of a checkpoint; nothing is downloaded "
            "but what a command is given as org/name@revision."
        )
    if (path / "config.json").is_file() or adapter_folder(path) is not None:
        return path
    steps = [child for child in path.glob("checkpoint-*") if child.name.removeprefix("checkpoint-").isdigit()]
    steps = [child for child in steps if adapter_folder(child) is not None]
    if not steps:
        raise CheckpointError(
            f"{path} is no checkpoint: it has neither config.json nor {ADAPTER_CONFIG}, and no checkpoint-N folder "
            "with an adapter."
        )
    return max(steps, key=lambda child: int(child.name.removeprefix("checkpoint-")))


def _trunk(folders: Sequence[Path], found: Sequence[Path | None], base: str | Path | None) -> Path:
    """Folder of the backbone: the merged checkpoint, or the base of the adapters."""
    plain = [str(folder) for folder, adapter in zip(folders, found, strict=True) if adapter is None]
    if not plain and found[0] is not None:
        return _base_folder(found[0], base)
    if len(folders) == 1 and base is None:
        return folders[0]
    raise CheckpointError(f"{', '.join(plain)} is a merged checkpoint: give it alone, or as --base under the adapters.")


def _base_folder(adapter: Path, base: str | Path | None) -> Path:
    if base is not None:
        if not (Path(base) / "config.json").is_file():
            raise CheckpointError(f"--base {base} holds no config.json. Give the folder of the base model.")
        return Path(base)
    named = read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path") or ""
    if not isinstance(named, str):
        raise CheckpointError(
            f"{adapter / ADAPTER_CONFIG}: base_model_name_or_path is {named!r}, expected a name. Give --base."
        )
    for candidate in (adapter / named, Path(named)):
        if named and (candidate / "config.json").is_file():
            return candidate
    raise CheckpointError(
        f"{adapter / ADAPTER_CONFIG} names the base model {named!r}, which is no folder here. Download it and give "
        "its folder with --base, or give its hub id, --base ORG/NAME@REVISION; what an adapter alone names is never "
        "downloaded."
    )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    config = read_json(file)
    if "model_type" not in config:
        raise CheckpointError(f"{file} has no model_type. Copy it from the model that was trained.")
    if not isinstance(config["model_type"], str) or config["model_type"] not in FAMILIES:
        raise CheckpointError(
            f"{file} says model_type {config['model_type']!r}; this yoj exports {', '.join(FAMILIES)}. Check that "
            "this is the checkpoint you mean; for another backbone, upgrade yoj."
        )
    return config


def _hidden_size(config: dict[str, Any], folder: Path) -> int:
    text = config.get("text_config")
    size = text.get("hidden_size") if isinstance(text, dict) else None
    if not isinstance(size, int):
        raise CheckpointError(f"{folder / 'config.json'} has no text_config.hidden_size. Copy it from the model.")
    return size


def _backbone(folder: Path, tensors: Mapping[str, StoredTensor], prefix: str | None) -> dict[str, StoredTensor]:
    """Tensors that belong to no head, by their names without wrappers."""
    found: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        if head_name(name, prefix) is not None:
            continue
        if (bare := bare_name(name)) in found:
            raise CheckpointError(f"{folder} holds {bare} twice, once as {name}. Remove the shard that is left over.")
        found[bare] = tensor
    return found


def _read_training(folder: Path, given: Training, head: TrainedHead) -> Training:
    """Facts of the training: as given, as the settings say, and as the layout of the head has them."""
    layout, file = head.layout, folder / SETTINGS
    if file.is_file():
        given = _read_settings(file, given)
    if not layout.single:
        return given
    where = f"{folder} is of the layout {layout.name} ({layout.written_by}), which"
    if given.trained_mode == "joint":
        raise CheckpointError(f"{where} reads one response at a time: give --mode isolated.")
    if layout.hidden_state is not None and given.hidden_state not in (None, layout.hidden_state):
        raise CheckpointError(
            f"{where} reads the state after the final norm under every version of transformers: --hidden-state "
            f"{given.hidden_state} would give other scores. Leave it out."
        )
    return replace(given, trained_mode="isolated", hidden_state=layout.hidden_state or given.hidden_state)


def _read_settings(file: Path, given: Training) -> Training:
    settings, problems = read_json(file), list[str]()
    choices = {
        "hidden_state": HiddenState,
        "video_expansion": VideoExpansion,
        "trained_mode": Mode,
        "transparency": Transparency,
        "response_images": ResponseImages,
    }
    for name, known in ((name, get_args(kind)) for name, kind in choices.items()):
        if getattr(given, name) is not None or (stated := settings.get(name)) is None:
            continue
        if stated not in known:
            problems.append(f"{name} is {stated!r}; known are {', '.join(known)}")
        given = replace(given, **{name: stated})
    if given.trained_n is None and (stated := settings.get("trained_n")) is not None:
        try:
            given = replace(given, trained_n=check_trained_n(stated))
        except ValueError as error:
            problems.append(str(error))
    if given.rationale_prompt is None and (stated := settings.get("rationale_prompt")) is not None:
        if not isinstance(stated, str) or not stated:
            problems.append(f"rationale_prompt is {stated!r}; expected a text")
        given = replace(given, rationale_prompt=stated)
    if problems:
        raise CheckpointError(f"{file}: {'; '.join(problems)}. Correct it to what the model was trained with.")
    return given


def check_trained_n(stated: object) -> tuple[int, int]:
    """Check the numbers of responses of a training.

    Args:
        stated: fewest and most responses that were read together, [2, 16].

    Raises:
        ValueError: they are no such numbers.
    """
    if isinstance(stated, list | tuple) and len(stated) == 2 and all(type(one) is int for one in stated):
        least, most = stated
        if 1 <= least <= most:
            return least, most
    raise ValueError(f"trained_n is {stated!r}; give the fewest and the most responses of a pack, such as [2, 16]")


def _table_rows(weights: Weights) -> int:
    """Number of rows of the embedding tables."""
    return sum(weights.shape(name)[0] for name in weights.names() if name.endswith(TABLES))


def _read_tokenizer(file: Path, rows: int | None = None) -> Tokenizer:
    """Load the tokenizer, with the separator added where it has a row in the embedding tables.

    Args:
        file: path of ``tokenizer.json``.
        rows: rows of the tables; None where the separator has to exist, so that its lack is an error later.
    """
    try:
        tokenizer = read_tokenizer(file.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not a tokenizer: {error}. Copy it again.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    fits = rows is None or tokenizer.get_vocab_size() < rows
    if fits and tokenizer.token_to_id(SEPARATOR) is None:
        # The YOJO code's own merge script loses it: the processor saved afterwards overwrites the tokenizer.
        # It takes the next free id, as it did in training.
        tokenizer.add_special_tokens([AddedToken(SEPARATOR, special=True, normalized=False)])
    if tokenizer.token_to_id(SEPARATOR) is not None and (problem := not_special(tokenizer, SEPARATOR)):
        raise CheckpointError(f"{file}: {problem}. Copy the tokenizer of the model that was trained.")
    return tokenizer
