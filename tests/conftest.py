"""Bundles that several tests share, exported once from the recorded checkpoints."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from filelock import FileLock

from yoj.runtime import Scorer
from yoj.runtime.machine import instruction_sets

DATA = Path(__file__).parent / "golden" / "data"
MERGED, ADAPTER = DATA / "checkpoint-merged", DATA / "checkpoint-adapter"
IMAGES = DATA / "images"


def pytest_report_header() -> str:
    """Rounding, kernels and times differ with these, so that a report of a failure must name them."""
    return f"instruction sets: {', '.join(instruction_sets()) or 'not known'}"


class Quiet:
    """Progress that nobody watches."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def several_threads() -> Iterator[None]:
    """PyTorch's resize has another kernel where it has one thread, which rounds otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _folder_of_the_run(factory: pytest.TempPathFactory) -> Path:
    """One for all workers."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def _graphs_are_traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    graph = sys.modules.get("yoj.export.graph.write")  # tests that export import it before any test runs
    with pytest.MonkeyPatch.context() as patch:
        if graph is not None:
            from traces import SharedTraces

            patch.setattr(graph, "trace", SharedTraces(_folder_of_the_run(tmp_path_factory) / "traces", graph.trace))
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory):
    """bundle(kind, layout) -> path of a verified bundle.

    The kind is ``merged`` or ``adapter``, recorded checkpoints of Molmo2, or ``qwen3_vl``, a tiny one made here.
    """
    from tiny_qwen3_vl import TinyQwen, write_qwen

    from yoj.export.bundle._build import build
    from yoj.export.bundle._config import ExportConfig

    folder = _folder_of_the_run(tmp_path_factory)

    @functools.cache
    def make(kind: str, layout: str) -> Path:
        out = folder / f"{kind}-{layout}.yoj"
        with FileLock(f"{out}.lock"):
            if not out.exists():
                source = {"merged": MERGED, "adapter": ADAPTER}.get(kind)
                if source is None:
                    source = write_qwen(TinyQwen(), folder / f"{kind}-checkpoint", hidden_state="post_norm")
                build(ExportConfig([source], None, layout, out), Quiet())
        return out

    return make


@pytest.fixture(scope="session")
def scorer(bundle):
    """scorer(kind, layout) -> a loaded `Scorer`."""
    return functools.cache(lambda kind="merged", layout="assistant": Scorer.load(bundle(kind, layout)))
