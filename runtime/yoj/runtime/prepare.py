"""Request -> everything that the graphs take: decoded, preprocessed, packed. Serving and training share it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batch import Prepared
from .errors import MediaError, RequestError
from .families import FAMILIES, PreparedMedia
from .images import ImageRules, load_image
from .manifest import Layout, Limits, Manifest, Mode
from .orders import Orders, plan_orders
from .packing import Cut, Pack, Packer, Span
from .request import Request, check_request
from .video import Clip, Film, VideoRules, load_video


@dataclass(frozen=True)
class Rules:
    """How one model's requests are prepared; of a bundle these stand in its manifest."""

    family: str
    layout: Layout
    limits: Limits
    preprocessing: Mapping[str, Any]
    """The family's settings."""
    trained_mode: Mode


def rules_of(manifest: Manifest) -> Rules:
    """Those of a bundle."""
    return Rules(manifest.family, manifest.layout, manifest.limits, manifest.preprocessing, manifest.trained_mode)


class Preparer:
    """Prepares requests for one model. Safe to use from several threads."""

    def __init__(self, rules: Rules, tokenizer_file: Path):
        """Load the tokenizer.

        Raises:
            BundleError: the tokenizer does not fit the layout.
            msgspec.ValidationError: settings that the family does not know.
        """
        self.rules = rules
        self.packer = Packer(tokenizer_file, rules.layout, rules.limits.L)
        self.family = FAMILIES[rules.family](rules.preprocessing, self.packer.token_id)

    def prepare(self, request: Request, mode: Mode | None = None, orders: Orders = 1) -> Prepared:
        """Decode, preprocess and pack one request: everything before the engine.

        Args:
            request: unchecked.
            mode: how the responses are read; None for what the model was trained for.
            orders: of joint reading; see `yoj.runtime.Scorer.score_batch`.

        Raises:
            RequestError: it cannot be scored; see its subclasses.
        """
        limits, timings = self.rules.limits, dict[str, float]()
        if mode not in (None, "joint", "isolated"):
            raise RequestError(f"mode is {mode!r}; give 'joint' or 'isolated'.")
        mode = mode or self.rules.trained_mode
        check_request(request, limits)
        if mode == "isolated" and orders != 1:
            raise RequestError("Isolated scores do not depend on the order of the responses; leave orders at 1.")
        plan = plan_orders(len(request.responses), orders)
        with timed(timings, "decode"):
            rules = ImageRules(limits.pixels)
            pictures = [load_image(image, rules, f"images[{k}]") for k, image in enumerate(request.images)]
            pixels = [picture.pixels_HWC for picture in pictures]
            video = self._load_video(request)
        with timed(timings, "preprocess"):
            media = [self._prepare_image(image_HWC, k) for k, image_HWC in enumerate(pixels)]
            if video is not None:
                media.append(self.family.prepare_video(video.frames_FHWC, video.seconds_F))
            keys = tuple(_content_key(array) for array in (*pixels, *([video.frames_FHWC] if video else [])))
        with timed(timings, "pack"):
            packs, cuts = self._pack(request, [medium.spans for medium in media], mode, plan)
        frames = (video.given, len(video.frames_FHWC)) if video else None
        return Prepared(packs, plan, tuple(media), keys, mode, frames, cuts, timings)

    def _pack(
        self, request: Request, spans: Sequence[Sequence[Span]], mode: Mode, plan: Sequence[Sequence[int]]
    ) -> tuple[tuple[Pack, ...], tuple[Cut, ...]]:
        """A row for each order. Where one has to be cut, all get the same texts."""
        texts = list(request.responses)
        while True:
            turned = [replace(request, responses=[texts[i] for i in order]) for order in plan]
            packs = tuple(self.packer.pack(one, spans, mode) for one in turned)
            cut = [(order[c.response], c.kept) for order, pack in zip(plan, packs, strict=True) for c in pack.cuts]
            for index, kept in cut:
                texts[index] = texts[index][:kept]
            if not cut:
                break
        both = enumerate(zip(request.responses, texts, strict=True))
        return packs, tuple(Cut(k, len(full), len(part)) for k, (full, part) in both if len(part) < len(full))

    def _prepare_image(self, image_HWC: NDArray[np.uint8], number: int) -> PreparedMedia:
        try:
            return self.family.prepare_image(image_HWC)
        except MediaError as error:
            raise MediaError(f"images[{number}]: {error}") from error

    def _load_video(self, request: Request) -> Clip | None:
        if request.video is None:
            return None
        limits = self.rules.limits
        rules = VideoRules(limits.frames, ImageRules(limits.pixels))
        return load_video(Film(request.video, request.fps), rules, self.family.sample_frames)


@contextmanager
def timed(timings: dict[str, float], phase: str) -> Generator[None]:
    """Put the milliseconds of a block into ``timings``."""
    begin = time.perf_counter()
    yield
    timings[phase] = (time.perf_counter() - begin) * 1e3


def _content_key(pixels: NDArray[np.uint8]) -> bytes:
    """Hash of shape and pixels: equal for the same picture, whether given as a path, bytes or an array."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
