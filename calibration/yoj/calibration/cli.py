"""``yoj-calibrate``: statistics of the layers of a trained model on samples, and what is made of them."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import click

from yoj.export.bundle.names import VISION_PREFIX
from yoj.export.options import checkpoint_options, prepare_libraries
from yoj.runtime.options import Given, RenamedCommands, readable_errors, reading_options
from yoj.runtime.version import __version__

from ._cli_gate import gate
from ._cli_probabilities import probabilities
from ._cli_quantisation import quantisation

EPILOG = """\b
Examples:
  yoj-calibrate statistics merged/ --layout assistant --samples train.jsonl \\
      --held-out evaluation.jsonl --out statistics/
  yoj-calibrate statistics adapter/ --base Molmo2-4B/ --layout assistant \\
      --samples more.jsonl --held-out evaluation.jsonl --out more/
  yoj-calibrate merge statistics/ more/ --out both/
  yoj-calibrate quantisation merged/ --layout assistant --statistics statistics/ \\
      --requests choose.jsonl --out quantisation/
  yoj-export merged/ --layout assistant --precision int8 \\
      --quantisation quantisation/ --out int8.yoj
  yoj-calibrate gate int8.yoj float32.yoj evaluation.jsonl
  yoj-calibrate probabilities int8.yoj rankings.jsonl

\b
A line of the samples, as yoj-score reads it:
  {"prompt": "What is shown?", "image": "photo.jpg",
   "responses": ["A cat.", "A red bus."]}
"""
SAMPLES = click.Path(exists=True, dir_okay=False, path_type=Path)
TABLE_ROWS = 16
M_MMAP_THRESHOLD = -3
"""Number of the parameter in glibc's malloc.h."""
LARGE_BLOCK = 4 * 2**20


@click.group(cls=RenamedCommands, renamed={"plan": "quantisation"}, epilog=EPILOG)
@click.version_option(__version__, prog_name="yoj-calibrate")
def main() -> None:
    """Take a trained model to an 8-bit bundle with evidence, and its scores to probabilities.

    Statistics on samples lead to a choice of the quantised matrices, which a gate tests on held-out requests.
    Temperatures make probabilities of scores.
    """


@main.command()
@checkpoint_options
@click.option(
    "--samples",
    required=True,
    type=SAMPLES,
    help="Requests in JSON lines, as yoj-score reads them, of the kind that will be scored; some of them are chosen.",
)
@click.option(
    "--held-out",
    multiple=True,
    type=SAMPLES,
    help="Requests that accuracy is measured on; none of them may be among the samples, whatever its files are called. "
    "May be repeated.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Samples to choose, so that each N, kind of medium and length is among them; usual are 128 to 512.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the choice.")
@reading_options
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the result.")
def statistics(
    checkpoints: tuple[Path, ...],
    base: Path | None,
    layout: Any,
    mode: Any,
    hidden_state: Any,
    video_expansion: Any,
    samples: Path,
    held_out: tuple[Path, ...],
    count: int,
    seed: int,
    given: Given,
    out: Path,
) -> None:
    """Run CHECKPOINTS on samples and keep statistics of the input of each linear layer.

    They are the largest magnitude of every channel and a histogram, apart for prompt, responses and separators.

    CHECKPOINTS are one merged checkpoint, or LoRA adapters in the order they are applied. An interrupted run goes on
    where it stopped when the same command is repeated. A model that free memory does not hold twice is run layer by
    layer.
    """
    with readable_errors():
        _prepare()
        from yoj.export import Training
        from yoj.export.checkpoint.checkpoint import Checkpoint

        from ._collect import CalibratedModel, collect

        _give_memory_back()
        begin = time.perf_counter()
        _stage(begin, "read checkpoint")
        checkpoint = Checkpoint.open(checkpoints, base, Training(hidden_state, video_expansion, mode))
        model = CalibratedModel.open(checkpoint, layout)
        _stage(begin, "choose samples")
        chosen = _choose(model, samples, held_out, count, seed, given)
        _stage(begin, "hash checkpoint, run samples")
        with _bar(len(chosen.samples), "samples") as bar:
            found = collect(model, chosen.samples, out, bar.update)
    _report(found, out)


@main.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the result.")
def merge(folders: tuple[Path, ...], out: Path) -> None:
    """Merge statistics of one model that were gathered in FOLDERS, as if all samples had been run together."""
    with readable_errors():
        _prepare()
        from ._errors import StatisticsError
        from ._statistics import load, save
        from ._statistics import merge as run

        if len(folders) < 2:
            raise click.UsageError(f"{len(folders)} folder was given; give two or more.")
        if out.exists() and any(out.iterdir()):
            raise StatisticsError(f"{out} exists and is not empty. Choose another --out.")
        merged = run([load(folder) for folder in folders], [str(folder) for folder in folders])
        save(merged, out)
    _report(merged, out)


main.add_command(quantisation)
main.add_command(gate)
main.add_command(probabilities)


def _choose(model: Any, file: Path, held_out: tuple[Path, ...], count: int, seed: int, given: Given) -> Any:
    """Choose the samples, and print what there is to say about them."""
    from ._samples import advice, choose

    with _bar(None, "packed to know their length") as bar:

        def measure(request: Any) -> int:
            bar.update(1)
            return model.preparer.prepare(request).tokens

        chosen = choose(file, held_out, count, seed, measure, given)
    media: dict[str, int] = {}
    for sample in chosen.samples:
        media[sample.stratum[1]] = media.get(sample.stratum[1], 0) + 1
    lengths = [sample.tokens for sample in chosen.samples]
    numbers = sorted({sample.stratum[0] for sample in chosen.samples})
    said = f"{len(lengths)} of {chosen.available:,} requests: N={','.join(map(str, numbers))}; "
    said += f"L={min(lengths):,} to {max(lengths):,}; media {', '.join(f'{k} {n}' for k, n in sorted(media.items()))}"
    said += f"; {chosen.repeated} repeated lines passed over" if chosen.repeated else ""
    click.echo(said, err=True)
    if (text := advice(len(chosen.samples), count)) is not None:
        click.echo(f"warning: {text}", err=True)
    if not held_out:
        click.echo("warning: without --held-out nothing shows that accuracy is measured on other requests.", err=True)
    return chosen


def _report(found: Any, out: Path) -> None:
    from ._summary import table

    tokens = ", ".join(f"{count:,} of {kind}s" for kind, count in found.about.tokens.items())
    click.echo(f"\n{table(found, TABLE_ROWS)}\n")
    tower = [layer for name, layer in found.layers.items() if name.startswith(VISION_PREFIX)]
    seen = "" if any(layer.counts().any() for layer in tower) else ", which no sample had an image or a video for"
    layers = f"{len(found.layers) - len(tower)} layers of the trunk, {len(tower)} of the vision tower{seen}"
    click.echo(f"{out}: {layers}; {len(found.about.samples)} samples; tokens: {tokens}")


def _prepare() -> None:
    """Check that the extras ``export`` and ``calibrate`` are installed, before anything is read."""
    prepare_libraries()
    if importlib.util.find_spec("tqdm") is None:
        raise click.ClickException("tqdm is not installed. Run: pip install 'yoj[calibrate]'")


def _give_memory_back() -> None:
    """Let glibc map every large block by itself, so that it returns when it is freed.

    Left alone, glibc moves this limit up to 32 MiB; weights and activations that come and go then leave holes behind,
    and the process grows with every layer, by 100 MB at the width of a 4B model.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def _bar(total: int | None, unit: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit=f" {unit}", leave=False, disable=None)  # only where a terminal can redraw it


def _stage(begin: float, name: str) -> None:
    click.echo(f"[{time.perf_counter() - begin:6.1f} s] {name}", err=True)


if __name__ == "__main__":
    main()
