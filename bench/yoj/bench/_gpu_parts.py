"""Parts of ``yoj-bench gpu``, in their order, with the share of ten minutes that each has."""

from __future__ import annotations

from dataclasses import dataclass

from yoj.export.tensorrt.graphs import FIRST_TARGET
from yoj.runtime.engines import plan_engines
from yoj.runtime.schemes import SCHEMES

from ._needs import NAME, PYTORCH

FLOATS = ("float32", "float16", "bfloat16")
QUANTISED = {NAME: tuple(SCHEMES)} | dict.fromkeys(plan_engines(), tuple(FIRST_TARGET))
"""Engine -> schemes that it can run. TensorRT itself refuses those that the GPU has not."""
JUDGES = ("shapes-molmo2", "shapes-qwen3_vl")
FAMILIES = ("qwen3_vl", "molmo2")
DEPTHS = (3, 12)
"""Layers of the models in the width of a 4B one: the cost of 36 follows from the difference between the two."""
PROFILE = "B=1:1:1,L=16:2048:4096,N=2:4:16,V=1:512:4096,C=1:9:16,P=16:1024:4096"
"""Optimisation profiles of plans that take the two requests of `yoj.bench._latency`."""
SECONDS = 600


@dataclass(frozen=True)
class Made:
    """Bundles that parts score with; making them needs no GPU."""

    folder: str
    judge: str
    precisions: tuple[str, ...]
    layers: int | None = None
    """Layers of a model in the width of a 4B one with random weights; None for the judge itself."""

    def command(self, root: str) -> list[str]:
        """Arguments of Python, with the folder of all bundles."""
        layers = [] if self.layers is None else ["--layers", str(self.layers)]
        precisions = [word for precision in self.precisions for word in ("--precision", precision)]
        made = ["-m", "yoj.bench.cli", "gpu-bundles", f"checkpoints/{self.judge}", f"{root}/{self.folder}"]
        return [*made, *precisions, *layers]


@dataclass(frozen=True)
class GpuPart:
    """Part of a visit, which runs in a process of its own."""

    name: str
    needs: tuple[str, ...]
    """Names in `yoj.bench._needs.NEEDS`."""
    commands: tuple[str, ...]
    """Arguments of Python, one command after the other; ``{bundles}`` and ``{out}`` stand for folders."""
    seconds: int
    """Seconds of the ten minutes, within which all of its commands must end."""


MADE = (
    *(
        Made(judge, judge, (precision,))
        for precision in dict.fromkeys((*FLOATS, *FIRST_TARGET, *SCHEMES))
        for judge in JUDGES
    ),
    *(
        Made(f"{family}-{layers}", f"shapes-{family}", ("bfloat16",), layers)
        for family in FAMILIES
        for layers in DEPTHS
    ),
)


def _parity(engine: str, what: str, precisions: tuple[str, ...], seconds: int) -> GpuPart:
    options = " ".join(f"--precision {precision}" for precision in precisions)
    folders = " ".join(f"{{bundles}}/{judge}" for judge in JUDGES)
    command = f"-m yoj.bench.cli parity {folders} --engine {engine} {options} --out {{out}}/parity.json"
    return GpuPart(f"parity {engine} {what}", (engine,), (command,), seconds)


def _latency(family: str, engine: str, seconds: int) -> GpuPart:
    bundles = [f"{{bundles}}/{family}-{layers}/bfloat16.yoj" for layers in DEPTHS]
    build = f"-m yoj.export.cli compile {{}} --engine {engine} --profile {PROFILE}"
    builds = [build.replace("{}", bundle) for bundle in bundles] if engine != "onnxruntime-cuda" else []
    measured = [
        f"-m yoj.bench.cli latency {bundle} --engine {engine} --out {{out}}/{layers}-layers.json"
        for bundle, layers in zip(bundles, DEPTHS, strict=True)
    ]
    return GpuPart(f"latency {family} {engine}", (engine,), (*builds, *measured), seconds)


def _tests(engine: str, file: str, seconds: int, choice: str = "") -> GpuPart:
    command = f"-m pytest tests/gpu/{file} {choice} -p no:cacheprovider --junitxml={{out}}/tests.xml"
    return GpuPart(f"tests {engine}", (engine,), (command,), seconds)


def _bench(family: str, seconds: int) -> GpuPart:
    command = (
        f"-m yoj.bench.cli run {{bundles}}/{family}-{DEPTHS[0]} --device cuda --engine onnxruntime-cuda "
        "--part variants --out {out}/bench.json"
    )
    return GpuPart(f"yoj-bench {family}", ("onnxruntime-cuda", PYTORCH), (command,), seconds)


PARTS = (
    _parity("onnxruntime-cuda", "floats", FLOATS, 35),
    _parity("tensorrt", "floats", FLOATS, 55),
    _tests("onnxruntime-cuda", "test_onnxruntime_cuda.py", 25),
    _latency("qwen3_vl", "onnxruntime-cuda", 25),
    _bench("qwen3_vl", 70),
    _latency("qwen3_vl", "tensorrt", 45),
    _tests("tensorrt", "test_tensorrt.py", 45, "-k not\\ rtx"),
    _parity("onnxruntime-cuda", "quantised", QUANTISED["onnxruntime-cuda"], 40),
    _parity("tensorrt", "quantised", QUANTISED["tensorrt"], 45),
    _parity("tensorrt-rtx", "floats", FLOATS, 30),
    _latency("qwen3_vl", "tensorrt-rtx", 20),
    _tests("tensorrt-rtx", "test_tensorrt.py", 25, "-k rtx"),
    _latency("molmo2", "onnxruntime-cuda", 20),
    _latency("molmo2", "tensorrt", 40),
    _latency("molmo2", "tensorrt-rtx", 15),
    _bench("molmo2", 45),
    _parity("tensorrt-rtx", "quantised", QUANTISED["tensorrt-rtx"], 20),
)
"""Parts by value: a visit that is cut short has the first ones. Seconds that a part leaves go to those after it."""
