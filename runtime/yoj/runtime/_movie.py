"""Video file -> the frames that the model sees, decoded by PyAV."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._boxes import impossible_samples
from ._budget import MeteredFile
from ._clip import Clip, Sample, Timeline, VideoRules, choose, stack, timeline_of
from ._formats import CONTAINERS, containers_said, what_it_is
from ._whole import is_cut_off
from .error_texts import reason
from .errors import MediaError, YojError
from .images import HEAD_BYTES, check_size, load_image

NO_VIDEO = 0x400 | 0x800 | 0x100000
"""Dispositions of a cover, of thumbnails and of a still picture (``AV_DISPOSITION_*`` of FFmpeg)."""
LITTLE = 0.05
"""Share by which the header of a whole file may overstate its length."""


HOLE, HOLE_S, EVEN = 10.0, 1.0, 1.5
"""Criteria of a reported gap: so many times the usual distance of frames, so many seconds long, and no other distance
so many times the usual."""
OPENING = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
"""Options with which FFmpeg reads an open file by listed readers and without protocols: nothing makes it open another
file."""


@dataclass(frozen=True)
class _Source:
    av: Any
    file: MeteredFile
    label: str
    """Name of the file in errors."""
    name: str
    """Name of the video in notices."""
    rules: VideoRules

    def opened(self) -> Any:
        self.file.seek(0)
        try:
            return self.av.open(self.file, options=OPENING | self.decoding)
        except (self.av.FFmpegError, ValueError) as error:
            if isinstance(error, YojError):
                raise
            raise self.error(self._not_opened(getattr(error, "strerror", None) or reason(error))) from error

    @property
    def decoding(self) -> dict[str, str]:
        """Options of the decoder, which allocates for no larger frames, whatever the container states of them."""
        return {"max_pixels": str(self.rules.image.pixels)}

    def check_time(self) -> None:
        self.rules.image.spent().check_time(self.label)

    def _not_opened(self, why: str) -> str:
        self.file.seek(0)
        if found := what_it_is(self.file.read(HEAD_BYTES)):
            return f"is {found}, not a video. Give a video file or a folder of frames."
        return f"is not a video that can be read: {why}. It is damaged, or none of {containers_said()}."

    def error(self, text: str) -> MediaError:
        return MediaError(f"{self.label} {text}")


@dataclass(frozen=True)
class _Packet:
    """Header of a packet without its data, since all packets of a video are as large as the file."""

    pts: Any
    """Presentation time in ticks; None where the container does not say it."""
    size: int
    duration: int
    key: bool
    discarded: bool
    corrupt: bool


@dataclass(frozen=True)
class _Listing:
    """Frames of a stream that are shown, in their order."""

    pts_F: NDArray[np.int64]
    """Time of each frame, in ticks of the stream."""
    timeline: Timeline
    first: int = 0
    """Index of the packet with the first key frame; no frame before it can be decoded."""
    trusted: bool = False
    """Whether a decoded frame with another time is a surprise."""
    notices: tuple[str, ...] = ()


def read_movie(file: MeteredFile, label: str, rules: VideoRules, sample: Sample, name: str) -> Clip:
    """Decode the frames that the model sees.

    Args:
        file: the video, seekable.
        label: name of the file in errors.
        rules: the bundle's rules for videos.
        sample: the family's choice among its frames.
        name: name of the video in notices.

    Raises:
        MediaError: the file is no video of a container that is read, cut off, damaged, without time stamps, turned by
            an odd angle; PyAV is missing.
        LimitError: a frame has too many pixels, or the request's budget is spent.
    """
    try:
        av: Any = importlib.import_module("av")
    except ImportError as error:
        raise MediaError(f"Reading {label} needs PyAV ({error}). Install it with: pip install 'yoj[video]'") from error
    source = _Source(av, file, label, name, rules)
    if wrong := impossible_samples(file):
        raise source.error(f"{wrong}: it is damaged. Replace the file.")
    try:
        listing = _listed(source)
        chosen = choose(listing.timeline, rules, sample)
        frames = _decode(source, listing, chosen, rules)
        if frames is None:
            listing = _decodable(source, listing)
            chosen = choose(listing.timeline, rules, sample)
            frames = _decode(source, listing, chosen, rules)
    except YojError:
        raise
    except Exception as error:  # on damaged files PyAV raises more than its own errors
        most = f"Replace the file, or give one with frames of at most {rules.image.pixels:,} pixels"
        why = f"is not a video that can be decoded, or is cut off: {reason(error)}. {most}."
        raise source.error(why) from error
    if frames is None:
        raise source.error("gives other frames each time it is decoded: it is damaged. Replace the file.")
    return Clip(stack(frames), listing.timeline.times(chosen), listing.timeline.frames, listing.notices)


def _stream(source: _Source, container: Any) -> Any:
    """Stream that is the video: no cover or thumbnails; of several, the default one, or the largest."""
    streams = [s for s in container.streams.video if not s.disposition.value & NO_VIDEO]
    if not streams:
        what = "only a cover picture" if container.streams.video else "no video stream"
        raise source.error(f"has {what}. Give a video file or a folder of frames.")
    stream = max(streams, key=lambda s: (s.frames != 1, s.disposition.value & 1, s.width * s.height))
    if stream.width * stream.height:  # not known of every stream before it is decoded
        check_size(stream.width, stream.height, source.rules.image, source.label)
    stream.codec_context.options = source.decoding
    return stream


def _listed(source: _Source) -> _Listing:
    """List frames and times from the packets, without decoding."""
    with source.opened() as container:
        stream = _stream(source, container)
        read = list(_packets(source, container, stream))
        first = next((i for i, packet in enumerate(read) if packet.key), 0)
        if any(packet.size and packet.pts is None for packet in read):
            return _decodable(source, None)
        packets = [packet for packet in read if packet.size]
        shown = [packet for packet in packets if not packet.discarded]  # not those ahead of an edit list
        if not shown:
            raise source.error("has no frames with time stamps; it is empty, cut off or a bare stream. Replace it.")
        notices = _check_end(source, container, stream, shown) + _other_streams(source, container, stream)
        late = [packet for packet in read[first:] if packet.size and not packet.discarded]
        if damaged := sum(packet.corrupt for packet in read):
            notices += (f"{source.name}: {damaged} packets are damaged; their frames are missing or not as they were",)
        if missing := len(shown) - len(late):
            why = f"the first {missing} frames have no key frame to be decoded from"
            notices += (f"{source.name}: {why}, and are left out",)
        pts_F = np.sort(np.array([packet.pts for packet in late], np.int64))
        notices += _holes(pts_F.astype(np.float64) * float(stream.time_base), source.name)
        return _Listing(pts_F, _timeline(stream, pts_F), first, True, notices)


def _holes(seconds_F: NDArray[np.floating[Any]], name: str) -> tuple[str, ...]:
    """Notice of a gap in time, which a recording that lost frames does not announce; empty where there is none."""
    if len(seconds_F) < 3:
        return ()
    gaps = np.diff(seconds_F)
    typical = float(np.median(gaps))
    long = gaps > max(HOLE_S, HOLE * typical)
    holes = np.flatnonzero(long)
    # Where the rate varies anyhow, a still picture may be meant.
    if not len(holes) or (gaps[~long] > EVEN * typical).any():
        return ()
    longest = holes[np.argmax(gaps[holes])]
    return (
        f"{name}: frames are missing in {len(holes)} places; the longest is {gaps[longest]:.1f} s, from "
        f"{seconds_F[longest] - seconds_F[0]:.1f} s on",
    )


def _packets(source: _Source, container: Any, stream: Any) -> Iterator[_Packet]:
    for number, packet in enumerate(container.demux(stream)):
        if number % 64 == 0:
            source.check_time()
        yield _Packet(
            packet.pts,
            packet.size,
            packet.duration or 0,
            packet.is_keyframe,
            packet.is_discard,
            packet.is_corrupt,
        )


def _other_streams(source: _Source, container: Any, stream: Any) -> tuple[str, ...]:
    """Notice where another stream could have been meant."""
    videos = [s for s in container.streams.video if s.frames != 1 and not s.disposition.value & NO_VIDEO]
    if len(videos) < 2:
        return ()
    return (f"{source.name}: the file has {len(videos)} video streams; number {stream.index} was read",)


def _timeline(stream: Any, pts_F: NDArray[np.int64]) -> Timeline:
    tick = float(stream.time_base)
    return timeline_of((pts_F - pts_F[0]) * tick, float(stream.average_rate or 0), tick)


def _check_end(source: _Source, container: Any, stream: Any, packets: Sequence[_Packet]) -> tuple[str, ...]:
    """Compare the length in the headers with the packets, and return a notice of the difference.

    Raises:
        MediaError: the file is cut off.
    """
    tick = float(stream.time_base)
    pts_F = np.sort([packet.pts for packet in packets])
    typical = float(np.median(np.diff(pts_F))) * tick if len(pts_F) > 1 else 0.0
    lasting = max(packet.pts + (packet.duration or 0) for packet in packets) - int(pts_F[0])
    covered = max(lasting * tick, float(pts_F[-1] - pts_F[0]) * tick + typical)
    announced = _announced_seconds(container, stream)
    if "matroska" in container.format.name:  # which counts from time 0, not from the first frame
        announced -= max(0.0, int(pts_F[0]) * tick)
    lacking = announced - covered if announced > 0 else (stream.frames - len(packets)) * typical
    cut = lacking > 0.5 * typical and is_cut_off(source.file)
    if cut or lacking > max(2.5 * typical, LITTLE * announced) or packets[-1].corrupt:
        raise source.error(
            f"is cut off: it holds {len(packets)} frames, {covered:.2f} s, of the "
            f"{max(stream.frames, len(packets))} frames, {announced:.2f} s, that it announces. Replace the file."
        )
    if lacking <= 1.5 * typical:
        return ()
    return (f"{source.name}: the file announces {announced:.2f} s but holds {covered:.2f} s, which were read",)


def _announced_seconds(container: Any, stream: Any) -> float:
    """Length of the video in seconds by its header; 0 where it says nothing of the video alone."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska: hours:minutes:seconds
        hours, minutes, rest = tag.split(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(rest)
    return container.duration / 1e6 if len(container.streams) == 1 and container.duration else 0.0


def _decodable(source: _Source, listed: _Listing | None) -> _Listing:
    """List frames and times from the decoder, where the packets do not say them.

    Args:
        source: the open video.
        listed: frames and times from the packets; None where they say nothing.

    Raises:
        MediaError: the decoder gives fewer frames than the packets promise, or no time stamps.
    """
    with source.opened() as container:
        stream = _stream(source, container)
        times = [frame.pts for frame in _frames(source, container, stream, listed.first if listed else 0)]
        timed = [pts for pts in times if pts is not None]
        if len(timed) < len(times) or not times:
            raise source.error("has no frames with time stamps; it is empty, cut off or a bare stream. Replace it.")
        # AVI has no times for frames that are shown in another order than they are stored: the order is right.
        pts_F = np.sort(np.array(timed, np.int64))
        if listed is None:
            return _Listing(pts_F, _timeline(stream, pts_F))
        if len(pts_F) == len(listed.pts_F):
            return replace(listed, trusted=False)
        span, end = listed.pts_F[-1] - listed.pts_F[0], listed.pts_F[-1] - pts_F[-1]
        typical = np.median(np.diff(listed.pts_F))
        lost = f"{len(pts_F)} of the {len(listed.pts_F)} frames could be decoded"
        if is_cut_off(source.file) or end > max(2.5 * typical, LITTLE * span):
            raise source.error(f"is cut off: {lost}. Replace the file.")
        notices = (*listed.notices, f"{source.name}: {lost}, and these were read")
        return _Listing(pts_F, _timeline(stream, pts_F), listed.first, notices=notices)


def _frames(source: _Source, container: Any, stream: Any, first: int) -> Iterator[Any]:
    """Frames that the decoder gives for the packets from number ``first`` on."""
    for number, packet in enumerate(container.demux(stream)):
        source.check_time()
        if number >= first:
            yield from packet.decode()


def _decode(
    source: _Source, listing: _Listing, chosen: Sequence[int], rules: VideoRules
) -> list[NDArray[np.uint8]] | None:
    """Pixels of the chosen frames; None where the decoder gives other frames than those listed."""
    wanted, frames = set(chosen), dict[int, NDArray[np.uint8]]()
    # Opened again: not every container can go back exactly to its first frame.
    with source.opened() as container:
        stream = _stream(source, container)
        rules.image.spent().foresee_pixels(len(wanted) * stream.width * stream.height, source.label)
        for number, frame in enumerate(_frames(source, container, stream, listing.first)):
            if listing.trusted and (number >= len(listing.pts_F) or frame.pts != listing.pts_F[number]):
                return None
            if number in wanted:
                pixels = _as_shown(frame, source)
                frames[number] = load_image(pixels, rules.image, f"{source.label}, frame {number}").pixels_HWC
            if len(frames) == len(wanted):
                return [frames[i] for i in chosen]
    return None


def _as_shown(frame: Any, source: _Source) -> NDArray[np.uint8]:
    """RGB pixels of a frame, turned and mirrored as its display matrix says."""
    pixels_HWC: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    a, b, c, d = _display_matrix(frame)
    if not any((a, b, c, d)):
        return pixels_HWC
    if not ((a and d and not b and not c) or (b and c and not a and not d)):
        raise source.error(
            f"is to be shown rotated by {frame.rotation} degrees, which leaves its corners empty. "
            "Write it upright first, for example with: ffmpeg -i in.mp4 out.mp4"
        )
    if b:
        pixels_HWC = pixels_HWC.transpose(1, 0, 2)
    return pixels_HWC[:: d or b, :: a or c]


def _display_matrix(frame: Any) -> list[int]:
    """Signs of a, b, c, d: a pixel at x, y is shown a x + c y to the right and b x + d y down; zeros for no turn."""
    try:
        matrix = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # a frame with side data of a kind that PyAV does not know yet
        turned = math.radians(frame.rotation or 0)
        down, across = -round(math.sin(turned), 6), round(math.cos(turned), 6)
        return np.sign([across, down, -down, across]).astype(int).tolist()
    if matrix is None:
        return [0, 0, 0, 0]
    return np.sign(np.frombuffer(bytes(matrix), np.int32)[[0, 1, 3, 4]]).tolist()
