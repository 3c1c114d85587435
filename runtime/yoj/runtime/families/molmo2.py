"""Molmo2 in NumPy: overlapping crops, pooling tables, image tokens and token types.

An image becomes one view of the whole picture and up to ``max_crops`` overlapping crops; every window of
``pooling_size`` patches becomes one visual token. Index tables equal those of ``Molmo2ImageProcessor`` exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .._convert import to_struct
from .._resize import bilinear
from ..errors import MediaError
from ..packing import Pack
from ..stretch import Span
from ..video import Timeline
from ._base import Arrays, PreparedMedia


class Molmo2Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """Image settings of the checkpoint, from ``preprocessor_config.json`` and ``processor_config.json``."""

    crop_size: int
    """Side of a crop, in pixels."""
    patch_size: int
    max_crops: Annotated[int, msgspec.Meta(ge=1)]
    overlap_margins: tuple[int, int]
    """Patches by which a crop overlaps its neighbours: left or top, right or bottom."""
    pooling_size: tuple[int, int]
    """Height and width of a pooling window, in patches."""
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    column_tokens: bool
    """Whether a row of the crops' tokens ends with ``<im_col>``."""
    overview_column_tokens: bool
    """Whether a row of the overview's tokens ends with ``<im_col>``; the overview is the view of the whole picture."""
    overview_start: str
    """Token that opens the overview."""
    video_pooling_size: tuple[int, int]
    video_column_tokens: bool
    frame_start: str
    frame_end: str
    video_max_fps: float
    """Frames per second that are taken of a video file, where they are not more than ``video_max_frames``."""
    video_max_frames: int
    """Most frames that are taken of one video."""


IMAGE_TOKENS = (
    "<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>",
    "<frame_start>", "<im_end>", "<frame_end>", "<im_low>",
)  # fmt: skip
"""Tokens of type 1: those of the prompt, and those of each response, attend to each other in both directions."""


@dataclass(frozen=True)
class _Grid:
    """Patches that each visual token pools."""

    table_VK: NDArray[np.int64]
    """Index of a patch among all patches of the crops, -1 for an empty slot."""
    rows: int
    columns: int


class Molmo2:
    """Molmo2's preprocessing; see `yoj.runtime.families.Family`."""

    def __init__(self, preprocessing: Mapping[str, Any], token_id: Callable[[str], int]) -> None:
        self._settings = to_struct(preprocessing, Molmo2Preprocessing, strict=False)
        self._token = {name: token_id(name) for name in IMAGE_TOKENS}
        self._image_tokens = np.array(list(self._token.values()), np.int64)
        self.visual_tokens = (self._token["<im_patch>"],)

    def prepare_image(self, image_HWC: NDArray[np.uint8]) -> PreparedMedia:
        """Prepare ``pixel_values`` float32 [C, P, 588] and ``pooling_index`` int64 [V, K], the overview first."""
        s = self._settings
        side = s.crop_size // s.patch_size
        overview = pool(np.arange(side * side).reshape(side, side), s.pooling_size)
        crops_CHWX, crop_patches = self._crops(image_HWC)
        detail = pool(crop_patches, s.pooling_size)
        shifted = np.where(detail.table_VK >= 0, detail.table_VK + side * side, -1)
        crops_CHWX = np.concatenate([bilinear(image_HWC, s.crop_size, s.crop_size)[None], crops_CHWX])
        table_VK = np.concatenate([overview.table_VK, shifted])
        ids = self._view(s.overview_start, "<im_end>", overview, s.overview_column_tokens)
        ids += self._view("<im_start>", "<im_end>", detail, s.column_tokens)
        return PreparedMedia(
            arrays={"pixel_values": self._patches(crops_CHWX), "pooling_index": table_VK},
            spans=(Span(ids=np.array(ids, np.int64)),),
            rows=len(table_VK),
            group=s.pooling_size,
            grids=((overview.rows, overview.columns), (detail.rows, detail.columns)),
        )

    def prepare_video(self, frames_FHWC: NDArray[np.uint8], seconds_F: Sequence[float]) -> PreparedMedia:
        """Prepare each frame as one view, after its time in seconds."""
        s = self._settings
        if len(frames_FHWC) > s.video_max_frames:
            raise MediaError(f"The video has {len(frames_FHWC)} frames; this bundle takes {s.video_max_frames}.")
        side = s.crop_size // s.patch_size
        frame = pool(np.arange(side * side).reshape(side, side), s.video_pooling_size)
        crops_FHWX = np.stack([bilinear(image_HWC, s.crop_size, s.crop_size) for image_HWC in frames_FHWC])
        offset_F11 = (np.arange(len(frames_FHWC)) * side * side)[:, None, None]
        table_FVK = np.where(frame.table_VK >= 0, frame.table_VK + offset_F11, -1)
        ids = np.array(self._view(s.frame_start, s.frame_end, frame, s.video_column_tokens), np.int64)
        spans: list[Span] = []
        for number, seconds in enumerate(seconds_F):
            spans += [Span(text=f"{' ' if number else ''}{seconds:.1f} "), Span(ids=ids)]
        return PreparedMedia(
            arrays={
                "pixel_values": self._patches(crops_FHWX),
                "pooling_index": table_FVK.reshape(-1, table_FVK.shape[-1]),
            },
            spans=tuple(spans),
            rows=len(frames_FHWC) * len(frame.table_VK),
            group=s.video_pooling_size,
            grids=((frame.rows, frame.columns),) * len(frames_FHWC),
        )

    def sample_frames(self, timeline: Timeline) -> list[int]:
        """Choose frames by the rule ``uniform_last_frame`` of the released processor.

        It takes ``max_fps`` frames per second and the last one, or, where that is too many, as many as are allowed
        from the first to the last.
        """
        s, last = self._settings, timeline.frames - 1
        if timeline.frames <= 2:
            return list(range(timeline.frames))
        if timeline.frames / timeline.fps > (s.video_max_frames - 1) / s.video_max_fps:
            places = timeline.nearest(np.linspace(0, last, s.video_max_frames))
            return np.unique(places.astype(int)).tolist()
        places = timeline.nearest(np.arange(0.0, last, timeline.fps / s.video_max_fps))
        numbers = np.unique([*np.rint(places).astype(int), last])
        return numbers[: s.video_max_frames].tolist()

    @staticmethod
    def multiples(settings: Mapping[str, Any]) -> dict[str, int]:
        """See `yoj.runtime.families._base.Family.multiples`."""
        del settings
        return {}

    def vision_inputs(self, media: Sequence[PreparedMedia]) -> Arrays:
        """Concatenate the crops, and shift the patch indices of each medium to the place of its crops."""
        pixels_CPX = np.concatenate([medium.arrays["pixel_values"] for medium in media])
        tables: list[NDArray[np.int64]] = []
        offset = 0
        for medium in media:
            table_VK = medium.arrays["pooling_index"]
            tables.append(np.where(table_VK >= 0, table_VK + offset, -1))
            crops, patches, _ = medium.arrays["pixel_values"].shape
            offset += crops * patches
        return {"pixel_values": pixels_CPX, "pooling_index": np.concatenate(tables)}

    def token_inputs(self, pack: Pack, media: Sequence[PreparedMedia]) -> Arrays:
        """Make ``position_ids``, ``token_types`` and ``media_blocks``, int64 [L] each.

        ``token_types`` are 1 for image tokens. ``media_blocks`` are equal for the image tokens that see each other in
        both directions: those of the prompt, and those of each response.
        """
        del media  # Molmo2's positions count tokens, whatever they stand for
        types_L = np.isin(pack.input_ids_L, self._image_tokens).astype(np.int64)
        owner_M = np.array((0, *(pack.owners or [0] * int(pack.media_L.max()))), np.int64)
        owners = int(owner_M.max()) + 1
        blocks_L = types_L * (1 + owner_M[pack.media_L] + owners * pack.segment_L)
        return {"token_types": types_L, "media_blocks": blocks_L, "position_ids": pack.index_L}

    def _crops(self, image_HWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Overlapping crops [C, crop, crop, 3], and the [rows, columns] grid of the patches that each place keeps."""
        s = self._settings
        side, before, after = s.crop_size // s.patch_size, s.overlap_margins[0], s.overlap_margins[1]
        window = (side - before - after) * s.patch_size
        margin = (before + after) * s.patch_size
        height, width = image_HWC.shape[:2]
        down, across = select_tiling(height - margin, width - margin, window, s.max_crops)
        canvas = bilinear(image_HWC, down * window + margin, across * window + margin)
        views = np.lib.stride_tricks.sliding_window_view(canvas, (s.crop_size, s.crop_size), axis=(0, 1))
        crops = views[::window, ::window].transpose(0, 1, 3, 4, 2).reshape(-1, s.crop_size, s.crop_size, 3)

        grid = np.arange(down * across * side * side).reshape(down, across, side, side)
        keep = np.ones_like(grid, bool)
        # Where two crops overlap, each keeps its own half of the margin.
        keep[1:, :, :before] = keep[:, 1:, :, :before] = False
        keep[:-1, :, side - after :] = keep[:, :-1, :, side - after :] = False
        kept = grid.transpose(0, 2, 1, 3)[keep.transpose(0, 2, 1, 3)]
        return crops, kept.reshape(canvas.shape[0] // s.patch_size, canvas.shape[1] // s.patch_size)

    def _patches(self, crops_CHWX: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalised pixels in patches, [C, P, patch * patch * 3]."""
        s = self._settings
        side = s.crop_size // s.patch_size
        mean, std = np.array(s.image_mean, np.float32), np.array(s.image_std, np.float32)
        # Of 256 levels in 3 channels: a table lookup is faster than arithmetic on every pixel.
        levels = (np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - mean) / std
        patches = crops_CHWX.reshape(-1, side, s.patch_size, side, s.patch_size, 3).transpose(0, 1, 3, 2, 4, 5)
        return levels[patches, np.arange(3)].reshape(len(crops_CHWX), side * side, -1)

    def _view(self, start: str, end: str, grid: _Grid, columns: bool) -> list[int]:
        row = [self._token["<im_patch>"]] * grid.columns + [self._token["<im_col>"]] * columns
        return [self._token[start], *row * grid.rows, self._token[end]]


def select_tiling(height: int, width: int, window: int, max_crops: int) -> tuple[int, int]:
    """Rows and columns of crops: the tiling that needs the least enlarging, or else the least shrinking.

    The arithmetic is float32 and sizes may be zero or negative (an image smaller than the margins), both as in the
    stock processor, whose choice it must repeat.

    Args:
        height: height of the image without the margins, in pixels.
        width: width of the image without the margins, in pixels.
        window: pixels that one crop adds to either side.
        max_crops: most crops of the tiling.
    """
    sizes = range(1, max_crops + 1)
    tilings = sorted(((h, w) for h in sizes for w in sizes if h * w <= max_crops), key=lambda t: (t[0] * t[1], t[0]))
    with np.errstate(divide="ignore"):
        scales = (np.array(tilings, np.float32) * np.float32(window)) / np.array([height, width], np.float32)
    scale = scales.min(axis=1)
    if (scale < 1).all():
        return tilings[int(scale.argmax())]
    return tilings[int(np.where(scale < 1, np.float32(10e9), scale).argmin())]


def pool(patches: NDArray[np.int64], size: tuple[int, int]) -> _Grid:
    """Group a [rows, columns] grid of patch indices into windows, with -1 around it where a window is not full."""
    down, across = (-length % window for length, window in zip(patches.shape, size, strict=True))
    padding = ((down // 2, (down + 1) // 2), (across // 2, (across + 1) // 2))
    padded = np.pad(patches, padding, constant_values=-1)
    rows, columns = padded.shape[0] // size[0], padded.shape[1] // size[1]
    windows = padded.reshape(rows, size[0], columns, size[1]).transpose(0, 2, 1, 3)
    return _Grid(windows.reshape(rows * columns, size[0] * size[1]).astype(np.int64), rows, columns)
