"""Cold start in a process of its own that loads a bundle and scores once: seconds and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from yoj.runtime.manifest import MANIFEST_NAME, decode
from yoj.runtime.roles import VISION, scorer_role

from ._errors import BenchError
from ._results import Start

CHILD = """
import json, sys, time

def resident():
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    except OSError:  # not Linux: its largest so far, in bytes on macOS
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

asked = json.load(sys.stdin)
begin = time.perf_counter()
from yoj.runtime import Scorer
imported = time.perf_counter()
scorer = Scorer.load(asked["bundle"], engine="onnxruntime", threads=asked["threads"])
loaded = time.perf_counter()
scorer.score(asked["prompt"], asked["responses"], images=asked["images"])
scored = time.perf_counter()
print(json.dumps({
    "precision": scorer.engine.precision,
    "import_s": imported - begin,
    "load_s": loaded - imported,
    "first_score_s": scored - loaded,
    "resident": resident(),
    "torch": "torch" in sys.modules,
}))
"""


def measure_start(
    bundle: Path, prompt: str, responses: Sequence[str], image: Path | None = None, threads: int | None = None
) -> Start:
    """Import the runtime, load a bundle for the CPU and score one request, in a fresh Python.

    Loading includes the import of ONNX Runtime and the check of every file's hash; the first score includes decoding.
    Files that were read shortly before come from the system's memory: a first start after boot takes longer.

    Args:
        bundle: folder of the bundle.
        prompt: prompt of the request.
        responses: responses [N] of the request.
        image: image that the question is about.
        threads: see `yoj.runtime.Scorer.load`.

    Raises:
        BenchError: the process failed (its last words are in the text), or it loaded PyTorch.
    """
    asked = {
        "bundle": str(bundle),
        "prompt": prompt,
        "responses": list(responses),
        "images": [str(image)] if image else [],
        "threads": threads,
    }
    run = subprocess.run([sys.executable, "-c", CHILD], input=json.dumps(asked), capture_output=True, text=True)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchError(
            f"{bundle} did not load and score in a process of its own, which ended with {run.returncode}: {last}. "
            f"Look into it with Scorer.load({str(bundle)!r})."
        )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    if found.pop("torch"):
        raise BenchError(
            f"The process that scored with {bundle} loaded PyTorch, which the runtime must never do. Find what imports "
            "it with python -X importtime."
        )
    return Start(
        bundle=bundle.name,
        weights=weight_bytes(bundle, found["precision"]),
        bundle_size=sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()),
        **found,
    )


def weight_bytes(bundle: Path, precision: str) -> int:
    """Bytes of the tensors that the vision graph and the scorer of the trained mode keep in the weight file.

    Tensors that both use, or that one uses twice, count once.

    Args:
        bundle: folder of the bundle.
        precision: precision of its engine ``onnxruntime``.
    """
    manifest = decode((bundle / MANIFEST_NAME).read_bytes(), str(bundle / MANIFEST_NAME))
    engine = next(e for e in manifest.engines if (e.engine, e.precision) == ("onnxruntime", precision))
    places: set[tuple[str, int, int]] = set()
    for role in (VISION, scorer_role(manifest.trained_mode)):
        model = onnx.load(bundle / engine.graphs[role].file, load_external_data=False)
        for tensor in model.graph.initializer:
            place = {entry.key: entry.value for entry in tensor.external_data}
            if place:
                places.add((place["location"], int(place["offset"]), int(place["length"])))
    return sum(length for _, _, length in places)
