"""Request -> everything that the graphs take: decoded, preprocessed, packed. Serving and training share it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .batch import About, Prepared
from .clip import Clip, VideoRules
from .errors import MediaError, RequestError
from .families import FAMILIES, PreparedMedia
from .images import ImageInput, ImageRules, load_image
from .manifest import Layout, Limits, Manifest, Mode
from .orders import Orders, plan_orders
from .packing import Packer, Reading
from .request import Image, Request, Video
from .rgb import Transparency
from .script import Script, check_limits, script_of
from .text import TextEncoder
from .video import Film, VideoInput, load_video


@dataclass(frozen=True)
class Rules:
    """How one model's requests are prepared; of a bundle these stand in its manifest."""

    family: str
    layout: Layout
    limits: Limits
    preprocessing: Mapping[str, Any]
    """The family's settings."""
    trained_mode: Mode
    transparency: Transparency = "white"


def rules_of(manifest: Manifest) -> Rules:
    """How the requests of a bundle are prepared."""
    return Rules(
        manifest.family,
        manifest.layout,
        manifest.limits,
        manifest.preprocessing,
        manifest.trained_mode,
        manifest.transparency,
    )


@dataclass(frozen=True)
class _Decoded:
    """One medium as pixels."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] of an image, [F, H, W, 3] of a video."""
    clip: Clip | None
    """None for an image."""
    notices: tuple[str, ...]
    key: bytes


class Preparer:
    """Prepares requests for one model. Safe to use from several threads."""

    def __init__(self, rules: Rules, encoder: TextEncoder):
        """Set up the family's preprocessing.

        Raises:
            BundleError: the tokenizer does not fit the layout.
            msgspec.ValidationError: settings that the family does not know.
        """
        self.rules = rules
        self.packer = Packer(encoder, rules.layout, rules.limits.L)
        self.family = FAMILIES[rules.family](rules.preprocessing, encoder.token_id)

    def prepare(self, request: Request, mode: Mode | None = None, orders: Orders | None = None) -> Prepared:
        """Decode, preprocess and pack one request: everything before the engine.

        Args:
            request: unchecked.
            mode: how the responses are read where the request does not say it; None for what the model was trained for.
            orders: of joint reading where the request does not say it; see `yoj.runtime.Scorer.score_batch`.

        Raises:
            RequestError: it cannot be scored; see its subclasses.
        """
        timings = dict[str, float]()
        script = script_of(request)
        check_limits(script, self.rules.limits)
        mode, orders = self._reading(request, mode, orders)
        n = len(script.responses)
        plan_orders(n, orders)  # what is wrong with the orders is said in the caller's N
        with timed(timings, "decode"):
            decoded = [self._decode(medium, name) for medium, name in zip(script.media, script.names, strict=True)]
        with timed(timings, "preprocess"):
            media = self._preprocess(script, decoded)
        with timed(timings, "pack"):
            keys = tuple(one.key for one in decoded)
            script, copies = _distinct(script, keys) if request.duplicates == "share" else (script, ())
            plan = plan_orders(len(script.responses), orders if orders == "all" else min(orders, len(script.responses)))
            reading = Reading(mode, None if mode == "isolated" else plan, request.overflow)
            packs = self.packer.pack(script, [medium.spans for medium in media], reading)
        clips = [one.clip for one in decoded if one.clip is not None]
        frames = (sum(c.given for c in clips), sum(len(c.frames_FHWC) for c in clips)) if clips else None
        notices = (*script.notices, *(notice for one in decoded for notice in one.notices))
        about = About(copies, frames, notices, timings, request.id, request.metadata)
        return Prepared(packs, plan, media, keys, mode, about)

    def _reading(self, request: Request, mode: Mode | None, orders: Orders | None) -> tuple[Mode, Orders]:
        """Mode and orders of a request: its own, or else the call's, or else the model's."""
        mode = mode if request.mode is None else request.mode
        if mode not in (None, "joint", "isolated"):
            raise RequestError(f"mode is {mode!r}; give 'joint' or 'isolated'.")
        mode = mode or self.rules.trained_mode
        orders = request.orders if request.orders is not None else 1 if orders is None else orders
        if mode == "isolated" and orders != 1:
            raise RequestError("Isolated scores do not depend on the order of the responses; leave orders at 1.")
        return mode, orders

    def _decode(self, medium: Image | Video, name: str) -> _Decoded:
        rules = ImageRules(self.rules.limits.pixels, self.rules.transparency)
        if isinstance(medium, Image):
            picture = load_image(cast("ImageInput", medium.source), rules, name)
            return _Decoded(picture.pixels_HWC, None, picture.notices, _content_key(picture.pixels_HWC))
        film = Film(cast("VideoInput", medium.source), medium.fps, medium.timestamps)
        clip = load_video(film, VideoRules(self.rules.limits.frames, rules), self.family.sample_frames, name)
        key = _content_key(clip.frames_FHWC, repr(clip.seconds_F))
        return _Decoded(clip.frames_FHWC, clip, clip.notices, key)

    def _preprocess(self, script: Script, decoded: Sequence[_Decoded]) -> tuple[PreparedMedia, ...]:
        """Each medium as the vision graph takes it; equal ones are one object."""
        prepared: dict[bytes, PreparedMedia] = {}
        for one, name in zip(decoded, script.names, strict=True):
            if one.key not in prepared:
                try:
                    prepared[one.key] = (
                        self.family.prepare_image(one.pixels)
                        if one.clip is None
                        else self.family.prepare_video(one.pixels, one.clip.seconds_F)
                    )
                except MediaError as error:
                    raise MediaError(f"{name}: {error}") from error
        return tuple(prepared[one.key] for one in decoded)


def _distinct(script: Script, keys: Sequence[bytes]) -> tuple[Script, tuple[int, ...]]:
    """The script with each response once, and for each response given, which of those it is.

    The second is empty where all are distinct.
    """
    contents = [tuple(part if isinstance(part, str) else keys[part] for part in parts) for parts in script.responses]
    first = {content: place for place, content in reversed(list(enumerate(contents)))}
    kept = sorted(first.values())
    if len(kept) == len(contents):
        return script, ()
    place = {contents[index]: number for number, index in enumerate(kept)}
    distinct = replace(script, responses=tuple(script.responses[index] for index in kept))
    return distinct, tuple(place[content] for content in contents)


@contextmanager
def timed(timings: dict[str, float], phase: str) -> Generator[None]:
    """Put the milliseconds of a block into ``timings``."""
    begin = time.perf_counter()
    yield
    timings[phase] = (time.perf_counter() - begin) * 1e3


def _content_key(pixels: NDArray[np.uint8], *others: str) -> bytes:
    """Hash of shape and pixels: equal for the same picture, whether given as a path, bytes or an array."""
    digest = hashlib.sha256(repr((pixels.shape, *others)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
