"""Comparison of the bundles with vLLM on the CPU: N responses as N sequences that share the prompt by its prefix cache.

yoj-bench vllm-peer FOLDER --python .venv-vllm/bin/python --out bench/results/vllm.json
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families import ExportFamily

from ._environment import describe
from ._errors import BenchError
from ._pytorch import Scores
from ._requests import BenchRequest, Size, make_bench_request
from ._timing import time_in_turns
from ._workbench import Workbench

WORKER = Path(__file__).with_name("_vllm_worker.py")
GIGABYTES = "1"
"""Size of vLLM's cache of keys and values."""


class Vllm:
    """Process of vLLM, with the interpreter that it is installed for."""

    def __init__(self, python: Path, folder: Path, sequences: list[list[int]], threads: int):
        """Load the model, which takes a minute and more.

        Args:
            python: interpreter of vLLM's environment.
            folder: folder from `write_merged`.
            sequences: token ids of each sequence.
            threads: number of threads.

        Raises:
            BenchError: the process ended; its messages are on stderr.
        """
        environment = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                       "VLLM_CPU_KVCACHE_SPACE": GIGABYTES, "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                       "VLLM_TARGET_DEVICE": "cpu", "HF_HUB_OFFLINE": "1"}  # fmt: skip
        pipe = subprocess.PIPE
        words = [str(python), str(WORKER), str(folder)]
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=inherited | environment)
        self.versions: dict[str, str] = self._ask(sequences)

    def run(self) -> dict[str, Any]:
        """Score once: scores [N, 1], CPU seconds, and tokens of each sequence that came from the cache."""
        return self._ask({})

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _ask(self, question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the empty answer below says so
        answer = self._process.stdout.readline()
        if not answer:
            raise BenchError(f"vLLM ended with status {self._process.wait()}; its messages are above.")
        return json.loads(answer)


def table(found: Mapping[str, Any]) -> str:
    """Table as text, a line for each variant."""
    row = "{:48} {median:10,.0f} ms {cpu_seconds:8.2f} CPU s  differs by {difference:.1e}"
    return "\n".join(row.format(name, **of) for name, of in found["contestants"].items())


def measure(bench: Workbench, python: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Times of all variants on one request, CPU seconds, and differences from the scores of PyTorch."""
    case = make_bench_request(bench.scorer, Size(), threads)
    with tempfile.TemporaryDirectory() as place:
        write_merged(bench.checkpoint, bench.family, Path(place))
        sequences = [prepared.packs[0].input_ids_L.tolist() for prepared in case.single]
        vllm = Vllm(python, Path(place), sequences, threads)
        try:
            return _run_interleaved(bench, case, vllm, threads, repeats)
        finally:
            vllm.close()


def write_merged(checkpoint: Checkpoint, family: ExportFamily, folder: Path) -> None:
    """Write the backbone as one checkpoint of transformers, adapters merged, and the head as ``head.pt``.

    Raises:
        BenchError: the head does not read what vLLM gives, the normalised last state of a sequence.
    """
    head = checkpoint.head
    if (family.hidden_state, head.readout, head.outputs) != ("post_norm", "last", 1):
        raise BenchError("vLLM gives the last hidden state after the norm; the head reads something else.")
    for file in checkpoint.trunk.iterdir():
        if file.is_file() and not file.name.startswith("model"):
            shutil.copy(file, folder)
    weights = checkpoint.weights
    tensors = {name: weights.read(name).float().contiguous() for name in weights.names()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    module = head.module()
    last = list(module.modules())[-1]
    for tensor in last.parameters():  # the division of its outputs, in its weights
        tensor /= head.divisor(int(checkpoint.config["text_config"]["hidden_size"]))
    torch.save(module, folder / "head.pt")


def _run_interleaved(bench: Workbench, case: BenchRequest, vllm: Vllm, threads: int, repeats: int) -> dict[str, Any]:
    pytorch, answers = bench.pytorch["float32"], list[dict[str, Any]]()

    def ask() -> Scores:
        answers.append(vllm.run())
        return np.array(answers[-1]["scores"], np.float32).T

    calls: dict[str, Callable[[], Scores]] = {
        "vLLM float32, N sequences, prefix cache": ask,
        "PyTorch float32, N passes over a shared prefix": pytorch.prefix(case.single),
        "PyTorch float32, one packed pass, trimmed": pytorch.packed(case.packed),
    }
    for name, scorer in bench.scorers.items():
        calls[f"yoj {name}, one packed pass"] = lambda scorer=scorer: scorer.forward(case.packed)
        calls[f"yoj {name}, isolated"] = lambda scorer=scorer: scorer.forward([case.isolated])
    spent: dict[str, list[float]] = {name: [] for name in calls}

    def counted(name: str) -> Scores:
        begin = time.process_time()
        scores = calls[name]()
        spent[name].append(answers[-1]["cpu_seconds"] if calls[name] is ask else time.process_time() - begin)
        return scores

    with torch.inference_mode():
        scores = {name: counted(name) for name in calls}
        alone, together = list(calls)[1:3]
        times = time_in_turns({name: lambda name=name: counted(name) for name in calls}, repeats)
    rows: dict[str, Any] = {}
    for name, time_of in times.items():
        expected = scores[together if "packed" in name else alone]
        rows[name] = {
            "median": time_of.median, "low": time_of.low, "high": time_of.high, "runs": time_of.runs,
            "cpu_seconds": float(np.median(spent[name][1:])),
            "difference": float(np.abs(scores[name] - expected).max() / max(1.0, np.abs(expected).max())),
        }  # fmt: skip
    shape = {"N": case.shape.N, "P": case.shape.P, "R": case.shape.R, "L": case.shape.L}
    return {"environment": describe(threads), "vllm": vllm.versions, "model": describe_model(bench), "shape": shape,
            "cached_tokens": answers[-1]["cached"], "contestants": rows}  # fmt: skip


def describe_model(bench: Workbench) -> dict[str, Any]:
    """Model: family, layers and width of the trunk, rows of its embedding table."""
    text = bench.checkpoint.config["text_config"]
    return {
        "family": bench.checkpoint.family,
        "layers": text["num_hidden_layers"],
        "D": text["hidden_size"],
        "words": text["vocab_size"],
    }
