"""Serve bundles: one process that others call over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoj.runtime.lazy import lazily

from ._errors import OverloadedError, ServingError

if TYPE_CHECKING:
    from ._app import make_app
    from ._settings import HttpSettings, QueueSettings

__all__ = ["HttpSettings", "OverloadedError", "QueueSettings", "ServingError", "make_app"]

__getattr__ = lazily(__name__, {"HttpSettings": "._settings", "QueueSettings": "._settings", "make_app": "._app"})
