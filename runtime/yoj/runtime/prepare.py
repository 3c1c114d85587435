"""Request -> the inputs of all graphs: decoded, preprocessed, packed. Serving and training share it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ._budget import Budget, Spending
from ._clip import Clip, VideoRules
from ._rationale_row import rationale_script, with_room
from ._response_images import check_pictures, check_sizes
from .batch import About, Prepared
from .dimensions import asks_of, check_dimension
from .errors import MediaError, RequestError
from .families import FAMILIES, PreparedMedia
from .images import ImageInput, ImageRules, Picture, Transparency, load_image
from .manifest import Layout, Limits, Manifest, Mode, ResponseImages, ValueHead
from .orders import Orders, draw_orders
from .packing import Pack, Packer, PackingOptions
from .packs import Members, draw_groups
from .request import Image, Overflow, Request, Video
from .script import UNKNOWN, Parts, Script, check_limits, script_of
from .stretch import Spans
from .text import TextEncoder
from .video import Film, VideoInput, load_video


@dataclass(frozen=True)
class PackingConfig:
    """Rules for preparing one model's requests; a bundle has them in its manifest."""

    family: str
    layout: Layout
    limits: Limits
    preprocessing: Mapping[str, Any]
    """Settings of the family's preprocessing."""
    trained_mode: Mode
    transparency: Transparency = "white"
    bundle: str = ""
    """Digest of the bundle's manifest; empty where there is no bundle."""
    budget: Budget = Budget()  # noqa: RUF009  (frozen)
    """Budget that the media of one request share."""
    trained_n: tuple[int, int] | None = None
    """Fewest and most responses that the model read together in training; None where that is not known."""
    head: ValueHead | None = None
    """Value head, whose dimensions may ask questions; None where it has one score and asks nothing."""
    response_images: ResponseImages | None = None
    """Pictures that the judge needs in every response."""


def packing_config(manifest: Manifest) -> PackingConfig:
    """Rules of a bundle, from its manifest."""
    return PackingConfig(
        manifest.family,
        manifest.layout,
        manifest.limits,
        manifest.preprocessing,
        manifest.trained_mode,
        manifest.transparency,
        manifest.digest,
        trained_n=manifest.trained_n,
        head=manifest.value_head,
        response_images=manifest.response_images,
    )


@dataclass(frozen=True)
class Shown:
    """One medium of a request, preprocessed."""

    media: PreparedMedia
    key: bytes
    frames: tuple[int, int] | None
    """Number of frames of a video: given, and read."""
    size: tuple[int, int] | None
    """Height and width of a picture as given; None for a video."""
    notices: tuple[str, ...]
    pixels_HWC: NDArray[np.uint8] | None = None
    """Decoded picture, [H, W, 3]; None for a video, and where pixels were not to be kept."""


@dataclass(frozen=True)
class ReadRequest:
    """Request whose media are preprocessed, and whose texts are not packed yet."""

    request: Request
    script: Script
    shown: tuple[Shown, ...]
    mode: Mode
    orders: Orders
    timings_ms: dict[str, float]


class Preparer:
    """Preparer of requests for one model. Safe to use from several threads."""

    def __init__(self, rules: PackingConfig, encoder: TextEncoder):
        """Set up the family's preprocessing.

        Raises:
            BundleError: the tokenizer does not fit the layout.
            msgspec.ValidationError: the family does not know a setting.
        """
        self.rules = rules
        self.packer = Packer(encoder, rules.layout, rules.limits.L, rules.head and asks_of(rules.head))
        self.family = FAMILIES[rules.family](rules.preprocessing, encoder.token_id)

    def prepare(self, request: Request, mode: Mode | None = None, orders: Orders | None = None) -> Prepared:
        """Decode, preprocess and pack one request: everything before the engine.

        Args:
            request: the request, unchecked.
            mode: mode of a request that names none; None for the one that the model was trained in.
            orders: orders of joint reading for a request that names none; see `yoj.runtime.Scorer.score_batch`.

        Raises:
            RequestError: the request cannot be scored; see its subclasses.
        """
        return self.pack(self.read(request, mode, orders))

    def read(
        self, request: Request, mode: Mode | None = None, orders: Orders | None = None, keep_pixels: bool = False
    ) -> ReadRequest:
        """Decode and preprocess the media of one request.

        Args:
            request: the request, unchecked.
            mode: see `prepare`.
            orders: see `prepare`.
            keep_pixels: whether decoded pictures are kept, so that `repaint` can change them.

        Raises:
            RequestError: the request cannot be scored; see its subclasses.
        """
        timings = dict[str, float]()
        script = script_of(request)
        check_limits(script, self.rules.limits)
        check_pictures(script, self.rules.response_images)
        check_dimension(request.dimension, self.rules.head)
        mode, orders = self._reading(request, mode, orders)
        draw_orders(len(script.responses), orders)  # refused before media are read
        shown = self._media(script, timings, keep_pixels)
        check_sizes(script, [one.size for one in shown], self.rules.response_images)
        return ReadRequest(request, script, tuple(shown), mode, orders, timings)

    def repaint(self, read: ReadRequest, number: int, pixels_HWC: NDArray[np.uint8]) -> ReadRequest:
        """Request with other pixels, uint8 of the same shape [H, W, 3], in the picture of this number."""
        changed = self._preprocess(Picture(pixels_HWC), read.script.names[number])
        shown = replace(read.shown[number], media=changed, key=_content_key(pixels_HWC, repr(None)))
        return replace(read, shown=(*read.shown[:number], shown, *read.shown[number + 1 :]))

    def pack(self, read: ReadRequest) -> Prepared:
        """Pack a request whose media were read.

        Raises:
            RequestError: the request cannot be scored; see its subclasses.
        """
        request, script, shown, mode = read.request, read.script, read.shown, read.mode
        timings = dict(read.timings_ms)
        with timed(timings, "pack"):
            keys = tuple(one.key for one in shown)
            script, copies = (
                _distinct(script, keys, self.rules.layout.text_glue or "")
                if request.duplicates == "share"
                else (script, ())
            )
            spans = [one.media.spans for one in shown]
            n = len(script.responses)
            size = self._group_size(request, mode, n)
            if size is None:
                plan = draw_orders(n, read.orders if read.orders == "all" else min(read.orders, n))
                reading = PackingOptions(mode, None if mode == "isolated" else plan, request.overflow)
                packs = self.packer.pack(script, spans, reading)
            else:
                plan = _draw_groups(n, size, read.orders, request.passes)
                packs = self._groups(script, plan, spans, request.overflow)
        frames = [one.frames for one in shown if one.frames is not None]
        given_read = (sum(given for given, _ in frames), sum(read for _, read in frames)) if frames else None
        notices = (*script.notices, *self._notices(script), *(notice for one in shown for notice in one.notices))
        if mode == "isolated" and request.method == "groups":
            notices += ("isolated reading is the same for any number of responses: method='groups' changes nothing",)
        about = About(copies, given_read, notices, timings, request.dimension, request.id, request.metadata)
        rows = tuple(order for order in plan for _ in self.packer.asks.rows)
        return Prepared(packs, rows, tuple(one.media for one in shown), keys, mode, about, self.rules.bundle)

    def prepare_rationale(self, request: Request, response: int, ask: str, room: int) -> Prepared:
        """Decode, preprocess and pack the row that a rationale continues; media of other responses are not read.

        Args:
            request: the request, unchecked.
            response: index of the response that is explained.
            ask: text that asks for the explanation.
            room: number of places for the tokens to come, which the one pack has behind its own.

        Raises:
            RequestError: there is no such response, or the request cannot be read; see its subclasses.
        """
        timings, needed = dict[str, float](), self.rules.response_images
        whole = script_of(request)
        check_limits(whole, self.rules.limits)
        check_pictures(whole, needed)
        check_dimension(request.dimension, self.rules.head)
        script = rationale_script(whole, response, ask)
        shown = self._media(script, timings)
        of_prompt = whole.owners.count(0)
        owners = tuple(int(number >= of_prompt) for number in range(len(shown)))
        check_sizes(replace(script, owners=owners), [one.size for one in shown], needed)
        with timed(timings, "pack"):
            # What a judge asks behind responses that it scores has no place in a row that is continued.
            packer = Packer(self.packer.encoder, self.rules.layout, self.rules.limits.L)
            pack = with_room(packer.open_row(script, [one.media.spans for one in shown], room), room)
        about = About(timings_ms=timings, id=request.id, metadata=request.metadata)
        media, keys = tuple(one.media for one in shown), tuple(one.key for one in shown)
        return Prepared((pack,), ((0,),), media, keys, "joint", about, self.rules.bundle)

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

    def _group_size(self, request: Request, mode: Mode, n: int) -> int | None:
        """Most responses of a group; None where all are read in one pack."""
        if request.method not in (None, "pack", "groups"):
            raise RequestError(
                f"method is {request.method!r}; give 'pack' or 'groups'. A knockout is the function "
                "yoj.runtime.knockout, or yoj-score --n-method knockout."
            )
        if request.method != "groups":
            if request.passes is not None:
                raise RequestError(f"passes is {request.passes!r}, which is for method='groups'. Leave it out.")
            return None
        if mode == "isolated":
            return None
        most = self.group_size()
        return most if n > most else None

    def group_size(self) -> int:
        """Most responses of a pack of ``method="groups"``: as many as in training.

        Raises:
            RequestError: the bundle does not say how many those were.
        """
        if self.rules.trained_n is None:
            raise RequestError(
                "Packs of as many responses as in training were asked for, and this bundle does not say how many those "
                "were. Export it again with --trained-n."
            )
        return max(2, self.rules.trained_n[1])

    def _groups(self, script: Script, plan: Sequence[Members], spans: Spans, overflow: Overflow) -> tuple[Pack, ...]:
        """Pack some of the responses into each row."""
        packs: list[Pack] = []
        for members in plan:
            # Media keep their numbers; those of responses that are not here have no owner in the row.
            place = {0: 0} | {response + 1: number + 1 for number, response in enumerate(members)}
            some = replace(
                script,
                responses=tuple(script.responses[response] for response in members),
                owners=tuple(place.get(owner, -1) for owner in script.owners),
            )
            packs += [
                replace(pack, cuts=tuple(replace(cut, response=members[cut.response]) for cut in pack.cuts))
                for pack in self.packer.pack(some, spans, PackingOptions("joint", None, overflow))
            ]
        return tuple(packs)

    def _media(self, script: Script, timings: dict[str, float], keep_pixels: bool = False) -> list[Shown]:
        """Prepare media for the vision graph; equal ones are one object. Pixels are held one at a time, or all kept."""
        timings |= {"decode": 0.0, "preprocess": 0.0}
        shown: list[Shown] = []
        known: dict[bytes, PreparedMedia] = {}
        rules = ImageRules(self.rules.limits.pixels, self.rules.transparency, Spending(self.rules.budget))
        for medium, name in zip(script.media, script.names, strict=True):
            with timed(timings, "decode"):
                given = self._decode(medium, rules, name)
            with timed(timings, "preprocess"):
                pixels = given.pixels_HWC if isinstance(given, Picture) else given.frames_FHWC
                key = _content_key(pixels, repr(None if isinstance(given, Picture) else given.seconds_F))
                if key not in known:
                    known[key] = self._preprocess(given, name)
            frames = None if isinstance(given, Picture) else (given.given, len(given.frames_FHWC))
            height, width = pixels.shape[-3:-1]
            size = (height, width) if isinstance(given, Picture) else None
            kept_HWC = given.pixels_HWC if keep_pixels and isinstance(given, Picture) else None
            shown.append(Shown(known[key], key, frames, size, given.notices, kept_HWC))
        return shown

    def _decode(self, medium: Image | Video, rules: ImageRules, name: str) -> Picture | Clip:
        if isinstance(medium, Image):
            return load_image(cast("ImageInput", medium.source), rules, name)
        film = Film(cast("VideoInput", medium.source), medium.fps, medium.timestamps)
        return load_video(film, VideoRules(self.rules.limits.frames, rules), self.family.sample_frames, name)

    def _preprocess(self, given: Picture | Clip, name: str) -> PreparedMedia:
        try:
            if isinstance(given, Picture):
                return self.family.prepare_image(given.pixels_HWC)
            return self.family.prepare_video(given.frames_FHWC, given.seconds_F)
        except MediaError as error:
            raise MediaError(f"{name}: {error}") from error

    def _notices(self, script: Script) -> list[str]:
        """Notices of what the chat template shows otherwise than the prompt is written."""
        layout, notices = self.rules.layout, list[str]()
        if any(script.owners) and self.rules.response_images is None:
            notices.append(f"responses hold media, {UNKNOWN}")
        of_roles = {turn.role for turn in script.turns if any(isinstance(part, int) for part in turn.parts)}
        notices += [
            f"the chat template of this checkpoint shows no media in {role} turns; they stand as in a user turn"
            for role in sorted(of_roles - {*layout.media_roles})
        ]
        first = next(turn.parts for turn in script.turns if turn.role == "user")
        leading = next((place for place, part in enumerate(first) if isinstance(part, str)), len(first))
        if script.owners.count(0) > leading:
            notices.append(
                "the chat template of this checkpoint shows all media of the prompt before its texts"
                if layout.gathers_media
                else f"media stand behind a text of the prompt, {UNKNOWN}"
            )
        return notices


def _draw_groups(n: int, size: int, orders: Orders, passes: int | None) -> tuple[Members, ...]:
    if orders != 1:
        raise RequestError(
            f"orders is {orders!r}, and N={n} responses are read in groups, each in several packs already. Leave "
            "orders at 1; passes says how often."
        )
    return draw_groups(n, size, passes)


def _distinct(script: Script, keys: Sequence[bytes], text_glue: str) -> tuple[Script, tuple[int, ...]]:
    """Script with each response once, and the index of the distinct response for each one given.

    The second is empty where all are distinct. Responses are equal where they read the same, whatever their parts.
    """
    contents = [_content(parts, keys, text_glue) for parts in script.responses]
    first = {content: place for place, content in reversed(list(enumerate(contents)))}
    kept = sorted(first.values())
    if len(kept) == len(contents):
        return script, ()
    place = {contents[index]: number for number, index in enumerate(kept)}
    distinct = replace(script, responses=tuple(script.responses[index] for index in kept))
    return distinct, tuple(place[content] for content in contents)


def _content(parts: Parts, keys: Sequence[bytes], text_glue: str) -> tuple[str | bytes, ...]:
    """Content of a response: its texts as they are joined, and the hashes of its media."""
    content: list[str | bytes] = []
    for part in parts:
        if isinstance(part, int):
            content.append(keys[part])
        elif content and isinstance(last := content[-1], str):
            content[-1] = last + text_glue + part
        else:
            content.append(part)
    return tuple(one for one in content if one)


@contextmanager
def timed(timings: dict[str, float], phase: str) -> Generator[None]:
    """Add the milliseconds of a block to ``timings``."""
    begin = time.perf_counter()
    yield
    timings[phase] = timings.get(phase, 0.0) + (time.perf_counter() - begin) * 1e3


def _content_key(pixels: NDArray[np.uint8], *others: str) -> bytes:
    """Hash of shape and pixels: equal for the same picture, whether given as a path, bytes or an array."""
    digest = hashlib.sha256(repr((pixels.shape, *others)).encode())
    for rows in [pixels] if pixels.flags.c_contiguous else pixels:
        digest.update(np.ascontiguousarray(rows).data)
    return digest.digest()
