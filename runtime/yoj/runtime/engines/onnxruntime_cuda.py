"""ONNX Runtime with its CUDA execution provider: the graphs of the engine ``onnxruntime`` on the GPU."""

from __future__ import annotations

from typing import Any

from ..bundle import Bundle
from ..errors import EngineError, EngineMemoryError
from ..families import Arrays
from ..manifest import EngineEntry, Graph
from .onnxruntime import LazySessions, load_onnxruntime, open_graph, shapes_of

NAME = "onnxruntime-cuda"
PROVIDER = "CUDAExecutionProvider"


class CudaSession:
    """Loaded graphs of one bundle, with inputs and outputs bound to a device; each run has a binding of its own."""

    def __init__(self, sessions: LazySessions, ort: Any, device: str):
        self._sessions, self._ort, self._device = sessions, ort, device

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one graph; see `yoj.runtime.engines.Session`.

        Raises:
            EngineMemoryError: the GPU's memory is full.
            EngineError: ONNX Runtime failed, its own message is in the text; or the session is closed.
        """
        session = self._sessions.get(role)
        try:
            binding = session.io_binding()
            for name, array in inputs.items():
                binding.bind_ortvalue_input(name, self._ort.OrtValue.ortvalue_from_numpy(array, self._device, 0))
            names = [output.name for output in session.get_outputs()]
            for name in names:
                binding.bind_output(name, self._device, 0)
            session.run_with_iobinding(binding)
            return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))
        except Exception as error:  # ONNX Runtime raises its own classes, one for each status code
            shapes = shapes_of(inputs)
            if "allocate memory" in str(error) or "out of memory" in str(error):
                raise EngineMemoryError(
                    f"The GPU has too little memory free for {role} with {shapes}: {error}. Score fewer requests at "
                    "once, shorten them, or close what else uses the GPU."
                ) from error
            raise EngineError(f"ONNX Runtime failed in {role} with {shapes}: {error}") from error

    def open(self, role: str) -> None:
        """Load one graph now; see `LazySessions.get`."""
        self._sessions.get(role)

    def close(self) -> None:
        """Give the GPU's memory back once current runs have ended."""
        self._sessions.close()


def load_provider() -> Any:
    """Module ``onnxruntime`` with its CUDA provider.

    Raises:
        EngineError: one of them is missing.
    """
    ort = load_onnxruntime("ort-gpu")
    if PROVIDER not in ort.get_available_providers():
        raise EngineError(
            f"ONNX Runtime {ort.__version__} has no CUDA provider here. Remove the package onnxruntime and install "
            "onnxruntime-gpu instead: pip uninstall onnxruntime, pip install 'yoj[ort-gpu]'."
        )
    return ort


def open_onnxruntime_cuda(bundle: Bundle, engine: EngineEntry, threads: int | None) -> CudaSession:
    """Load the graphs of ``engine`` on GPU 0.

    Args:
        bundle: the opened bundle, whose files are known to be unchanged.
        engine: the manifest's entry.
        threads: CPU threads for the operators that stay on the CPU; None for ONNX Runtime's choice.

    Raises:
        EngineError: ONNX Runtime or its CUDA provider is missing, or the provider did not take the graphs.
    """
    ort = load_provider()
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # of CUDA and cuDNN, where they were installed as Python packages
    # TensorFloat-32, the provider's default, rounds what float32 matrix products read to 10 bits.
    settings = {"device_id": 0, "use_tf32": 0}

    def make(graph: Graph) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        session = open_graph(ort, bundle.files, graph.file, options, [(PROVIDER, settings)])
        # Where the provider cannot start, ONNX Runtime only warns and goes on with the CPU.
        if PROVIDER not in session.get_providers():
            raise EngineError(
                "ONNX Runtime's CUDA provider did not start: there is no GPU that it can use, or CUDA 13 or cuDNN 9 is "
                f"missing; {graph.file} would run on the CPU. Its warning is above. For the CPU, give onnxruntime."
            )
        return session

    return CudaSession(LazySessions(bundle, engine, make), ort, "cuda")
