"""Bundles that several tests share, exported once from the recorded checkpoints."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, for processes that tests start too
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from filelock import FileLock
from kept_traces import folder_in, forget_others
from quiet import Quiet
from recorded import ADAPTER, MERGED

from yoj.runtime import Scorer
from yoj.runtime.machine import instruction_sets

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
SOURCES = {
    "merged": MERGED,
    "adapter": ADAPTER,
    "shapes": CHECKPOINTS / "shapes-qwen3_vl",
    "edits": CHECKPOINTS / "edits-qwen3_vl",
}
"""Kind of a bundle -> its checkpoint."""


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Rounding, kernels and times differ with these, so that a report of a failure must name them."""
    lines = [f"instruction sets: {', '.join(instruction_sets()) or 'not known'}"]
    if (cache := _cache_of_traces(config)) is not None:
        kept = len(list(folder_in(cache).glob("*.onnx")))
        lines.append(f"graphs that earlier runs of the same code have traced: {kept} (--cache-clear traces all anew)")
    return lines


def _cache_of_traces(config: pytest.Config) -> Path | None:
    """None where pytest runs without its cache."""
    return config.cache.mkdir("traces") if config.pluginmanager.hasplugin("cacheprovider") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes a bundle, and begin with the files that take longest, so that no worker waits at the end."""
    for item in items:
        if {"bundle", "scorer"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("export")
    exporting, slow = ({item.path for item in items if any(item.iter_markers(mark))} for mark in ("export", "slow"))
    items.sort(key=lambda item: (item.path not in exporting, item.path not in slow))


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test without the mark must not trace, in commands that it starts either; see `SharedTraces`."""
    os.environ["YOJ_TEST_WITHOUT_EXPORT"] = "" if item.get_closest_marker("export") else item.nodeid


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
def _graphs_are_traced_once(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = folder_in(_cache_of_traces(pytestconfig) or _folder_of_the_run(tmp_path_factory) / "traces")
    forget_others(folder)
    graph = sys.modules.get("yoj.export.graph.write")  # tests that export import it before any test runs
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOJ_TEST_TRACES", str(folder.parent))  # of commands that tests start
        patch.setenv("PYTHONPATH", str(Path(__file__).parent / "support" / "subprocess"), prepend=os.pathsep)
        if graph is not None:
            from traces import SharedTraces

            patch.setattr(graph, "trace", SharedTraces(folder, graph.trace))
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory):
    """bundle(kind, layout) -> path of a bundle; those of the merged checkpoints in the assistant layout are verified.

    The kind is ``merged`` or ``adapter``, recorded checkpoints of Molmo2, ``qwen3_vl``, a tiny one made here, or
    ``shapes`` or ``edits``, trained judges that this repository ships, of which the second explains.
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
                source = SOURCES.get(kind)
                if source is None:
                    source = write_qwen(TinyQwen(), folder / f"{kind}-checkpoint", hidden_state="post_norm")
                compare = layout == "assistant" and kind in ("merged", "qwen3_vl")
                config = ExportConfig([source], None, layout, out, compare=compare, language=kind == "edits")
                build(config, Quiet())
        return out

    return make


@pytest.fixture(scope="session")
def scorer(bundle):
    """scorer(kind, layout) -> a loaded `Scorer`."""
    return functools.cache(lambda kind="merged", layout="assistant": Scorer.load(bundle(kind, layout)))
