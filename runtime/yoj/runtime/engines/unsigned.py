"""8-bit matrices whose zero is 128, made in memory of the signed ones of a bundle, for CPUs that want them so."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..log import logger

HIGHEST_BIT = 0x80
UNPACKED = ("session.disable_prepacking", "1")
"""Session entry of ONNX Runtime that leaves matrices where they are. Packed, they would be there twice; unpacked,
products of short rows take longer."""


def flipped(file: Path, matrices: Iterable[tuple[int, int]]) -> NDArray[np.uint8]:
    """A weight file in memory, with other bytes where its 8-bit matrices are; the file stays as it is.

    The rest is mapped: shared with every process that maps the file.

    Args:
        file: of weights.
        matrices: first byte and length of each.
    """
    started = time.perf_counter()
    with file.open("rb") as stream:
        view = np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
    for begin, length in matrices:
        part = view[begin : begin + length]
        np.bitwise_xor(part, HIGHEST_BIT, out=part)
    logger().debug("made 8-bit matrices unsigned in %.2f s", time.perf_counter() - started)
    return view


def open_unsigned(ort: Any, graph: Path, weights: tuple[str, NDArray[np.uint8]], options: Any) -> Any:
    """ONNX Runtime's session of a graph with unsigned matrices, which reads its weights where they are.

    Args:
        ort: the library.
        graph: its file.
        weights: name of the weight file in the graph, and its content from `flipped`.
        options: ``SessionOptions`` of this session alone, with `UNPACKED`; they are changed.
    """
    name, content = weights
    options.add_external_initializers_from_files_in_memory([name], [content], [len(content)])
    options.add_session_config_entry("session.use_external_initializer_file_buffers_directly", "1")
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    session.weights = content  # ONNX Runtime does not keep them alive
    return session
