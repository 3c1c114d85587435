"""Public names of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def lazily(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Function for the ``__getattr__`` of a package, so that importing the package imports none of these modules.

    Args:
        package: name of the package.
        modules: public name -> the module that defines it, relative to the package.
    """

    def get(name: str) -> object:
        if (module := modules.get(name)) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(module, package), name)

    return get
