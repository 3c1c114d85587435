"""Recipe: the YAML file of a training run.

Defaults are the recipe of the YOJO code for 4B (``scripts/train.sh``): LoRA of rank 128 on the language blocks, an
MLP head, 64 packs a step by accumulation on 8 devices, 3 epochs, linear decay without warm-up.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import yaml

from yoj.runtime.hub import is_hub_id, local_folder
from yoj.runtime.manifest import HeadType, LayoutName, Mode, Pooling, Readout

from ._errors import RecipeError

PRESETS = Path(__file__).parent / "presets"
"""Folder of whole recipes to start from."""

RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {
    "at least 1": (
        lambda value: value >= 1,
        ("epochs", "max_steps", "batch_size", "accumulation", "max_length", "evaluate_every", "save_every", "keep",
         "log_every", "lora.rank", "head.hidden", "max_pixels"),
    ),
    "finite and at least 0": (
        lambda value: 0 <= value < math.inf,
        ("workers", "max_vision_tokens", "head.init_std", "optimiser.weight_decay"),
    ),
    "finite and above 0": (lambda value: 0 < value < math.inf, ("lora.alpha", "optimiser.learning_rate")),
    "above 0": (lambda value: value > 0, ("optimiser.clip",)),
    "0 to 1": (lambda value: 0 <= value <= 1, ("language_share",)),
    "0 to less than 1": (lambda value: 0 <= value < 1, ("lora.dropout", "optimiser.betas", "optimiser.warmup")),
}  # fmt: skip
"""Bounds of the numbers in a recipe."""

Objective: TypeAlias = Literal["n_way", "plackett_luce", "bradley_terry", "joint", "language"]


class Lora(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Adapters on the matrices of the language blocks; vision tower, connector and embeddings stay as they are."""

    rank: int = 128
    alpha: float = 16
    dropout: float = 0.05


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The value head, or one for each dimension, with a second output, log sigma, where the objective is ``joint``."""

    type: HeadType = "mlp"
    hidden: int = 1024
    activation: Literal["selu", "gelu", "relu", "tanh", "silu"] = "silu"
    readout: Readout = "last"
    init_std: float = 0.01
    """Standard deviation of the normal distribution that the weights start from; biases start at 0."""
    dimensions: tuple[str, ...] = ()
    """Names of the dimensions that are judged apart, each with a head of its own; empty for one score."""
    pooling: Pooling = "mean"
    """Rule by which the scores of the dimensions become one."""
    token: str | None = None
    """Special token of the tokenizer that is put behind each response, and that read-out ``token`` reads."""
    ask: str = ""
    """Text between a response and that token."""


class Optimiser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """AdamW, or Muon for the matrices between embeddings and heads and AdamW for the rest."""

    kind: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = 0.0
    """Share of the steps in which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of the gradient; larger ones are scaled down to it."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one run. Paths are relative to the recipe's file."""

    base: str
    """Folder of the base model in its released layout; or, where there is none, its hub id, ``org/name@revision``."""
    data: str
    """Samples to train on, JSON lines."""
    out: str
    """Folder for checkpoints."""
    held_out: str | None = None
    """Samples to evaluate on, JSON lines."""
    init_from: str | None = None
    """Checkpoint of another run, whose trained weights and value head the training begins with; None for fresh ones."""
    objective: Objective = "n_way"
    n: tuple[int, int] | None = None
    """Fewest and most responses of a sample that are read together, drawn for each step, log N evenly; a sample that
    has fewer shows all. None for all of each sample."""
    trainable: Literal["lora", "all"] = "lora"
    """Weights to train. ``lora``: adapters on the base. ``all``: every weight, vision tower included; saved in the
    base's own layout, with the value head beside it."""
    ties: Literal["share", "random"] = "share"
    """Treatment of several best responses: each takes an equal share of the probability, or one is drawn, as in the
    YOJO code."""
    language_share: float = 0.7
    """Share a in the loss (1 - a) ranking + a language modelling, where the objective is ``joint``; with 0 the language
    path costs nothing."""
    rationale_prompt: str = "Explain the grade."
    """Text that asks for the rationale of a response, behind prompt and response in the user's turn."""
    layout: LayoutName = "assistant"
    hidden_state: Literal["post_norm", "pre_norm"] = "post_norm"
    """Hidden state that the head reads: after or before the trunk's final norm."""
    video_expansion: Literal["flat", "nested"] | None = None
    """Expansion of videos, for Qwen3-VL only; see `yoj.export.checkpoint.checkpoint.Training`."""
    lora: Lora = Lora()
    head: Head = Head()
    optimiser: Optimiser = Optimiser()
    epochs: int = 3
    max_steps: int | None = None
    """Number of steps after which the run ends, whatever the epochs."""
    batch_size: int = 1
    """Number of packed sequences on a device at a time."""
    accumulation: int = 8
    """Number of batches before a step."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the matrix products; ``auto``: bfloat16 where that is fast, see `yoj.training._precision`.
    Adapters, head and the optimiser's state are float32."""
    base_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the frozen weights, and with them of the states between the layers; float32 where all weights are
    trained."""
    gradient_checkpointing: bool = True
    max_length: int = 24_576
    """Most tokens of a packed sequence."""
    max_vision_tokens: int = 16_384
    """Most visual tokens among them."""
    max_pixels: int | None = None
    """Most pixels of a picture; larger ones are shown smaller, also where the judge serves. None for what the base's
    processor says. For Qwen3-VL; Molmo2 counts crops."""
    workers: int = 2
    """Number of processes that read and pack samples, for each device."""
    seed: int = 0
    evaluate_every: int = 500
    """Number of steps from one evaluation to the next; the end is always evaluated."""
    save_every: int = 500
    keep: int = 3
    """Number of checkpoints that stay, beside the one that did best on the held-out samples; older ones are removed."""
    log_every: int = 10
    log: Literal["stdout", "tensorboard"] = "stdout"
    media_root: str | None = None
    """Folder that media of the samples may come from; by default that of their file. Relative paths begin at the folder
    of the file where that lies in it, else here."""
    ignore_fields: tuple[str, ...] = ()
    """Fields of the samples that are ignored."""


def read_recipe(file: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe and change single settings.

    Args:
        file: YAML file.
        changes: ``name=value`` or ``part.name=value``, values in YAML.

    Raises:
        RecipeError: a setting is unknown or malformed; the text names it.
        HubError: the base is a hub id that cannot be downloaded.
    """
    try:
        settings = _parse(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{file} cannot be read as YAML: {error}.") from error
    if not isinstance(settings, dict):
        raise RecipeError(f"{file} holds no settings. See the presets of yoj-train for a whole recipe.")
    for change in changes:
        _change(settings, change)
    given = str(settings.get("base"))
    for name in ("base", "data", "out", "held_out", "init_from", "media_root"):
        if isinstance(settings.get(name), str):
            settings[name] = str(file.parent / settings[name])
    try:
        recipe = msgspec.convert(settings, Recipe)
    except msgspec.ValidationError as error:
        known = _known(str(error).rpartition(" ")[2]) if "unknown field" in str(error) else ""
        raise RecipeError(f"{file}: {error}.{known}") from error
    check(recipe, str(file))
    if not Path(recipe.base).exists() and is_hub_id(given):
        recipe = msgspec.structs.replace(recipe, base=str(local_folder(given, "checkpoint")))
    return recipe


def check(recipe: Recipe, name: str) -> None:
    """Refuse settings that no run can have.

    Raises:
        RecipeError: settings are impossible; all are named.
    """
    problems = list(_out_of_range(recipe))
    if recipe.ties == "random" and recipe.objective != "n_way":
        problems.append(f"ties random is for objective n_way; {recipe.objective} takes equal ranks as equal")
    if recipe.objective in ("joint", "language") and recipe.hidden_state == "pre_norm":
        problems.append(f"objective {recipe.objective} needs hidden_state post_norm: the language head reads that")
    if recipe.objective == "language" and recipe.trainable == "lora":
        problems.append("objective language trains a base model: set trainable to all")
    if recipe.n is not None and not 2 <= recipe.n[0] <= recipe.n[1]:
        problems.append(f"n is {list(recipe.n)}, expected the fewest and the most responses, from 2")
    if recipe.n is not None and recipe.objective == "language":
        problems.append("n is for objectives that rank; language learns from one response at a time")
    if recipe.init_from is not None and recipe.objective == "language":
        problems.append("init_from is for judges; give the trained model as base")
    problems += _wrong_dimensions(recipe)
    if not recipe.rationale_prompt.strip():
        problems.append("rationale_prompt is empty; give the text that asks for a rationale")
    if recipe.log == "tensorboard" and not any(map(importlib.util.find_spec, ("tensorboard", "tensorboardX"))):
        problems.append("log tensorboard needs the package tensorboard: pip install tensorboard, or log to stdout")
    if problems:
        raise RecipeError(f"{name}: {'; '.join(problems)}.")


def _wrong_dimensions(recipe: Recipe) -> Iterator[str]:
    head = recipe.head
    if head.readout == "token" and head.token is None:
        yield "head.readout token needs head.token, the special token whose state is read"
    if head.readout != "token" and (head.token is not None or head.ask):
        yield f"head.token and head.ask are for head.readout token, which is {head.readout}"
    if head.readout == "token" and not head.dimensions:
        yield "head.readout token needs head.dimensions, if only one"
    if not head.dimensions:
        if head.pooling != "mean":
            yield f"head.pooling {head.pooling} is for head.dimensions, of which there are none"
        return
    if recipe.objective == "language":
        yield "head.dimensions is for objectives that rank; language trains no value head"
    from yoj.export.checkpoint.head import wrong_names  # which imports PyTorch

    yield from wrong_names(head.dimensions, "head.dimensions")


def ranks(recipe: Recipe) -> bool:
    """Whether rankings are learnt."""
    return recipe.objective != "language"


def learns_language(recipe: Recipe) -> bool:
    """Whether texts are learnt."""
    return recipe.objective == "language" or (recipe.objective == "joint" and recipe.language_share > 0)


def trained_mode(recipe: Recipe) -> Mode:
    """Mode in which responses are read in training, and so in serving."""
    return "isolated" if recipe.objective == "bradley_terry" else "joint"


def _out_of_range(recipe: Recipe) -> Iterator[str]:
    for expected, (fits, names) in RANGES.items():
        for name in names:
            value = attrgetter(name)(recipe)
            if value is not None and not all(map(fits, value if isinstance(value, tuple) else [value])):
                yield f"{name} is {value}, expected {expected}"


def _known(where: str) -> str:
    """Settings of the recipe, or of one part of it, as `msgspec` names the part."""
    part = {"`$.lora`": Lora, "`$.head`": Head, "`$.optimiser`": Optimiser}.get(where, Recipe)
    return f" Known settings: {', '.join(part.__struct_fields__)}."


def _change(settings: Any, change: str) -> None:
    name, equals, value = change.partition("=")
    *parts, leaf = name.split(".")
    for part in parts:
        settings = settings.setdefault(part, {}) if isinstance(settings, dict) else settings
    problem = RecipeError(f"--set {change!r} is not name=value, or part.name=value.")
    if not equals or not leaf or not isinstance(settings, dict):
        raise problem
    try:
        parsed = _parse(value)
    except yaml.YAMLError as error:
        raise problem from error
    settings[leaf] = parsed


class _Loader(yaml.SafeLoader):
    """YAML loader that takes 1e-4 for a number, as YAML 1.2 does; YAML 1.1 takes it for a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)  # a safe loader
