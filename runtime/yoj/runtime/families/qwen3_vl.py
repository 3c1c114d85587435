"""Qwen3-VL in NumPy: pixels in patches, tables of the learned and the rotary positions, three-axis token positions.

An image, and every ``temporal_patch_size`` frames of a video, becomes one grid of patches at about its own size;
every ``merge_size`` x ``merge_size`` patches become one visual token. Grids, patches and positions equal those of
``Qwen2VLImageProcessor``, ``Qwen3VLVideoProcessor`` and ``Qwen3VLModel.get_rope_index`` of transformers 5.23.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .._convert import to_struct
from .._resize import bicubic
from ..errors import MediaError
from ..packing import Pack
from ..stretch import Span
from ..video import Timeline
from ._base import Arrays, PreparedMedia


class Qwen3VLPreprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the checkpoint, from ``preprocessor_config.json``, its video twin and the vision config."""

    patch_size: int
    temporal_patch_size: int
    """Number of frames that one patch spans; an image is repeated as often."""
    merge_size: int
    """Side, in patches, of the square that becomes one visual token."""
    image_min_pixels: int
    image_max_pixels: int
    video_min_pixels: int
    """Least pixels of all frames of a video together."""
    video_max_pixels: int
    video_fps: float
    """Frames per second that are taken of a video file, within the two limits that follow."""
    video_min_frames: int
    video_max_frames: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    video_mean: tuple[float, float, float]
    video_std: tuple[float, float, float]
    position_grid: int
    """Side of the square table of learned positions."""
    vision_head_dim: int
    vision_theta: float
    """Base of the rotary frequencies of the vision tower."""


MAX_RATIO = 200
"""Largest ratio of the longer to the shorter side of a picture (``smart_resize`` of the released processor)."""


class Qwen3VL:
    """Qwen3-VL's preprocessing; see `yoj.runtime.families.Family`."""

    def __init__(self, preprocessing: Mapping[str, Any], token_id: Callable[[str], int]) -> None:
        self._settings = to_struct(preprocessing, Qwen3VLPreprocessing, strict=False)
        self._image, self._video = token_id("<|image_pad|>"), token_id("<|video_pad|>")
        self._start, self._end = token_id("<|vision_start|>"), token_id("<|vision_end|>")
        self.visual_tokens = (self._image, self._video)

    def prepare_image(self, image_HWC: NDArray[np.uint8]) -> PreparedMedia:
        """Prepare ``pixel_values`` float32 [F=1, P, 3 * temporal * patch * patch]."""
        s = self._settings
        height, width = image_HWC.shape[:2]
        _check_ratio(height, width, "The image")
        size = smart_resize(height, width, self._factor, s.image_min_pixels, s.image_max_pixels)
        resized_HWC = bicubic(image_HWC, *size)
        still_FHWC = np.broadcast_to(resized_HWC, (s.temporal_patch_size, *resized_HWC.shape))
        spans = [Span(ids=self._ids(self._image, size))]
        return self._prepared(still_FHWC, spans, s.image_mean, s.image_std)

    def prepare_video(self, frames_FHWC: NDArray[np.uint8], seconds_F: Sequence[float]) -> PreparedMedia:
        """Prepare every ``temporal_patch_size`` frames as one grid, after the middle of their times in seconds.

        Where frames are missing at the end, the last one is repeated.
        """
        s = self._settings
        frames, height, width = frames_FHWC.shape[:3]
        if frames > s.video_max_frames:
            raise MediaError(
                f"The video has F={frames} frames; this bundle takes {s.video_max_frames}. Give fewer frames."
            )
        size = self._frame_size(frames, height, width)
        resized = [bicubic(image_HWC, *size) for image_HWC in frames_FHWC]
        missing = -frames % s.temporal_patch_size
        ids = np.array([self._start, *self._ids(self._video, size), self._end], np.int64)
        spans: list[Span] = []
        for seconds in self._middles([*seconds_F, *[seconds_F[-1]] * missing]):
            spans += [Span(text=f"<{seconds:.1f} seconds>"), Span(ids=ids)]
        return self._prepared(np.stack(resized + resized[-1:] * missing), spans, s.video_mean, s.video_std)

    def sample_frames(self, timeline: Timeline) -> list[int]:
        """Choose ``video_fps`` frames per second, but not under the least or over the most, evenly over the video.

        The rule is that of ``Qwen3VLVideoProcessor.sample_frames``.
        """
        s = self._settings
        wanted = int(timeline.frames / timeline.fps * s.video_fps)
        count = min(max(wanted, s.video_min_frames), s.video_max_frames)
        places = timeline.nearest(np.linspace(0, timeline.frames - 1, count))
        return np.unique(places.round().astype(int)).tolist()

    @staticmethod
    def multiples(settings: Mapping[str, Any]) -> dict[str, int]:
        """See `yoj.runtime.families._base.Family.multiples`."""
        return {"P": int(settings.get("merge_size", 1)) ** 2}

    def vision_inputs(self, media: Sequence[PreparedMedia]) -> Arrays:
        """Gather the patches of all media, and the tables of the one grid that they have in common.

        Returns:
            ``pixel_values`` float32 [F, P, 3 * temporal * patch * patch]; ``position_index`` int64 and
            ``position_weight`` float32 [P, 4]; ``rotary_cos`` and ``rotary_sin`` float32 [P, vision_head_dim / 2].
        """
        s = self._settings
        rows, columns = (side * s.merge_size for side in media[0].grids[0])
        index_P4, weight_P4 = learned_positions(rows, columns, s.merge_size, s.position_grid)
        cos_PX, sin_PX = rotary_positions(rows, columns, s.merge_size, s.vision_head_dim, s.vision_theta)
        return {
            "pixel_values": np.concatenate([medium.arrays["pixel_values"] for medium in media]),
            # Copies: the tables are kept for the next call, and PyTorch warns of arrays that cannot be written to.
            "position_index": index_P4.copy(),
            "position_weight": weight_P4.copy(),
            "rotary_cos": cos_PX.copy(),
            "rotary_sin": sin_PX.copy(),
        }

    def token_inputs(self, pack: Pack, media: Sequence[PreparedMedia]) -> Arrays:
        """Make ``position_ids`` int64 [3, L]: time, row and column, all three the same for text.

        A grid of visual tokens takes as many positions as its longer side has tokens, so what follows it stands
        nearer than its place in the row says.
        """
        blocks = list(self._blocks(pack, media))
        saved_L = np.zeros(len(pack.input_ids_L), np.int64)
        for block in blocks:
            saved_L[block.places[-1]] = len(block.places) - max(block.rows, block.columns)
        position_3L = np.tile(pack.index_L - _saved_before(saved_L, pack.segment_L), (3, 1))
        for block in blocks:
            first = position_3L[0, block.places[0]]
            position_3L[0, block.places] = first
            position_3L[1, block.places] = first + np.repeat(np.arange(block.rows), block.columns)
            position_3L[2, block.places] = first + np.tile(np.arange(block.columns), block.rows)
        return {"position_ids": position_3L}

    def _blocks(self, pack: Pack, media: Sequence[PreparedMedia]) -> list[_Block]:
        """Places of the visual tokens of each grid in the row."""
        visual_L = np.isin(pack.input_ids_L, self.visual_tokens)
        blocks: list[_Block] = []
        for number, medium in enumerate(media):
            places = np.flatnonzero(visual_L & (pack.media_L == number + 1))
            # Isolated responses that share no more of the prompt than its beginning each show its media again.
            for rows, columns in medium.grids * (len(places) // max(medium.rows, 1)):
                blocks.append(_Block(places[: rows * columns], rows, columns))
                places = places[rows * columns :]
        return blocks

    @property
    def _factor(self) -> int:
        """Pixels along the side of one visual token."""
        return self._settings.patch_size * self._settings.merge_size

    def _frame_size(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """Height and width to which the frames of a video are resized."""
        s, factor = self._settings, self._factor
        if height < factor or width < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
        _check_ratio(height, width, "A frame, its shorter side enlarged to one visual token,")
        # The stock processor refuses a video shorter than one patch; here it counts as one.
        count = max(frames, s.temporal_patch_size)
        return smart_resize(height, width, factor, s.video_min_pixels, s.video_max_pixels, count, s.temporal_patch_size)

    def _middles(self, times: Sequence[float]) -> list[float]:
        """Mean of the first and the last time in each patch."""
        step = self._settings.temporal_patch_size
        return [(first + last) / 2 for first, last in zip(times[::step], times[step - 1 :: step], strict=True)]

    def _ids(self, token: int, size: tuple[int, int]) -> NDArray[np.int64]:
        """Token ids of the visual tokens of one grid."""
        return np.full((size[0] // self._factor) * (size[1] // self._factor), token, np.int64)

    def _prepared(
        self,
        frames_FHWC: NDArray[np.uint8],
        spans: Sequence[Span],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> PreparedMedia:
        """Medium of resized frames, whose number is a multiple of ``temporal_patch_size``."""
        patch, merge = self._settings.patch_size, self._settings.merge_size
        height, width = frames_FHWC.shape[1] // patch, frames_FHWC.shape[2] // patch
        pixels_FPX = self._patches(frames_FHWC, mean, std)
        return PreparedMedia(
            arrays={"pixel_values": pixels_FPX},
            spans=tuple(spans),
            rows=pixels_FPX.shape[0] * pixels_FPX.shape[1] // merge**2,
            group=("frames", height, width),
            grids=((height // merge, width // merge),) * len(pixels_FPX),
        )

    def _patches(
        self, frames_FHWC: NDArray[np.uint8], mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> NDArray[np.float32]:
        """Normalised pixels [F, P, 3 * temporal * patch * patch].

        The patches of one visual token are side by side, in each by channel, then frame, then row.
        """
        s = self._settings
        merge, patch, temporal = s.merge_size, s.patch_size, s.temporal_patch_size
        frames, height, width = frames_FHWC.shape[:3]
        rows, columns = height // (patch * merge), width // (patch * merge)
        split = frames_FHWC.reshape(frames // temporal, temporal, rows, merge, patch, columns, merge, patch, 3)
        ordered = split.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).astype(np.float32, order="C")
        pixels_FPCX = ordered.reshape(frames // temporal, -1, 3, temporal * patch * patch)
        # Scaled mean and deviation instead of scaled pixels, as the stock processor's torchvision backend does.
        pixels_FPCX -= np.array(mean, np.float32)[:, None] * np.float32(255)
        pixels_FPCX /= np.array(std, np.float32)[:, None] * np.float32(255)
        return pixels_FPCX.reshape(*pixels_FPCX.shape[:2], -1)


@dataclass(frozen=True)
class _Block:
    """Place and size of the visual tokens of one grid."""

    places: NDArray[np.intp]
    """Index of the first visual token in the row of tokens."""
    rows: int
    columns: int


def smart_resize(
    height: int, width: int, factor: int, min_pixels: int, max_pixels: int, frames: int = 1, temporal_factor: int = 1
) -> tuple[int, int]:
    """Height and width in whole factors, near the given ones, with all frames within the numbers of pixels.

    Halves round to even, and the limits are compared with the rounded sizes but kept with the given ones: both as in
    the stock processor. A side may grow over ``max_pixels`` where it cannot be smaller than one factor.

    Args:
        height: height of a frame, in pixels.
        width: width of a frame, in pixels.
        factor: number of which both sides become multiples.
        min_pixels: least pixels of all frames together.
        max_pixels: most pixels of all frames together.
        frames: number of frames, 1 for an image.
        temporal_factor: number of which the number of frames counts as a multiple.
    """
    rounded = round(height / factor) * factor, round(width / factor) * factor
    total = round(frames / temporal_factor) * temporal_factor * rounded[0] * rounded[1]
    if total > max_pixels:
        beta = math.sqrt((frames * height * width) / max_pixels)
        down, across = (max(factor, math.floor(side / beta / factor) * factor) for side in (height, width))
        return down, across
    if total < min_pixels:
        beta = math.sqrt(min_pixels / (frames * height * width))
        return math.ceil(height * beta / factor) * factor, math.ceil(width * beta / factor) * factor
    return rounded


def _check_ratio(height: int, width: int, name: str) -> None:
    ratio = max(height, width) / min(height, width)
    if ratio > MAX_RATIO:
        raise MediaError(
            f"{name} is {width}x{height} pixels, one side {ratio:.1f} times the other; the model takes up to "
            f"{MAX_RATIO} times. Crop it or add a border."
        )


@functools.lru_cache(maxsize=8)
def learned_positions(rows: int, columns: int, merge: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Entries of the flattened ``side`` x ``side`` table that each patch blends, four each, and their weights.

    Bilinear with aligned corners, in float32, as ``get_vision_interpolation_indices_and_weights`` of transformers.

    Returns:
        int64 [P, 4] and float32 [P, 4], in the order of the patches. Kept for the next call, so read-only.
    """
    row_P, column_P = _patch_places(rows, columns, merge)
    down_P2, down_weight_P2 = _axis_taps(row_P, rows, side)
    across_P2, across_weight_P2 = _axis_taps(column_P, columns, side)
    index_P4 = (down_P2[:, :, None] * side + across_P2[:, None, :]).reshape(-1, 4)
    weight_P4 = (down_weight_P2[:, :, None] * across_weight_P2[:, None, :]).reshape(-1, 4)
    return _read_only(index_P4), _read_only(weight_P4)


@functools.lru_cache(maxsize=8)
def rotary_positions(
    rows: int, columns: int, merge: int, head_dim: int, theta: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosine and sine of each patch's angles: half of the frequencies turn with the row, half with the column.

    Returns:
        Twice float32 [P, head_dim / 2], in the order of the patches. Kept for the next call, so read-only.
    """
    half = head_dim // 2
    exponent = np.arange(0, half, 2, dtype=np.float32) / np.float32(half)
    # NumPy's float32 power is one unit off for some exponents; PyTorch's is the rounded float64 power.
    frequency = np.float32(1) / np.power(theta, exponent.astype(np.float64)).astype(np.float32)
    row_P, column_P = _patch_places(rows, columns, merge)
    angle_PX = np.concatenate([place[:, None].astype(np.float32) * frequency for place in (row_P, column_P)], axis=1)
    # NumPy's float32 cosine differs by several units from one kind of CPU to the next.
    exact_PX = angle_PX.astype(np.float64)
    return _read_only(np.cos(exact_PX).astype(np.float32)), _read_only(np.sin(exact_PX).astype(np.float32))


def _patch_places(rows: int, columns: int, merge: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of each patch, in their order: those of one visual token side by side."""
    places = np.indices((rows, columns), np.int64)
    blocks = places.reshape(2, rows // merge, merge, columns // merge, merge).transpose(0, 1, 3, 2, 4)
    row_P, column_P = blocks.reshape(2, -1)
    return row_P, column_P


def _axis_taps(place_P: NDArray[np.int64], size: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Lower and upper entry of one axis for each patch, and their weights, both [P, 2]."""
    source_P = place_P.astype(np.float32) * np.float32(side - 1) / np.float32(max(size - 1, 1))
    lower_P = np.floor(source_P)
    taps_P2 = lower_P.astype(np.int64)[:, None] + np.arange(2)
    distance_P2 = np.abs(source_P[:, None] - lower_P[:, None] - np.arange(2, dtype=np.float32))
    return np.minimum(taps_P2, side - 1), 1 - distance_P2


def _saved_before(saved_L: NDArray[np.int64], segment_L: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions that the grids before each token save: those of the prompt, and those of its own segment up to it."""
    before_L = np.cumsum(saved_L) - saved_L
    begin_L = np.searchsorted(segment_L, segment_L)  # first token of each token's segment
    prompt = saved_L[segment_L == 0].sum()
    return before_L - before_L[begin_L] + np.where(segment_L > 0, prompt, 0)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
