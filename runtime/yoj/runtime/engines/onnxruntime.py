"""ONNX Runtime on the CPU, the embedded default."""

from __future__ import annotations

import importlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._log import logger
from ..bundle import WEIGHTS, Bundle
from ..errors import EngineError, EngineMemoryError
from ..families import Arrays
from ..held import HeldFiles
from ..language import CACHE_INPUTS
from ..machine import free_memory
from ..manifest import EngineEntry, Graph, Manifest
from ..roles import LANGUAGE, VISION, scorer_role
from ..schemes import SCHEMES
from .exact import check_products, wrong_product
from .unsigned import UNPACKED, flipped

MASK_BYTES = 5
"""Bytes of the trunk's attention mask for a query and a key: as a truth value, and as float32 in the kernel."""
EXACT_8_BITS = ("session.x64quantprecision", "1")
"""Session entry of ONNX Runtime that makes it convert signed matrices to unsigned ones as it loads them, for exact
products; see `yoj.runtime.engines.exact`."""


class LazySessions:
    """ONNX Runtime's session of each graph.

    Each holds the weights again, so that of the two scorers only the one of the trained mode is opened at once, and the
    other when it is first used.
    """

    def __init__(self, bundle: Bundle, engine: EngineEntry, make: Callable[[Graph], Any]):
        """Open the graphs that are needed.

        Args:
            bundle: the opened bundle, whose files are known to be unchanged.
            engine: the manifest's entry.
            make: function that opens ONNX Runtime's session of a graph.

        Raises:
            EngineError: ONNX Runtime refuses a graph.
        """
        self._bundle, self._graphs = bundle, dict(engine.graphs)
        self._make: Callable[[Graph], Any] | None = make
        self._opened: dict[str, Any] = {}
        self._opening = threading.Lock()
        scorer = scorer_role(bundle.manifest.trained_mode)
        for role in self._graphs.keys() & {VISION, scorer}:
            self.get(role)

    def get(self, role: str) -> Any:
        """Session of a graph, opened when it is first asked for.

        Raises:
            BundleError: somebody wrote into the bundle's files, which the sessions read.
            EngineError: the sessions are closed, or ONNX Runtime refuses the graph.
        """
        self._bundle.check_unwritten()
        opened = self._opened.get(role)
        if opened is not None:  # runs need not wait while another graph is being opened
            return opened
        with self._opening:
            if self._make is None:
                raise EngineError("The scorer was closed. Load it again with Scorer.load.")
            if role not in self._opened:
                self._opened[role] = self._open(self._make, self._graphs[role])
            return self._opened[role]

    def close(self) -> None:
        """Drop the sessions; runs that have begun still end."""
        with self._opening:
            self._make = None  # it may hold weights
            self._opened.clear()

    def _open(self, make: Callable[[Graph], Any], graph: Graph) -> Any:
        begin = time.perf_counter()
        try:
            session = make(graph)
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime raises its own classes, one for each status code
            raise EngineError(f"ONNX Runtime cannot load {graph.file}: {error}") from error
        found, expected = [spec.name for spec in session.get_inputs()], [spec.name for spec in graph.inputs]
        if sorted(found) != sorted(expected):
            raise EngineError(f"{graph.file} takes {found}, the manifest says {expected}. Export the bundle again.")
        logger().debug("opened %s of %s in %.2f s", graph.file, self._bundle.path, time.perf_counter() - begin)
        return session


class OnnxRuntimeSession:
    """Loaded graphs of one bundle on the CPU."""

    def __init__(self, sessions: LazySessions, manifest: Manifest, query_blocks: int):
        self._sessions, self._query_blocks = sessions, query_blocks
        self._attention_heads, self._vision_heads = manifest.attention_heads, manifest.vision_heads

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one graph; see `yoj.runtime.engines.Session`.

        Raises:
            EngineMemoryError: attention over rows this long would not fit into the memory that is free.
            EngineError: ONNX Runtime failed; its own message is in the text.
        """
        if role == VISION:
            frames, patches = inputs["pixel_values"].shape[:2]
            need = frames * 4 * self._vision_heads * patches**2
            _check_memory(need, f"{frames} crops or frames of P={patches:,} patches")
        else:
            rows, tokens = inputs["input_ids"].shape
            past = inputs[CACHE_INPUTS[0]].shape[1] if role == LANGUAGE else 0
            queries = tokens if role == LANGUAGE else math.ceil(tokens / self._query_blocks)
            keys = past + tokens
            need = rows * (4 * self._attention_heads * queries * keys + MASK_BYTES * tokens * keys)
            _check_memory(need, f"B={rows} rows of L={keys:,} tokens")
        session = self._sessions.get(role)
        try:
            names = [output.name for output in session.get_outputs()]
            return dict(zip(names, session.run(names, inputs), strict=True))
        except Exception as error:  # ONNX Runtime raises its own classes, one for each status code
            raise EngineError(f"ONNX Runtime failed in {role} with {shapes_of(inputs)}: {error}") from error

    def open(self, role: str) -> None:
        """Load one graph now; see `LazySessions.get`."""
        self._sessions.get(role)

    def close(self) -> None:
        """Release all memory; see `LazySessions.close`."""
        self._sessions.close()


def load_onnxruntime(extra: str) -> Any:
    """Module ``onnxruntime``, whose telemetry is turned off: its wheel for Linux has it (1.32.0).

    Args:
        extra: extra of yoj that installs the library.

    Raises:
        EngineError: the library is not installed.
    """
    try:
        library = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EngineError(f"ONNX Runtime is missing ({error}). Install it with: pip install 'yoj[{extra}]'") from error
    library.disable_telemetry_events()
    return library


def shapes_of(inputs: Arrays) -> str:
    """Name and shape of each input, for errors."""
    return ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())


def open_onnxruntime(bundle: Bundle, engine: EngineEntry, threads: int | None) -> OnnxRuntimeSession:
    """Load the graphs of ``engine`` for the CPU.

    Args:
        bundle: the opened bundle, whose files are known to be unchanged.
        engine: the manifest's entry.
        threads: CPU threads of one run; None for ONNX Runtime's choice, all cores.

    Raises:
        EngineError: ONNX Runtime is not installed, refuses a graph, or has no exact kernel for 8 bits on this CPU.
    """
    ort = load_onnxruntime("ort")
    if engine.arithmetic == "bfloat16":
        other = "float32" if bundle.manifest.provenance.float16_overflow else "float16 or float32"
        raise EngineError(
            f"ONNX Runtime's CPU kernels have no bfloat16, and {bundle.path} is in bfloat16. Use the engine "
            f"onnxruntime-cuda on a GPU, or export the checkpoint with --precision {other}."
        )
    cores = os.cpu_count() or 1
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= cores):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise EngineError(f"threads is {threads!r}; this machine has {cores} cores, give a number from 1 to {cores}.")
    make = opener(ort, bundle.files, engine, threads)
    return OnnxRuntimeSession(LazySessions(bundle, engine, make), bundle.manifest, engine.query_blocks)


def opener(
    ort: Any, files: HeldFiles, engine: EngineEntry, threads: int | None, change: Callable[[Any], None] | None = None
) -> Callable[[Graph], Any]:
    """Choose a form of the graphs whose 8-bit products are exact on this CPU, and return a function that opens them.

    Args:
        ort: the library.
        files: open files of the bundle.
        engine: the manifest's entry.
        threads: CPU threads of one run; None for all cores.
        change: function that may change the ``SessionOptions`` of each graph.

    Returns:
        Function from a graph of the entry to ONNX Runtime's session.

    Raises:
        EngineError: ONNX Runtime has no exact kernel for the scheme on this CPU.
    """
    weights, form = None, ()
    if wrong_product(ort, engine, session_options(ort, engine, threads)) is not None:  # x86 without VNNI
        matrices = {matrix for graph in engine.graphs.values() if graph.unsigned for matrix in graph.unsigned.matrices}
        weights = flipped(files[WEIGHTS], matrices) if matrices else None
        form = (EXACT_8_BITS if weights is None else UNPACKED,)
        check_products(ort, engine, session_options(ort, engine, threads, form), unsigned=weights is not None)

    def make(graph: Graph) -> Any:
        unsigned = graph.unsigned if weights is not None else None
        # Beside unsigned graphs, one without 8-bit matrices is packed as ever.
        options = session_options(ort, engine, threads, form if unsigned or weights is None else ())
        if change is not None:
            change(options)
        file, content = (unsigned.file, weights) if unsigned else (graph.file, None)
        return open_graph(ort, files, file, options, ["CPUExecutionProvider"], content)

    return make


def open_graph(
    ort: Any,
    files: HeldFiles,
    graph: str,
    options: Any,
    providers: Sequence[Any],
    weights: NDArray[np.uint8] | None = None,
) -> Any:
    """Open ONNX Runtime's session of a graph, which reads its weights from mapped memory.

    Args:
        ort: the library.
        files: open files of the bundle: neither the graph nor the weights are looked for by name again.
        graph: path of the graph in the bundle.
        options: ``SessionOptions`` of this session alone; they are changed.
        providers: execution providers as ``InferenceSession`` takes them.
        weights: content of the weight file where it is not as in the bundle, from `flipped`.
    """
    content = files[WEIGHTS].view if weights is None else weights
    options.add_external_initializers_from_files_in_memory([Path(WEIGHTS).name], [content], [len(content)])
    options.add_session_config_entry("session.use_external_initializer_file_buffers_directly", "1")
    session = ort.InferenceSession(files[graph].content, options, providers=providers)
    session.weights = content  # ONNX Runtime does not keep them alive
    if weights is None:
        files[WEIGHTS].forget_pages()  # most were packed anew
    return session


def session_options(ort: Any, engine: EngineEntry, threads: int | None, entries: Iterable[tuple[str, str]] = ()) -> Any:
    """Build ONNX Runtime's ``SessionOptions`` for the CPU.

    Args:
        ort: the library.
        engine: the manifest's entry.
        threads: CPU threads of one run; None for all cores.
        entries: further session entries, name and value.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Threads that spin between runs take the cores from tokenising and preprocessing the next request.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan of the memory helps the third run of a shape, and costs the second one; requests rarely share a shape.
    options.enable_mem_pattern = False
    for name, value in entries:
        options.add_session_config_entry(name, value)
    scheme = SCHEMES.get(engine.precision)
    if scheme is not None and scheme.cpu_weight is None:  # there are no kernels to fuse it for; what tries fails
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _check_memory(need: int, what: str) -> None:
    """Refuse attention whose float32 scores [sequences, heads, queries, keys], held at once, do not fit into memory."""
    free = free_memory()
    if free is not None and need > free:
        raise EngineMemoryError(
            f"Attention over {what} needs about {need / 2**30:.1f} GiB on the CPU, {free / 2**30:.1f} GiB are free. "
            "Shorten the prompt or the responses, give fewer or smaller images or frames, or score on a machine with "
            "more memory."
        )
