"""Milliseconds that Triton adds to a score on this machine: the server and a scorer answer the same request in turns.

python -m examples.serving.triton_latency .demo/judge.yoj .venv-triton --image .demo/scene-0.png
"""

from __future__ import annotations

import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import tritonclient.grpc
import tritonclient.http

from examples.serving.triton_server import running
from yoj.runtime import Scorer, decode_request, encode_judgement

RESPONSES = ["A blue square.", "A red circle.", "Two circles.", "Nothing."]


def asking(module: Any, address: str, model: str, inputs: Mapping[str, list[bytes]]) -> Callable[[], object]:
    """A function that sends the same request each time, over one connection."""
    client = module.InferenceServerClient(address)
    given = []
    for name, values in inputs.items():
        one = module.InferInput(name, [1, len(values)], "BYTES")
        one.set_data_from_numpy(np.array([values], np.object_))
        given.append(one)
    return lambda: client.infer(model, given)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("venv", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=200, show_default=True)
def main(bundle: Path, venv: Path, image: Path, threads: int, rounds: int) -> None:
    """Print what each form and protocol takes, and what it takes beyond the scorer with the same form."""
    file = image.read_bytes()
    url = "data:image/png;base64," + base64.b64encode(file).decode()
    text = json.dumps({"prompt": "What is shown?", "responses": RESPONSES, "image": url}).encode()
    inputs = {"PROMPT": [b"What is shown?"], "RESPONSES": [one.encode() for one in RESPONSES], "IMAGES": [file]}
    with tempfile.TemporaryDirectory() as folder, Scorer.load(bundle, threads=threads) as scorer:
        repository = Path(folder) / "repository"
        command = [sys.executable, "-m", "yoj.serving", "triton", str(bundle), "--out", str(repository)]
        subprocess.run([*command, "--name", "judge", "--threads", str(threads)], check=True, stdout=subprocess.DEVNULL)
        with running(venv.absolute(), repository, Path(folder)) as server:
            ways = {
                "scorer, JSON": lambda: json.dumps(encode_judgement(scorer.score_batch([decode_request(text)])[0])),
                "scorer, tensors": lambda: scorer.score("What is shown?", RESPONSES, images=[file]),
                "Triton, JSON, gRPC": asking(tritonclient.grpc, server.grpc, "judge", {"REQUEST": [text]}),
                "Triton, JSON, HTTP": asking(tritonclient.http, server.http, "judge", {"REQUEST": [text]}),
                "Triton, tensors, gRPC": asking(tritonclient.grpc, server.grpc, "judge_tensors", inputs),
                "Triton, tensors, HTTP": asking(tritonclient.http, server.http, "judge_tensors", inputs),
            }
            times = in_turns(ways, rounds)
            ways.clear()  # closes the connections, for which the server would wait
    for way, taken in times.items():
        direct = times["scorer, " + way.split(", ")[1]]
        added = statistics.median(a - b for a, b in zip(taken, direct, strict=True))
        click.echo(
            f"{way:22} minimum {min(taken):5.2f} ms, median {statistics.median(taken):5.2f} ms; beyond the scorer: "
            f"minima {min(taken) - min(direct):+5.2f} ms, median of pairs {added:+5.2f} ms"
        )


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every way in every round, each of which begins with another way."""
    order = list(ways)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for k in range(-10, rounds):
        for way in order[k % len(order) :] + order[: k % len(order)]:
            begin = time.perf_counter()
            ways[way]()
            if k >= 0:
                times[way].append(1000 * (time.perf_counter() - begin))
    return times


if __name__ == "__main__":
    main()
