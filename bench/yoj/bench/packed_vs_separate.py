"""One packed pass against N passes of single responses, with one engine: what the method saves.

    python -m yoj.bench.packed_vs_separate --like tests/golden/data/checkpoint-merged

Exports a Molmo2 with random weights that is wide enough for a CPU to be busy with it, scores a photograph-sized image
with N responses in joint and isolated mode, and one response at a time, in turns. Visual features are computed before
the clock starts, for all alike. Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np

from yoj.export.build import Recipe, build
from yoj.runtime import Request, Scorer

from .random_checkpoint import Sizes, write_checkpoint

SIZES = Sizes(head="mlp", activation="silu", D=1024, layers=6, heads=16, kv_heads=4, head_dim=64, intermediate=3072)


class Stages:
    """Names the stages of an export, and nothing more."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None:
        """See `yoj.export.build.Progress`."""
        click.echo(f"{name}{f' ({bytes_to_write / 1e6:,.0f} MB)' if bytes_to_write else ''} ...", err=True)

    def advance(self, count: int) -> None:
        """See `yoj.export.build.Progress`."""

    def note(self, text: str) -> None:
        """See `yoj.export.build.Progress`."""


def request_of(
    scorer: Scorer, prompt_tokens: int, response_tokens: int, n: int, image_size: tuple[int, int] = (400, 600)
) -> Request:
    """A request with an image (height, width) whose prompt and responses have about so many tokens each."""
    image = np.random.default_rng(0).integers(0, 256, (*image_size, 3), np.uint8)

    def tokens(prompt: str, responses: list[str]) -> int:
        return scorer.prepare(Request(prompt, responses, [image])).tokens

    empty = tokens("", [""])
    word = (tokens("small " * 200, [""]) - empty) / 200
    prompt = "small " * max(1, round((prompt_tokens - empty) / word))
    return Request(prompt, [f"{k} " + "small " * round(response_tokens / word) for k in range(n)], [image])


def seconds(call: object, repeats: int) -> list[float]:
    """Time of each of several calls."""
    assert callable(call)
    runs: list[float] = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        runs.append(time.perf_counter() - begin)
    return runs


@click.command()
@click.option(
    "--like", required=True, type=click.Path(exists=True, path_type=Path), help="Where the tokenizer is from."
)
@click.option("--prompt-tokens", default=600, show_default=True)
@click.option("--response-tokens", default=60, show_default=True)
@click.option("--n", default=8, show_default=True)
@click.option("--threads", default=os.cpu_count(), show_default=True)
@click.option("--repeats", default=5, show_default=True)
def main(like: Path, prompt_tokens: int, response_tokens: int, n: int, threads: int, repeats: int) -> None:
    """Time a packed pass, an isolated pass and N separate passes."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(SIZES, like, Path(folder) / "checkpoint")
        build(Recipe([checkpoint], None, "assistant", Path(folder) / "judge.yoj"), Stages())
        scorer = Scorer.load(Path(folder) / "judge.yoj", threads=threads)
        request = request_of(scorer, prompt_tokens, response_tokens, n)
        ways = {
            "joint": lambda: scorer.score(request.prompt, request.responses, images=request.images, mode="joint"),
            "isolated": lambda: scorer.score(request.prompt, request.responses, images=request.images, mode="isolated"),
            "separate": lambda: [scorer.score(request.prompt, [r], images=request.images) for r in request.responses],
        }
        runs: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(repeats + 1):  # in turns, so that a slow moment of the machine hits all alike
            for name, call in ways.items():
                runs[name] += seconds(call, 1) if turn else seconds(call, 1)[:0]
        figures: dict[str, float] = {f"{name}_s": statistics.median(times) for name, times in runs.items()}
        single = Request(request.prompt, request.responses[:1], request.images)
        figures["L"], figures["L_single"] = scorer.prepare(request).tokens, scorer.prepare(single).tokens
    figures["separate_over_joint"] = figures["separate_s"] / figures["joint_s"]
    figures["isolated_over_joint"] = figures["isolated_s"] / figures["joint_s"]
    for name, value in figures.items():
        click.echo(f"{name:22} {value:10.3f}")
    environment = {"machine": platform.machine(), "threads": threads, "onnxruntime": version("onnxruntime")}
    click.echo(json.dumps({"figures": figures, "n": n, "environment": environment}))


if __name__ == "__main__":
    main()
