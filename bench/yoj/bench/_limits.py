"""Work that scoring takes by a model's dimensions, and peaks of the machine: the two sides of an engine's share.

Work counts every row of every layer. The head is left out, and so is that an engine may leave out rows of the last
layer that no score depends on: one that does reaches a larger share.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from yoj.export.families import ExportFamily, GraphSpec
from yoj.export.quantisation.config import matrices
from yoj.runtime.engines.onnxruntime import EXACT_8_BITS
from yoj.runtime.families import Arrays
from yoj.runtime.roles import JOINT, VISION

from ._results import MachineLimits, Peak, RequestShape, Strategy, Time

ROWS, WIDTH, OUT = 1024, 2560, 9728
"""Shape of the products that peaks are measured with: tokens, hidden and intermediate size of the 4B models."""
DEVICE_ROWS = 8192
"""Number of rows on a GPU, which 1,024 do not fill."""
COPIED_BYTES = 2**28
"""Bytes of the copy, far more than caches hold."""
SECONDS, LEAST_RUNS = 1.0, 3
"""Least seconds and runs of one measurement, after a run that is not counted."""
OPSET, IR_VERSION = 21, 10
"""Versions of ONNX of the graphs of one product."""


@dataclass(frozen=True)
class ModelWork:
    """Multiply-adds of a model by its dimensions; norms, activations and other sums are left out."""

    token: int
    """Multiply-adds of the trunk's matrices, for one token."""
    pair: int
    """Multiply-adds of attention in all layers, for one query and one key that it sees: query heads x head size x 2
    products."""
    vision: int
    """Multiply-adds of matrices and attention in the vision graph, for the media of one request."""
    table: int
    """Multiply-adds of ``lm_head`` for one token: rows of the embedding table x D. No graph of a bundle has it."""
    weights: int
    """Bytes in float32 of the matrices of a pass: the trunk's and the vision tower's."""

    @classmethod
    def of(cls, family: ExportFamily, media: Sequence[Arrays] = ()) -> ModelWork:
        """Count a model.

        Args:
            family: family of a checkpoint, from `yoj.export.families.opening.open_family`; only shapes are read.
            media: inputs of each run of the vision graph for one request, from `yoj.runtime.families.Family`'s
                ``vision_inputs``; none for text alone.
        """
        specs = {spec.role: spec for spec in family.graphs}
        trunk, vision = specs[JOINT], specs[VISION]
        token = sum(module.weight.numel() for module in matrices(trunk).values())
        attention: list[Any] = [module for module in trunk.module.modules() if hasattr(module, "kv_heads")]
        tower = sum(parameter.numel() for parameter in vision.module.parameters())
        return cls(
            token=token,
            pair=2 * sum(module.heads * module.head_dim for module in attention),
            vision=sum(_vision_work(vision, inputs) for inputs in media),
            table=trunk.module.get_parameter("embedding.weight").numel(),
            weights=4 * (token + tower),
        )


def _vision_work(spec: GraphSpec, arrays: Arrays) -> int:
    """Multiply-adds of one run, counted on shapes alone."""
    inputs = {
        name: torch.empty(arrays[name].shape, dtype=dtype, device="meta") for name, (dtype, _) in spec.inputs.items()
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        spec.module(**inputs)
    return counter.get_total_flops() // 2


def tokens_and_pairs(strategy: Strategy, P: int, R: int, N: int) -> tuple[int, int]:
    """Tokens that go through the trunk, and query-key pairs of its attention, for one request.

    Each token sees itself and those before it. That image tokens of Molmo2 also see those behind them is left out.

    Args:
        strategy: strategy by which the responses are read.
        P: number of tokens before the first response.
        R: number of tokens of a response.
        N: number of responses.
    """
    if strategy == "packed":
        length = P + N * R
        return length, length * (length + 1) // 2
    if strategy in ("isolated", "prefix"):
        return P + N * R, P * (P + 1) // 2 + N * (R * P + R * (R + 1) // 2)
    length = P + R
    return N * length, N * length * (length + 1) // 2


def work(model: ModelWork, strategy: Strategy, shape: RequestShape, lm_head: bool = False) -> int:
    """Floating-point operations, two for each multiply-add, for ``shape.B`` requests.

    Passes of single responses show the media again each time.

    Args:
        model: multiply-adds, counted with the media of one request.
        strategy: strategy by which the responses are read.
        shape: shape of the requests; without visual tokens the vision graph does not run.
        lm_head: whether all rows are multiplied by the vocabulary as well, as PyTorch does in the YOJO code.
    """
    tokens, pairs = tokens_and_pairs(strategy, shape.P, shape.R, shape.N)
    shown = 0 if not shape.V else shape.N if strategy in ("separate", "rows") else 1
    of_token = model.token + (model.table if lm_head else 0)
    return 2 * shape.B * (of_token * tokens + model.pair * pairs + model.vision * shown)


def predicted_saving(P: int, R: int, N: int) -> float:
    """Tokens of N passes over tokens of one packed pass, N (P + R) / (P + N R)."""
    return N * (P + R) / (P + N * R)


def share(done: float, taken: Time, peak: Peak | None) -> float | None:
    """Part of the peak that was reached; None where no peak was measured.

    Args:
        done: number of floating-point operations, from `work`.
        taken: measured time of them.
        peak: peak of the same precision.
    """
    return None if peak is None else done / (taken.median / 1e3) / peak.flops


def measure_limits(threads: int) -> MachineLimits:
    """Fastest large matrix product of each precision, and a large copy, on the CPU; takes about 15 s and 1 GB.

    A peak is a maximum: the fastest of several runs, with a constant matrix that may be brought into any order before.
    The copy is NumPy's, in one thread.
    """
    with _torch_threads(threads):
        found = [
            Peak(precision=name, flops=_pytorch_rate(dtype), by="PyTorch")
            for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
        ]
    draw = np.random.default_rng(0)
    left, right = (draw.standard_normal(size, np.float32) for size in ((ROWS, WIDTH), (WIDTH, OUT)))
    found.append(Peak(precision="float32", flops=_onnxruntime_rate(left, right, threads), by="ONNX Runtime"))
    left = draw.integers(0, 256, (ROWS, WIDTH), np.uint8)
    right = draw.integers(-127, 128, (WIDTH, OUT), np.int8)
    found.append(Peak(precision="int8", flops=_onnxruntime_rate(left, right, threads), by="ONNX Runtime"))
    best: dict[str, Peak] = {}
    for peak in found:
        best[peak.precision] = max(peak, best.get(peak.precision, peak), key=lambda each: each.flops)
    return MachineLimits(peaks=tuple(best.values()), copied=_copy_rate())


def measure_device_limits(device: str) -> MachineLimits:
    """Fastest products and copy of a GPU, with PyTorch and inside its memory."""
    peaks = [
        Peak(precision=name, flops=_pytorch_rate(dtype, device, DEVICE_ROWS), by="PyTorch")
        for name, dtype in (("float32", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16))
    ]
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return MachineLimits(peaks=tuple(peaks), copied=COPIED_BYTES / _fastest(lambda: _wait(target.copy_(source))))


@contextlib.contextmanager
def _torch_threads(threads: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    call()
    runs: list[float] = []
    while len(runs) < LEAST_RUNS or sum(runs) < SECONDS:
        begin = time.perf_counter()
        call()
        runs.append(time.perf_counter() - begin)
    return min(runs)


@torch.inference_mode()
def _pytorch_rate(dtype: torch.dtype, device: str = "cpu", rows: int = ROWS) -> float:
    """Operations a second, with the matrix as PyTorch's layers hold it."""
    left, right = (torch.randn(size, WIDTH).to(device, dtype) for size in (rows, OUT))
    return 2 * rows * WIDTH * OUT / _fastest(lambda: _wait(torch.nn.functional.linear(left, right)))


def _wait(done: torch.Tensor) -> None:
    """Wait until a device has computed all that was queued."""
    if done.device.type == "cuda":
        torch.cuda.synchronize()


def _onnxruntime_rate(left: NDArray[Any], right: NDArray[Any], threads: int) -> float:
    """Operations a second of a graph that is one product with a constant matrix, which is packed when it is loaded.

    Args:
        left: activations, float32, or uint8 around 128, which is the fast kind of 8-bit product.
        right: constant matrix, float32 or int8.
        threads: number of threads.
    """
    whole = right.dtype == np.int8
    inputs, constants = ["left", "right"], [onnx.numpy_helper.from_array(right, "right")]
    if whole:
        inputs.append("zero")
        constants.append(onnx.numpy_helper.from_array(np.array(128, np.uint8), "zero"))
    product = onnx.helper.make_node("MatMulInteger" if whole else "MatMul", inputs, ["out"])
    taken, given = (onnx.TensorProto.UINT8, onnx.TensorProto.INT32) if whole else (onnx.TensorProto.FLOAT,) * 2
    graph = onnx.helper.make_graph(
        [product],
        "product",
        [onnx.helper.make_tensor_value_info("left", taken, left.shape)],
        [onnx.helper.make_tensor_value_info("out", given, (len(left), right.shape[1]))],
        constants,
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    ).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*EXACT_8_BITS)
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    out = np.empty((len(left), right.shape[1]), np.int32 if whole else np.float32)
    # Into memory that is there already: fresh memory for the result costs a tenth of an 8-bit product.
    binding = session.io_binding()
    binding.bind_cpu_input("left", left)
    binding.bind_output("out", "cpu", 0, out.dtype, out.shape, out.ctypes.data)
    return 2 * left.size * right.shape[1] / _fastest(lambda: session.run_with_iobinding(binding))


def _copy_rate() -> float:
    """Bytes copied in a second; memory moves twice as many, each once in and once out."""
    source = np.ones(COPIED_BYTES, np.uint8)
    target = np.zeros_like(source) + np.uint8(2)  # written once, so that the system has given the memory
    return COPIED_BYTES / _fastest(lambda: np.copyto(target, source))
