"""Kinds of video files that people have: variable rates, display matrices, edit lists, animations, odd headers."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yoj.runtime._whole import is_cut_off
from yoj.runtime.errors import MediaError
from yoj.runtime.families.molmo2 import Molmo2
from yoj.runtime.families.qwen3_vl import Qwen3VL
from yoj.runtime.images import ImageRules
from yoj.runtime.video import Clip, Film, Timeline, VideoRules, load_video

av = pytest.importorskip("av")

MEDIA = Path(__file__).parents[1] / "data" / "media"
RULES = VideoRules(1000, ImageRules(10_000_000))


def every(timeline: Timeline) -> list[int]:
    return list(range(timeline.frames))


def load(video, sample=every, **times) -> Clip:
    return load_video(Film(video, **times), RULES, sample)


def refusal(video, **times) -> str:
    with pytest.raises(MediaError) as caught:
        load(video, **times)
    return str(caught.value)


def timeline(video) -> Timeline:
    seen: list[Timeline] = []
    load(video, lambda t: seen.append(t) or [0])
    return seen[0]


def quarters(number: int) -> np.ndarray:
    """Four flat corners, so that every turn and mirroring shows; brighter from frame to frame."""
    levels = np.array([[30, 90], [150, 210]]) + number
    return np.repeat(levels.repeat(24, 0).repeat(32, 1)[:, :, None], 3, axis=2).astype(np.uint8)


def write(file: Path, stamps, codec="mpeg4", rate=10, options=None, edit=None) -> Path:
    """Frame k is ``quarters(k)``, shown from ``stamps[k]`` / rate seconds on."""
    with av.open(str(file), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base, stream.bit_rate = Fraction(1, rate), 4_000_000
        if edit:
            edit(stream)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(quarters(number), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def corners(pixels_HWC: np.ndarray) -> list[list[float]]:
    height, width = pixels_HWC.shape[0] // 2, pixels_HWC.shape[1] // 2
    return [[float(pixels_HWC[h : h + height, w : w + width].mean()) for w in (0, width)] for h in (0, height)]


# Variable rates


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(
    "stamps",
    [[0, 1, 2, 9, 10, 30], [0, 1, 2, 3, 5, 6, 7, 8, 9], [*range(0, 20), *range(20, 80, 3)], [0, 600]],
    ids=["long gaps", "one frame missing", "another rate in the second half", "two frames"],
)
def test_frames_of_a_variable_rate_stand_at_their_own_times(stamps, ending, tmp_path):
    clip = load(write(tmp_path / f"v.{ending}", stamps))
    assert clip.given == len(stamps)
    np.testing.assert_allclose(clip.seconds_F, np.array(stamps) / 10, atol=2e-3)
    np.testing.assert_allclose([corners(f)[0][0] for f in clip.frames_FHWC], 30 + np.arange(len(stamps)), atol=3)
    assert clip.notices == ()


def test_a_small_deviation_that_adds_up_is_a_variable_rate(tmp_path):
    stamps = np.cumsum([0, *[100] * 50, *[120] * 50]).tolist()
    clip = load(write(tmp_path / "v.mkv", stamps, rate=1000))
    np.testing.assert_allclose(clip.seconds_F, np.array(stamps) / 1000, atol=1e-3)


def test_one_dropped_frame_leaves_its_gap():
    clip = load(MEDIA / "one_dropped_frame.mp4")
    expected = np.array([*range(31), *range(32, 61)]) / 30
    np.testing.assert_allclose(clip.seconds_F, expected, atol=1e-4)


QWEN = {
    "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2, "image_min_pixels": 1, "image_max_pixels": 10**6,
    "video_min_pixels": 1, "video_max_pixels": 10**7, "video_fps": 2.0, "video_min_frames": 4, "video_max_frames": 16,
    "image_mean": (0.5,) * 3, "image_std": (0.5,) * 3, "video_mean": (0.5,) * 3, "video_std": (0.5,) * 3,
    "position_grid": 48, "vision_head_dim": 64, "vision_theta": 10000.0,
}  # fmt: skip


def variable(seconds) -> Timeline:
    return Timeline(len(seconds), (len(seconds) - 1) / seconds[-1], tuple(seconds))


def families(scorer):
    molmo2: Molmo2 = scorer("merged", "assistant").family
    return molmo2, Qwen3VL(QWEN, lambda token: 1)


@pytest.mark.parametrize("fps", [5, 10, 24, 30])
@pytest.mark.parametrize("frames", [5, 40, 300])
def test_on_a_true_time_line_of_constant_rate_a_family_takes_the_frames_of_the_constant_rate(frames, fps, scorer):
    seconds = [k / fps for k in range(frames)]
    for family in families(scorer):
        constant = family.sample_frames(Timeline(frames, fps))
        # Halves may round either way.
        np.testing.assert_allclose(family.sample_frames(variable(seconds)), constant, atol=1)


def test_two_frames_a_second_are_taken_where_frames_are_dense_and_every_frame_where_they_are_rare(scorer):
    dense, rare = [k / 30 for k in range(60)], [3.0, 4.0, 5.0, 6.0]
    for family in families(scorer):
        chosen = family.sample_frames(variable([*dense, *rare]))
        assert chosen == sorted(set(chosen))
        assert [k for k in chosen if k >= 60] == [60, 61, 62, 63]
        times = np.array([*dense, *rare])[[k for k in chosen if k < 60]]
        assert 4 <= len(times) <= 6
        assert np.diff(times).min() > 0.3


def test_a_picture_held_for_long_is_seen_once(scorer):
    for family in families(scorer):
        chosen = family.sample_frames(variable([0.0, 0.1, 0.2, 7.0]))
        assert chosen == sorted(set(chosen))
        assert {0, 2, 3} <= set(chosen)


# Display matrices

TURNS = {
    "quarter clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "half": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "quarter counterclockwise": ((0, -1, 1, 0), lambda p: np.rot90(p)),
    "left to right": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda p: p[::-1]),
    "transposed": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    "transposed over the other diagonal": ((0, -1, -1, 0), lambda p: np.rot90(p, 2).transpose(1, 0, 2)),
}


def with_matrix(file: Path, a: float, b: float, c: float, d: float) -> bytes:
    """An MP4 whose track header holds this display matrix."""
    content = bytearray(file.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    content[place : place + 36] = struct.pack(
        ">9i", int(a * one), int(b * one), 0, int(c * one), int(d * one), 0, 0, 0, 1 << 30
    )
    return bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("turn", TURNS)
def test_a_video_is_turned_and_mirrored_as_it_is_to_be_shown(turn, tmp_path):
    file = write(tmp_path / "v.mp4", range(8))
    matrix, shown = TURNS[turn]
    plain, turned = load(file), load(with_matrix(file, *matrix))
    np.testing.assert_array_equal(turned.frames_FHWC, [shown(frame) for frame in plain.frames_FHWC])
    assert turned.seconds_F == plain.seconds_F


@pytest.mark.slow
def test_the_turned_case_is_the_upright_one_turned_clockwise():
    plain, turned = load(MEDIA / "clip.mp4"), load(MEDIA / "rotated_90.mp4")
    np.testing.assert_array_equal(turned.frames_FHWC, [np.rot90(frame, -1) for frame in plain.frames_FHWC])


def test_a_turn_that_leaves_corners_empty_is_refused(tmp_path):
    text = refusal(with_matrix(write(tmp_path / "v.mp4", range(4)), 0.8, 0.6, -0.6, 0.8))
    assert "rotated by" in text
    assert "ffmpeg" in text


# Edit lists, streams and headers


@pytest.mark.slow
@pytest.mark.parametrize(("file", "frames", "last"), [("edit_list", 100, 3.96), ("bframes_vfr", 102, 4.16)])
def test_of_a_stream_copied_clip_the_frames_after_the_edit_list_are_seen(file, frames, last):
    clip = load(MEDIA / f"stream_copied_clip_{file}.mp4")
    assert (clip.given, len(clip.frames_FHWC)) == (frames, frames)
    assert clip.seconds_F[0] == 0
    assert abs(clip.seconds_F[-1] - last) < 0.01
    with av.open(str(MEDIA / f"stream_copied_clip_{file}.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(clip.frames_FHWC, shown)


def stream_copy(source: Path, target: Path, start: int) -> Path:
    """Packets from number ``start`` on, without decoding."""
    with av.open(str(source)) as given, av.open(str(target), "w") as taken:
        stream = taken.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.size][start:]
        for packet in packets:
            packet.stream = stream
            taken.mux(packet)
    return target


def test_frames_ahead_of_the_first_key_frame_are_left_out_and_said(tmp_path):
    file = write(tmp_path / "v.mkv", range(30), edit=lambda stream: setattr(stream.codec_context, "gop_size", 10))
    clip = load(stream_copy(file, tmp_path / "cut.mkv", 6))
    assert clip.given == 20
    np.testing.assert_allclose(clip.seconds_F, np.arange(20) / 10, atol=1e-3)
    assert abs(corners(clip.frames_FHWC[0])[0][0] - 40) < 4
    assert any("first 4 frames" in notice and notice.startswith("video: ") for notice in clip.notices)


def test_frames_that_avi_stores_in_another_order_come_in_the_order_shown(tmp_path):
    file = write(tmp_path / "v.avi", range(20), codec="libx264", edit=lambda s: setattr(s, "options", {"bf": "3"}))
    clip = load(file)
    np.testing.assert_allclose([corners(f)[0][0] for f in clip.frames_FHWC], 30 + np.arange(20), atol=3)
    np.testing.assert_allclose(clip.seconds_F, np.arange(20) / 10, atol=1e-6)


def overstated(content: bytes, frames: int) -> bytes:
    """An AVI whose headers speak of so many frames."""
    changed = bytearray(content)
    header, stream = changed.index(b"avih") + 8, changed.index(b"strh") + 8
    changed[header + 16 : header + 20] = changed[stream + 32 : stream + 36] = struct.pack("<I", frames)
    return bytes(changed)


@pytest.mark.slow
def test_a_header_that_overstates_by_a_little_is_read_and_one_by_much_is_refused(tmp_path):
    content = write(tmp_path / "v.avi", range(60)).read_bytes()
    for frames in (61, 62):
        clip = load(overstated(content, frames))
        assert clip.given == 60
        np.testing.assert_allclose(clip.seconds_F, np.arange(60) / 10, atol=1e-6)
    assert load(overstated(content, 62)).notices == (
        "video: the file announces 6.20 s but holds 6.00 s, which were read",
    )
    assert "is cut off" in refusal(overstated(content, 90))


def test_the_duration_of_an_mp4_may_be_overstated_by_a_little(tmp_path):
    content = bytearray(write(tmp_path / "v.mp4", range(40)).read_bytes())
    place = content.index(b"mdhd") + 4 + 16
    (duration,) = struct.unpack(">I", content[place : place + 4])
    content[place : place + 4] = struct.pack(">I", int(duration * 1.04))
    assert load(bytes(content)).given == 40


def test_a_packet_that_is_no_picture_is_not_counted_and_it_is_said(tmp_path):
    file = tmp_path / "v.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
        for number in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(number), format="rgb24")))
        container.mux(stream.encode())
        empty = av.Packet(b"\0\0\1\xb7")  # the end of a sequence
        empty.stream, empty.pts, empty.dts, empty.time_base = stream, 20, 20, Fraction(1, 25)
        container.mux(empty)
    clip = load(file)
    assert clip.given == 20
    np.testing.assert_allclose(clip.seconds_F, np.arange(20) / 25, atol=1e-3)
    np.testing.assert_allclose([corners(f)[0][0] for f in clip.frames_FHWC], 30 + np.arange(20), atol=3)
    assert clip.notices == ("video: 20 of the 21 frames could be decoded, and these were read",)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.9, 0.95, 0.98])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_file_that_lacks_its_last_bytes_is_cut_off_and_not_overstated(ending, share, tmp_path):
    options = {"movflags": "faststart"} if ending == "mp4" else None
    content = write(tmp_path / f"v.{ending}", range(30), options=options).read_bytes()
    assert not is_cut_off(io.BytesIO(content))
    assert is_cut_off(io.BytesIO(content[: int(share * len(content))]))
    if ending == "mp4":  # the index stands first, and the last frames are missing
        assert "cut off" in refusal(content[: int(share * len(content))])


def test_a_cover_ahead_of_the_video_is_not_the_video(tmp_path):
    file = tmp_path / "v.mp4"
    with av.open(str(file), "w") as container:
        cover = container.add_stream("mjpeg", rate=10)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode())
        for number in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(number), format="rgb24")))
        container.mux(stream.encode())
    clip = load(file)
    assert clip.frames_FHWC.shape == (12, 48, 64, 3)
    assert clip.notices == ()


def test_of_two_videos_in_a_file_one_is_read_and_the_other_said(tmp_path):
    file = tmp_path / "v.mkv"
    with av.open(str(file), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream in streams:
            for number in range(6):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(number), format="rgb24")))
            container.mux(stream.encode())
    assert load(file).notices == ("video: the file has 2 video streams; number 0 was read",)


def test_a_playlist_opens_no_other_file(tmp_path):
    write(tmp_path / "secret.ts", range(12))
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(text)
    assert "list.m3u8" in refusal(tmp_path / "list.m3u8")
    assert "bytes" in refusal(text.encode())


# Videos of one frame, animations


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "gif", "webp", "png", "avif", "jpg"])
def test_a_video_of_one_frame_has_one_frame_at_time_zero(ending, tmp_path):
    file = tmp_path / f"one.{ending}"
    if ending in ("mp4", "mkv", "avi"):
        write(file, [0])
    else:
        Image.fromarray(quarters(0)).save(file)
    clip = load(file)
    assert (clip.given, clip.seconds_F, clip.frames_FHWC.shape) == (1, (0.0,), (1, 48, 64, 3))


def test_a_tiff_is_no_video_for_its_pages_have_no_times(tmp_path):
    file = tmp_path / "pages.tiff"
    Image.fromarray(quarters(0)).save(file, save_all=True, append_images=[Image.fromarray(quarters(1))])
    with pytest.raises(MediaError, match=r"is a TIFF picture. Give its pages as images"):
        load(file)


@pytest.mark.parametrize("file", ["one_frame.mp4", "one_frame.gif"])
def test_the_cases_of_one_frame_are_read(file):
    clip = load(MEDIA / file)
    assert (clip.given, clip.seconds_F) == (1, (0.0,))


def test_a_judge_scores_videos_of_one_frame(scorer):
    judge = scorer("merged", "assistant")
    for file in ("one_frame.mp4", "one_frame.gif"):
        assert np.isfinite(judge.score("What is it?", ["A shape.", "A dog."], video=MEDIA / file).scores).all()


def test_a_gif_whose_last_frame_is_held_has_its_frames_at_their_times():
    clip = load(MEDIA / "gif_last_frame_held.gif")
    np.testing.assert_allclose(clip.seconds_F, [0, 0.1, 0.2, 0.3], atol=1e-9)
    assert timeline(MEDIA / "gif_last_frame_held.gif") == Timeline(4, 10.0)


def test_an_animated_avif_is_its_frames_and_not_its_first_stream():
    clip = load(MEDIA / "animated_avif_4_frames.avif")
    assert (clip.given, clip.seconds_F) == (4, (0.0, 0.5, 1.0, 1.5))
    image = Image.open(MEDIA / "animated_avif_4_frames.avif")
    for number, frame in enumerate(clip.frames_FHWC):
        image.seek(number)
        np.testing.assert_array_equal(frame, np.asarray(image.convert("RGB")))


def test_an_animated_avif_is_its_frames_where_pillow_does_not_read_avif(monkeypatch):
    expected = load(MEDIA / "animated_avif_4_frames.avif")
    monkeypatch.setattr("yoj.runtime._animation.is_animation", lambda head: False)
    clip = load(MEDIA / "animated_avif_4_frames.avif")
    assert (clip.given, clip.seconds_F) == (4, expected.seconds_F)
    # FFmpeg's colours are a little other ones: each frame is nearest to its own.
    distance = np.abs(clip.frames_FHWC[:3, None].astype(int) - expected.frames_FHWC[None, :3]).mean(axis=(2, 3, 4))
    assert distance.argmin(axis=1).tolist() == [0, 1, 2]


def animation(form: str, durations, frames=None, **options) -> bytes:
    pictures = frames or [Image.fromarray(quarters(10 * number)) for number in range(len(durations))]
    stream = io.BytesIO()
    pictures[0].save(stream, form, save_all=True, append_images=pictures[1:], duration=durations, **options)
    return stream.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("durations", [[100] * 5, [100, 100, 100, 5000], [40, 2000, 40, 40, 700]])
def test_frames_of_an_animation_stand_at_their_times(form, durations):
    options = {"lossless": True} if form == "WEBP" else {"quality": 100} if form == "AVIF" else {}
    clip = load(animation(form, durations, **options))
    assert clip.given == len(durations)
    np.testing.assert_allclose(clip.seconds_F, np.cumsum([0, *durations[:-1]]) / 1000, atol=1e-9)
    levels = [corners(frame)[0][0] for frame in clip.frames_FHWC]
    np.testing.assert_allclose(levels, 30 + 10 * np.arange(len(durations)), atol=2 if form == "AVIF" else 0)


def test_a_gif_has_the_pixels_and_times_that_ffmpeg_gives(tmp_path):
    (tmp_path / "v.gif").write_bytes(animation("GIF", [70] * 6))
    clip = load(tmp_path / "v.gif")
    with av.open(str(tmp_path / "v.gif")) as container:
        frames = list(container.decode(video=0))
    np.testing.assert_array_equal(clip.frames_FHWC, [frame.to_ndarray(format="rgb24") for frame in frames])
    np.testing.assert_allclose(clip.seconds_F, [float(frame.pts * frame.time_base) for frame in frames], atol=1e-6)


def test_frames_without_a_duration_last_as_long_as_browsers_show_them_and_it_is_said():
    clip = load(animation("GIF", [0, 0, 0]))
    assert clip.seconds_F == (0.0, 0.1, 0.2)
    assert clip.notices == ("video: 3 frames without a duration were shown for 0.1 s, as browsers do",)


def test_transparent_frames_are_put_on_white_and_said_once():
    clear = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    drawn = [clear.copy() for _ in range(3)]
    for number, image in enumerate(drawn):
        image.putpixel((number, 0), (255, 0, 0, 255))
    clip = load(animation("WEBP", [100] * 3, frames=drawn, lossless=True))
    assert (clip.frames_FHWC[:, 5:] == 255).all()
    assert clip.notices == ("video: in 3 of 3 frames, transparent parts were put on white",)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_an_animation_cut_off_is_refused(form, share):
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    content = animation(form, [100] * 6, frames=[Image.fromarray(frame) for frame in noise])
    text = refusal(content[: int(share * len(content))])
    assert "cut off" in text or "damaged" in text


# Folders and lists


def test_a_folder_of_mixed_formats_loses_no_frame_and_says_what_is_none(tmp_path):
    forms = ["png", "tiff", "jpg", "webp", "bmp", "gif", "avif", "jp2", "tga", "ppm", "TIF"]
    for number, form in enumerate(forms):
        Image.fromarray(quarters(10 * number)).save(tmp_path / f"frame_{number:02}.{form}")
    (tmp_path / "._frame_00.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "Thumbs.db").write_bytes(b"\0")
    (tmp_path / "notes.txt").write_text("what is seen")
    clip = load(tmp_path)
    assert clip.given == len(forms)
    levels = [corners(frame)[0][0] for frame in clip.frames_FHWC]
    np.testing.assert_allclose(levels, 30 + 10 * np.arange(len(forms)), atol=3)
    assert clip.notices == ("video: 1 entries of the folder are no pictures and were not taken: notes.txt",)


def test_frames_of_a_folder_that_are_transparent_are_said_once(tmp_path):
    for number in range(3):
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / f"{number}.png")
    clip = load(tmp_path)
    assert (clip.frames_FHWC == 255).all()
    assert clip.notices == ("video: in 3 of 3 frames, transparent parts were put on white",)


@pytest.mark.slow
def test_a_list_of_one_video_file_is_that_file():
    clip, file = load([str(MEDIA / "clip.mp4")]), load(MEDIA / "clip.mp4")
    np.testing.assert_array_equal(clip.frames_FHWC, file.frames_FHWC)
    assert clip.seconds_F == file.seconds_F
    assert clip.notices == ("video: the one entry of the list is a video file, and was read as such",)


def test_a_list_of_one_picture_is_one_frame_whatever_its_name(tmp_path):
    Image.fromarray(quarters(0)).save(tmp_path / "frame", "PNG")
    assert load([tmp_path / "frame"]).given == 1


def test_a_video_among_other_frames_of_a_list_is_refused():
    text = refusal([MEDIA / "clip.mp4", quarters(0)])
    assert "clip.mp4" in text
    assert "a list holds frames" in text


def test_own_times_of_frames_are_kept(tmp_path):
    frames = [quarters(k) for k in range(4)]
    times = [0.0, 1.5, 1.75, 60.0]
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    for video in (frames, tmp_path, np.stack(frames)):
        assert load(video, timestamps=times).seconds_F == tuple(times)
    assert load(frames, timestamps=np.array(times, np.float32)).seconds_F == tuple(times)


def test_of_many_frames_with_own_times_the_chosen_keep_theirs():
    frames, times = [quarters(k) for k in range(100)], [k * k / 10 for k in range(100)]
    clip = load_video(Film(frames, timestamps=times), VideoRules(5, ImageRules(10**6)), every)
    assert clip.seconds_F == tuple(times[k] for k in (0, 25, 50, 74, 99))


@pytest.mark.parametrize(
    ("timestamps", "text"),
    [
        ([0, 1], "3 frames but 2 timestamps"),
        ([0, 1, 2, 3], "3 frames but 4 timestamps"),
        ([0, 1, float("nan")], r"timestamps[2] of video is nan"),
        ([0, 1, float("inf")], r"timestamps[2] of video is inf"),
        ([-1, 1, 2], r"timestamps[0] of video is -1"),
        ([0, 2, 1], r"timestamps[2] of video is 1 after 2"),
        ([0, 1, 1], r"timestamps[2] of video is 1 after 1"),
        ([0, "1", 2], r"timestamps[1] of video is '1'"),
        ([0, True, 2], r"timestamps[1] of video is True"),
        ("012", "a str"),
        (5, "a int"),
    ],
)
def test_times_that_cannot_be_are_refused(timestamps, text):
    assert text in refusal([quarters(0)] * 3, timestamps=timestamps)


def test_times_beside_a_rate_or_a_file_are_refused():
    assert "give one of them" in refusal([quarters(0)], timestamps=[0], fps=2.0)
    assert "is for a folder or list of frames" in refusal(MEDIA / "clip.mp4", timestamps=[0])
    assert "is for a folder or list of frames" in refusal([MEDIA / "clip.mp4"], timestamps=[0])
    assert "is for a folder or list of frames" in refusal((MEDIA / "clip.mp4").read_bytes(), fps=2.0)
