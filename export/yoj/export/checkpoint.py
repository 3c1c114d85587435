"""A trained checkpoint in either layout of the reference: merged, or LoRA adapters over a base model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from tokenizers import AddedToken, Tokenizer

from yoj.runtime.families import FAMILIES
from yoj.runtime.images import Transparency
from yoj.runtime.manifest import Mode

from .adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_folder, check_one_kind, home_folder, trained_whole
from .bases import check_floating, trained_over_quantised
from .errors import CheckpointError
from .files import read_json
from .head import SETTINGS, TrainedHead, read_head
from .lora import read_adapters
from .weights import Weights, read_folder

SEPARATOR = "<|resp_sep|>"

HiddenState: TypeAlias = Literal["post_norm", "pre_norm"]
VideoExpansion: TypeAlias = Literal["flat", "nested"]


@dataclass(frozen=True)
class Training:
    """What no tensor shows of how a model was trained, in the keys of ``reward_model_config.json``; None: not said."""

    hidden_state: HiddenState | None = None
    """What the head reads: the trunk's output after or before its final norm."""
    video_expansion: VideoExpansion | None = None
    """Whether the template's vision markers around a video are replaced with its placeholder, or stay around its
    frames, which have markers of their own."""
    trained_mode: Mode | None = None
    """How the responses were read."""
    transparency: Transparency | None = None
    """What became of transparency in pictures; where it is not said, they are put on white, as stock processors do."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a bundle is made of, found and checked; weights are read later, one at a time."""

    folders: tuple[Path, ...]
    """One merged checkpoint, or adapters in the order in which they are applied."""
    base: Path | None
    """The base model of adapters."""
    config: dict[str, Any]
    """``config.json``."""
    head: TrainedHead
    weights: Weights
    tokenizer: Tokenizer
    """With the separator inside; no truncation, no padding."""
    training: Training = Training()
    adapters: tuple[Path, ...] = ()
    """Where the adapters of ``folders`` lie: in them, or in a folder below that has the adapter's name."""
    notes: tuple[str, ...] = ()
    """What was left out of the adapters, or is not as it seems."""

    @classmethod
    def open(
        cls, paths: Sequence[str | Path], base: str | Path | None = None, training: Training | None = None
    ) -> Checkpoint:
        """Find the files of a checkpoint and check that they fit each other.

        Args:
            paths: one merged checkpoint, or one or several adapter folders in their order. A training folder that
                is no adapter itself stands for its newest ``checkpoint-N``.
            base: the base model of the adapters; None for what the first adapter names.
            training: overrides what ``reward_model_config.json`` says.

        Raises:
            CheckpointError: naming the file and the fix.
        """
        folders = tuple(_resolve(Path(path)) for path in paths)
        if not folders:
            raise CheckpointError("No checkpoint was given.")
        found = [adapter_folder(folder) for folder in folders]
        adapters = tuple(folder for folder in found if folder is not None)
        for folder in dict.fromkeys((*folders, *adapters)):
            check_one_kind(folder)
        folders = tuple(
            folder if adapter is None else home_folder(folder, adapter, SETTINGS)
            for folder, adapter in zip(folders, found, strict=True)
        )
        if len(adapters) == len(folders):
            trunk = _base_folder(adapters[0], base)
        elif len(folders) == 1 and base is None:
            trunk = folders[0]
        else:
            plain = [str(folder) for folder, adapter in zip(folders, found, strict=True) if adapter is None]
            raise CheckpointError(
                f"{', '.join(plain)} is a merged checkpoint: give it alone, or as --base under the adapters."
            )
        config = _read_config(trunk)
        check_floating(trunk, config, adapters)
        tensors, notes = read_folder(trunk), trained_over_quantised(trunk, adapters)
        edits = read_adapters(adapters, tensors, config, notes.append)
        return cls(
            folders=folders,
            base=trunk if adapters else None,
            config=config,
            head=read_head(folders[-1], _hidden_size(config, trunk)),
            weights=Weights(tensors, edits),
            tokenizer=_read_tokenizer(find(folders[-1], trunk, "tokenizer.json")),
            training=_read_training(folders[-1] / SETTINGS, training or Training()),
            adapters=adapters,
            notes=tuple(notes),
        )

    @classmethod
    def open_base(cls, folder: Path, make_head: Callable[[int], TrainedHead], training: Training) -> Checkpoint:
        """A base model in its released layout, with a value head that is yet to be trained.

        Args:
            folder: of the base.
            make_head: hidden size -> the head.
            training: what the training will do.

        Raises:
            CheckpointError: naming the file and the fix.
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
        """The folder of ``config.json`` and the backbone's weights."""
        return self.base or self.folders[-1]

    @property
    def separator_id(self) -> int:
        """Id of the separator token."""
        found = self.tokenizer.token_to_id(SEPARATOR)
        assert found is not None
        return found

    def file(self, name: str) -> Path:
        """A tokenizer or processor file: of the last adapter, or else of the base.

        Raises:
            CheckpointError: neither has it.
        """
        return find(self.folders[-1], self.trunk, name)

    def files(self) -> Iterator[Path]:
        """Every file that the export reads or that says where the weights come from."""
        wanted = ("*.safetensors", "*.safetensors.index.json", "value_head.pt", SETTINGS, ADAPTER_CONFIG)
        wanted += ("config.json", "tokenizer.json", "chat_template.jinja", "*processor_config.json")
        wanted += tuple(name for name in ADAPTER_WEIGHTS if not name.endswith(".safetensors"))
        for folder in dict.fromkeys((*self.folders, *self.adapters, self.trunk)):
            for pattern in wanted:
                yield from sorted(folder.glob(pattern))
        yield from dict.fromkeys(file for folder in self.adapters for file in trained_whole(folder))


def find(folder: Path, fallback: Path, name: str) -> Path:
    """``name`` in the first of two folders that has it.

    Raises:
        CheckpointError: neither has it.
    """
    for place in (folder, fallback):
        if (place / name).is_file():
            return place / name
    where = str(folder) if folder == fallback else f"{folder} and {fallback}"
    raise CheckpointError(f"{name} is missing in {where}. Copy it from the model that was trained.")


def _resolve(path: Path) -> Path:
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a folder. Give the folder of a checkpoint; nothing is downloaded.")
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


def _base_folder(adapter: Path, base: str | Path | None) -> Path:
    if base is not None:
        if not (Path(base) / "config.json").is_file():
            raise CheckpointError(f"--base {base} holds no config.json. Give the folder of the base model.")
        return Path(base)
    named = read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path") or ""
    for candidate in (adapter / named, Path(named)):
        if named and (candidate / "config.json").is_file():
            return candidate
    raise CheckpointError(
        f"{adapter / ADAPTER_CONFIG} names the base model {named!r}, which is no folder here. Download it and give "
        "its folder with --base."
    )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    config = read_json(file)
    if "model_type" not in config:
        raise CheckpointError(f"{file} has no model_type. Copy it from the model that was trained.")
    if config["model_type"] not in FAMILIES:
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


def _read_training(file: Path, given: Training) -> Training:
    settings, problems = read_json(file), list[str]()
    choices = {
        "hidden_state": HiddenState,
        "video_expansion": VideoExpansion,
        "trained_mode": Mode,
        "transparency": Transparency,
    }
    for name, known in ((name, get_args(kind)) for name, kind in choices.items()):
        if getattr(given, name) is not None or (stated := settings.get(name)) is None:
            continue
        if stated not in known:
            problems.append(f"{name} is {stated!r}; known are {', '.join(known)}")
        given = replace(given, **{name: stated})
    if problems:
        raise CheckpointError(f"{file}: {'; '.join(problems)}. Correct it to what the model was trained with.")
    return given


def _read_tokenizer(file: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"{file} is not a tokenizer: {error}. Copy it again.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if tokenizer.token_to_id(SEPARATOR) is None:
        # The reference's own merge script loses it: the processor saved afterwards overwrites the tokenizer.
        # It takes the next free id, as it did in training.
        tokenizer.add_special_tokens([AddedToken(SEPARATOR, special=True, normalized=False)])
    return tokenizer
