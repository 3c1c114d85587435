"""``yoj-train``: training of reward models, and its data."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from yoj.runtime.options import Given, readable_errors, reading_options
from yoj.runtime.version import __version__

from ._cli_evaluate import evaluate
from ._forms import FORMS
from ._recipe import PRESETS, Recipe, read_recipe

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are forked after the tokenizer was used
# Threads of PyTorch on the CPU that wait for each other by spinning take ten times as long where other work runs too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def told_forms() -> str:
    """Forms that `convert` reads, each with a row of it, as help text."""
    rows = "\n\n".join(f"\b\n{name}:\n{wrapped(form.told)}\n{wrapped(form.example)}" for name, form in FORMS.items())
    return f"Forms, each with a row:\n\n{rows}"


def wrapped(text: str) -> str:
    """Text in indented lines, cut between words alone, so that JSON stays JSON."""
    lines = textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent("\n".join(lines), "  ")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="yoj-train")
def main() -> None:
    """Train multi-response reward models: LoRA, or all weights, and a value head over a base model.

    \b
    yoj-train preset molmo2-4b > recipe.yaml      a whole recipe to start from
    yoj-train preset jrm-8b > recipe.yaml         one for judges of edited pictures, which also learn to say why
    yoj-train convert preference in.json out.jsonl   samples from a file of another form
    yoj-train check recipe.yaml                   read every sample, train nothing
    yoj-train run recipe.yaml                     train; goes on where it was killed
    yoj-train evaluate OUT/checkpoint-N held_out.jsonl   how good it is, for each kind of sample
    accelerate launch --config_file fsdp.yaml -m yoj.training.cli run recipe.yaml
    yoj-export OUT/checkpoint-N --base BASE --layout assistant --out judge.yoj
    """


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the argument for a recipe and the options that change it."""
    options = [
        click.argument("recipe", type=click.Path(dir_okay=False, path_type=Path)),
        click.option("--set", "changes", multiple=True, metavar="NAME=VALUE",
                     help="Change a setting: --set max_steps=100 --set lora.rank=64. "
                     "Paths are relative to the recipe."),
        click.option("--skip-invalid", is_flag=True, help="Leave out samples that cannot be trained on."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@recipe_options
@click.option("--trust-data", is_flag=True, help="Do not read every image and pack every sample before training.")
def run(recipe: Path, changes: tuple[str, ...], skip_invalid: bool, trust_data: bool) -> None:
    """Train as RECIPE says. A run goes on from the newest checkpoint in its folder, as if it had not been stopped."""
    with readable_errors():
        _run(read_recipe(recipe, changes), skip_invalid, trust_data)


@main.command()
@recipe_options
def check(recipe: Path, changes: tuple[str, ...], skip_invalid: bool) -> None:
    """Check the recipe, the base model and every sample; train nothing."""
    with readable_errors():
        from .setup import check_beginning, load_samples

        settings = read_recipe(recipe, changes)
        check_beginning(settings)
        samples, held_out = load_samples(settings, skip_invalid, packs=True, note=_note)
        click.echo(f"{len(samples)} samples to train on, {len(held_out)} held out.")


@main.command()
@click.argument("name", type=click.Choice(sorted(path.stem for path in PRESETS.glob("*.yaml"))))
def preset(name: str) -> None:
    """Print a recipe, or a configuration for accelerate, to start from."""
    click.echo((PRESETS / f"{name}.yaml").read_text("utf-8"), nl=False)


@main.command(epilog=told_forms())
@click.argument("form", type=click.Choice(list(FORMS)))
@click.argument("source", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--keep-unknown", is_flag=True, help="Put fields that the form does not have into metadata.")
@click.option("--skip-invalid", is_flag=True, help="Leave out rows that cannot be converted.")
@reading_options
def convert(form: str, source: Path, out: Path, keep_unknown: bool, skip_invalid: bool, given: Given) -> None:
    """Convert preferences and conversations of another form into JSON lines to train on.

    SOURCE is JSON lines or one JSON array, also compressed with gzip, or Parquet (with the package pyarrow). Media are
    named from the folder of OUT; those that a table holds itself become files in a folder beside it. Every line is
    read again as `yoj-train check` reads it. Rows that cannot be converted are named with their reasons, and nothing is
    written unless they are to be left out.

    \b
    yoj-train convert preference pairs.json train.jsonl
    """
    from ._convert import ConversionJob
    from ._convert import convert as write

    with readable_errors():
        write(ConversionJob(form, source, out, given.media_root, given.ignore, keep_unknown, skip_invalid), _note)


main.add_command(evaluate)


def _run(recipe: Recipe, skip_invalid: bool, trust_data: bool) -> None:
    from ._precision import resolve, this_machine
    from ._processes import open_accelerator
    from ._trainer import Trainer
    from .setup import load_samples

    open_accelerator(resolve(recipe, this_machine()))  # before the check of the data, which its processes share
    samples, held_out = load_samples(recipe, skip_invalid, packs=not trust_data, note=_note)
    Trainer(recipe, samples, held_out).run(_note)


def _moved(name: str, module: str) -> click.Command:
    """A former command that says where it is now, whatever it is given."""

    @click.command(name, hidden=True, add_help_option=False, context_settings={"ignore_unknown_options": True})
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def command(rest: tuple[str, ...]) -> None:
        words = " ".join(["python -m", module, *rest])
        raise click.ClickException(f"yoj-train {name} is now `{words}`, at the root of a copy of yoj's repository.")

    return command


for _name, _module in {"shapes": "experiments.shapes", "small": "experiments.small_judge"}.items():
    main.add_command(_moved(_name, _module))


def _note(text: str) -> None:
    tqdm.write(text)
    sys.stdout.flush()  # who follows a log file wants the line now


if __name__ == "__main__":
    main()
