"""Commands that tests start find the traced graphs of the run, too.

Python imports a module of this name at its start wherever it is on the path; conftest.py puts this folder into
``PYTHONPATH`` and the folder with the folders of the traces into ``YOJ_TEST_TRACES``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

TRACED = "yoj.export.graph.write"


class SharedAtImport(MetaPathFinder):
    """Replaces `trace` as soon as the module that has it was imported; all others are imported as ever."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname != TRACED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_share(module: ModuleType) -> None:
                execute(module)
                sys.path.append(str(Path(__file__).parents[1]))
                from kept_traces import folder_in
                from traces import SharedTraces

                module.trace = SharedTraces(folder_in(Path(os.environ["YOJ_TEST_TRACES"])), module.trace)

            spec.loader.exec_module = execute_and_share  # pyright: ignore[reportAttributeAccessIssue]
        return spec


if "YOJ_TEST_TRACES" in os.environ:
    sys.meta_path.insert(0, SharedAtImport())
