"""Command that writes files of the shapes task.

python -m experiments.shapes data --items 400 --held-out 100
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from yoj.runtime.options import readable_errors
from yoj.training import DataError

from . import ShapesConfig, write_captions, write_items

COUNT = click.IntRange(min=0)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--items", default=4000, type=COUNT, show_default=True, help="Items to train on.")
@click.option("--held-out", default=1000, type=COUNT, show_default=True, help="Items to evaluate on.")
@click.option("--captions", default=0, type=COUNT, show_default=True, help="Scenes to pretrain a base model on.")
@click.option("--responses", default="4", type=click.Choice(["2", "4", "8", "16", "32"]), show_default=True,
              help="Responses of each item.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of all files.")
def main(folder: Path, items: int, held_out: int, captions: int, responses: str, seed: int) -> None:
    """Write the synthetic task to FOLDER: scenes of coloured shapes, questions, ranked answers."""
    files = [("train", write_items, items), ("held_out", write_items, held_out), ("captions", write_captions, captions)]
    with readable_errors():
        there = [name for name, _, count in files if count and (folder / f"{name}.jsonl").exists()]
        if there:
            raise DataError(f"{folder / there[0]}.jsonl is there already. Give another folder.")
        for name, write, count in files:
            if count:
                with tqdm(total=count, desc=name) as bar:
                    config = ShapesConfig(count, seed, int(responses))
                    write(folder, name, config, functools.partial(_advance, bar))


def _advance(bar: tqdm[Any], done: int) -> None:
    bar.update(done - bar.n)


if __name__ == "__main__":
    main()
