"""Python's side of libyoj: functions that C calls, each of which gives a code and never raises."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from yoj.runtime import Reading, Request, Scorer, decode_request, encode_judgement
from yoj.runtime.errors import (
    BundleError,
    EngineError,
    EngineMemoryError,
    HubError,
    LengthError,
    LimitError,
    MediaError,
    RequestError,
    YojError,
)
from yoj.runtime.sources import Policy
from yoj.runtime.version import __version__

ADDRESSES = 2**63
"""Number of bytes that no process has."""


class ArgumentError(YojError, ValueError):
    """Argument that C's types allow and no call can mean."""


class HandleError(YojError, LookupError):
    """Number of a scorer that is not loaded."""


NAMES: dict[type[BaseException], str] = {
    ArgumentError: "ARGUMENT",
    HandleError: "HANDLE",
    BundleError: "BUNDLE",
    HubError: "BUNDLE",
    LengthError: "LENGTH",
    LimitError: "LIMIT",
    MediaError: "MEDIA",
    RequestError: "REQUEST",
    EngineMemoryError: "MEMORY",
    MemoryError: "MEMORY",
    EngineError: "ENGINE",
    BaseException: "INTERNAL",
}
"""Error -> the end of its code's name; an error whose class is not here has that of its nearest base class."""


@dataclass
class Loaded:
    """Scorer behind a number, and how requests in JSON are read for it."""

    scorer: Scorer
    reading: Reading

    def __del__(self) -> None:
        # Calls that have begun hold this object too, so that the last of them closes a scorer that was freed meanwhile.
        self.scorer.close()


def bind(ffi: Any, lib: Any) -> None:
    """Give C its functions, or keep the reason why not.

    Args:
        ffi: cffi's ``ffi`` of the library.
        lib: cffi's ``lib`` of the library.
    """
    built = ffi.string(lib.yoj_version()).decode()
    if built != __version__:
        text = (
            f"libyoj was built with yoj {built}, and Python has yoj {__version__}. Build it again with yoj-serve "
            "native, or set YOJ_PYTHON to the interpreter of an environment with the other version."
        )
        lib.yoj_keep_start_error(lib.YOJ_ERROR_VERSION, text.encode())
        return
    embedded = Embedded(ffi, lib)
    for call in (embedded.load, embedded.score, embedded.score_rgb, embedded.free):
        ffi.def_extern(name=f"yoj_py_{call.__name__}", error=lib.YOJ_ERROR_INTERNAL)(_guarded(call, lib))


def _guarded(call: Callable[..., None], lib: Any) -> Callable[..., int]:
    """Function that calls, and returns the code of the error that it met."""

    def run(*arguments: Any) -> int:
        try:
            call(*arguments)
        except BaseException as error:  # C has nowhere to let it pass to
            lib.yoj_keep_error(_told(error))
            name = next(NAMES[base] for base in type(error).__mro__ if base in NAMES)
            return getattr(lib, f"YOJ_ERROR_{name}")
        return lib.YOJ_OK

    return run


def _told(error: BaseException) -> bytes:
    text = str(error) if isinstance(error, YojError) else f"yoj failed with {type(error).__name__}: {error}"
    # Names of files that are not UTF-8 have surrogates, and a zero byte would end the text.
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace")


class Embedded:
    """Functions that C calls, by the names and arguments of ``yoj.h``, and the scorers that it loaded."""

    def __init__(self, ffi: Any, lib: Any):
        self._ffi, self._lib = ffi, lib
        self._loaded: dict[int, Loaded] = {}
        self._numbers = itertools.count(1)

    def load(self, bundle: Any, options: Any, scorer: Any) -> None:
        """Load a bundle and write its number to ``scorer``."""
        root = self._optional(options.media_root, "media_root")
        if root is not None and not Path(root).is_dir():
            raise ArgumentError(f"options.media_root {root!r} is no folder. Give one, or NULL to allow no files.")
        loaded = Scorer.load(
            self._text(bundle, "bundle"),
            engine=self._optional(options.engine, "engine"),
            precision=self._optional(options.precision, "precision"),
            threads=options.threads or None,
        )
        number = next(self._numbers)
        self._loaded[number] = Loaded(loaded, Reading(Policy(None if root is None else Path(root))))
        scorer[0] = number

    def free(self, scorer: int) -> None:
        """Forget a scorer."""
        self._find(scorer)
        self._loaded.pop(scorer, None)

    def score(self, scorer: int, request: Any, judgement: Any) -> None:
        """Score a request in JSON and write the address of the judgement's JSON to ``judgement``."""
        loaded = self._find(scorer)
        found = loaded.scorer.score_batch([decode_request(self._ffi.string(request), loaded.reading)])[0]
        text = msgspec.json.encode(encode_judgement(found)) + b"\0"
        memory = self._lib.malloc(len(text))
        if memory == self._ffi.NULL:
            raise MemoryError(f"no {len(text):,} bytes for the judgement")
        self._ffi.memmove(memory, text, len(text))
        judgement[0] = memory

    def score_rgb(self, scorer: int, request: Any, result: Any) -> None:
        """Score a ``yoj_request`` and write to a ``yoj_result``."""
        loaded, null = self._find(scorer), self._ffi.NULL
        for name, value in (
            ("request.responses", request.responses),
            ("result.scores", result.scores),
            ("result.probabilities", result.probabilities),
        ):
            if value == null:
                raise ArgumentError(f"{name} is NULL; give an array with an entry for each response.")
        if request.images == null and request.n_images:
            raise ArgumentError(f"request.images is NULL, and n_images is {request.n_images}; give the images, or 0.")
        prompt = self._text(request.prompt, "request.prompt")
        responses = [self._text(request.responses[k], f"request.responses[{k}]") for k in range(request.n_responses)]
        images = [self._pixels(request.images[k], f"request.images[{k}]") for k in range(request.n_images)]
        found = loaded.scorer.score_batch([Request(prompt, responses, images)])[0]
        for target, values in ((result.scores, found.scores), (result.probabilities, found.probabilities)):
            self._ffi.memmove(target, np.array(values, np.float32), 4 * len(values))
        result.best, result.calibrated, result.notices = found.best, int(found.calibrated), len(found.notices)

    def _find(self, scorer: int) -> Loaded:
        loaded = self._loaded.get(scorer)
        if loaded is None:
            raise HandleError(f"There is no scorer {scorer}: it was freed, or yoj_load never gave it. Load it again.")
        return loaded

    def _text(self, text: Any, name: str) -> str:
        if text == self._ffi.NULL:
            raise ArgumentError(f"{name} is NULL; give a text.")
        content = self._ffi.string(text)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            wrong = content[error.start]
            raise ArgumentError(f"{name} is not UTF-8: byte {error.start} is 0x{wrong:02X}. Convert it.") from error

    def _optional(self, text: Any, name: str) -> str | None:
        return None if text == self._ffi.NULL else self._text(text, f"options.{name}")

    def _pixels(self, image: Any, name: str) -> NDArray[np.uint8]:
        """View [H, W, 3] of the caller's memory."""
        width, height, stride = image.width, image.height, image.stride
        if image.pixels == self._ffi.NULL:
            raise ArgumentError(f"{name}.pixels is NULL; give the first byte of the picture.")
        if width < 1 or height < 1:
            raise ArgumentError(f"{name} is {width}x{height} pixels; give at least 1x1.")
        size = stride * (height - 1) + 3 * width
        if stride < 3 * width or size >= ADDRESSES:
            raise ArgumentError(
                f"{name}.stride is {stride} bytes for {width}x{height} pixels; give the bytes from one row to the "
                f"next, at least {3 * width}."
            )
        flat = np.frombuffer(self._ffi.buffer(image.pixels, size), np.uint8)
        return np.lib.stride_tricks.as_strided(flat, (height, width, 3), (stride, 3, 1), writeable=False)
