"""Videos: files, folders of frames, lists of frames, and what bad ones get."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yoj.runtime import LimitError, MediaError, RequestError
from yoj.runtime.families.molmo2 import Molmo2
from yoj.runtime.images import ImageRules
from yoj.runtime.video import Clip, Film, Timeline, VideoRules, evenly, load_video

av = pytest.importorskip("av")

FRAMES = Path(__file__).parents[1] / "golden" / "data" / "images" / "frames_ball"
RULES = VideoRules(16, ImageRules(10_000_000))


def every(timeline: Timeline) -> list[int]:
    return list(range(timeline.frames))


def shade(number: int) -> np.ndarray:
    return np.full((48, 64, 3), 20 + 10 * (number % 20), np.uint8)


def write_video(file: Path, stamps: list[int], rate: int = 10, **options) -> Path:
    """Frame k of the first 20 is grey 20 + 10k, and each is shown from ``stamps[k]`` / rate seconds on."""
    with av.open(str(file), "w", **options) as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(shade(number), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def load(video, rules=RULES, sample=every, **times) -> Clip:
    return load_video(Film(video, **times), rules, sample)


def refusal(video, rules=RULES, error=MediaError, **times) -> str:
    with pytest.raises(error) as caught:
        load(video, rules, **times)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts"])
def test_a_file_gives_its_frames_and_their_times(ending, tmp_path):
    file = write_video(tmp_path / f"v.{ending}", list(range(12)))
    video = load(file, sample=lambda timeline: [0, 5, 11])
    assert video.given == 12
    np.testing.assert_allclose(video.seconds_F, [0, 0.5, 1.1], atol=1e-6)
    np.testing.assert_allclose(video.frames_FHWC.mean(axis=(1, 2, 3)), [20, 70, 130], atol=4)


def test_a_folder_gives_its_frames_by_name_four_seconds_apart():
    video = load(FRAMES)
    assert video.seconds_F == (0.0, 4.0, 8.0, 12.0, 16.0)
    expected = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(FRAMES.iterdir())]
    np.testing.assert_array_equal(video.frames_FHWC, expected)


def test_frames_a_second_of_a_folder():
    assert load(FRAMES, fps=2.0).seconds_F == (0.0, 0.5, 1.0, 1.5, 2.0)


def test_a_list_is_as_good_as_a_folder():
    files = sorted(FRAMES.iterdir())
    folder = load(FRAMES)
    for frames in (files, [Image.open(file) for file in files], list(folder.frames_FHWC), folder.frames_FHWC):
        np.testing.assert_array_equal(load(frames).frames_FHWC, folder.frames_FHWC)


def test_of_many_frames_as_many_as_the_model_sees_are_taken_evenly():
    video = load([shade(number % 20) for number in range(100)], VideoRules(5, ImageRules(10**6)))
    assert video.given == 100
    assert video.seconds_F == tuple(4.0 * i for i in (0, 25, 50, 74, 99))


@pytest.mark.parametrize(("total", "most"), [(1, 16), (16, 16), (17, 16), (1000, 16), (5, 1)])
def test_evenly_keeps_the_ends_and_the_order(total, most):
    chosen = evenly(total, most)
    assert len(chosen) == min(total, most)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    assert most == 1 or chosen[-1] == total - 1


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 24, 100, 1000])
@pytest.mark.parametrize("fps", [1, 2, 10, 24, 29.97])
def test_molmo2_takes_two_frames_a_second_and_the_last_or_sixteen(frames, fps, scorer):
    family: Molmo2 = scorer("merged", "assistant").family
    chosen = family.sample_frames(Timeline(frames, fps))
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    assert chosen[-1] == frames - 1
    assert len(chosen) <= 16
    if frames > 2 and frames / fps <= 7.5:
        gaps = np.diff(chosen)[:-1]
        assert np.all(np.abs(gaps - max(fps / 2, 1)) <= 1)


def test_a_video_is_scored(tmp_path, scorer):
    judge = scorer("merged", "assistant")
    file = write_video(tmp_path / "v.mp4", list(range(12)))
    moving = judge.score("What happens?", ["It gets lighter.", "Nothing."], video=file)
    still = judge.score("What happens?", ["It gets lighter.", "Nothing."], video=[shade(3)])
    assert np.abs(np.subtract(moving.scores, still.scores)).max() > 1e-3


# What bad input gets.


def test_a_missing_file():
    assert "none.mp4" in refusal("none.mp4")


def test_a_file_with_the_wrong_ending(tmp_path):
    file = tmp_path / "v.mp4"
    file.write_text("not a video at all")
    assert "v.mp4 is not a video" in refusal(file)
    picture = tmp_path / "p.mp4"
    picture.write_bytes(b"")
    assert "p.mp4" in refusal(picture)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_truncated_file(share, ending, tmp_path):
    file = write_video(tmp_path / f"v.{ending}", list(range(20)))
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    text = refusal(file)
    assert f"v.{ending}" in text
    assert "variable" not in text


def test_a_truncated_file_with_sound(tmp_path):
    file = tmp_path / "v.mkv"
    with av.open(str(file), "w") as container:
        stream, sound = container.add_stream("mpeg4", rate=10), container.add_stream("pcm_s16le", rate=8000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(shade(number), format="rgb24")
            container.mux(stream.encode(frame))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            samples.sample_rate = 8000
            container.mux(sound.encode(samples))
        container.mux(stream.encode())
        container.mux(sound.encode())
    assert load(file).given == 20
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert "is cut off" in refusal(file)


@pytest.mark.parametrize("fps", [15, 24, 30, 60])
def test_times_rounded_to_milliseconds_do_not_change_the_rate(fps, tmp_path):
    seen = []
    load(write_video(tmp_path / "v.mkv", list(range(40)), rate=fps), sample=lambda t: seen.append(t) or [0])
    assert seen == [Timeline(40, float(fps))]


@pytest.mark.parametrize("video", [5, np.uint8(3), {"a": 1}, "x" * 5000 + ".mp4", b"bytes", bytearray(9)])
def test_what_is_no_video(video):
    refusal(video)


@pytest.mark.parametrize("fps", ["2", True, float("inf"), float("nan"), -1])
def test_what_is_no_frame_rate(fps):
    assert "frames a second" in refusal(FRAMES, fps=fps)


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    for number in (1, 2, 10):
        Image.fromarray(shade(number)).save(tmp_path / f"frame_{number}.png")
    frames = load(tmp_path).frames_FHWC
    assert frames[:, 0, 0, 0].tolist() == [30, 40, 120]


def test_the_judgement_says_how_many_frames_were_seen(scorer):
    judge = scorer("merged", "assistant")
    many = judge.score("What?", ["a", "b"], video=[shade(k % 9) for k in range(40)])
    assert (many.frames_given, many.frames_read) == (40, 16)
    assert "saw 16 of the 40 frames" in str(many)
    assert "frames" not in str(judge.score("What?", ["a", "b"], video=[shade(1)]))


def test_no_frames(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no frames" in refusal(tmp_path / "empty")
    assert "no frames" in refusal([])


def test_frames_of_different_sizes():
    assert "64x48, 32x48" in refusal([shade(1), shade(1)[:, :32]]) or "32x48, 64x48" in refusal(
        [shade(1), shade(1)[:, :32]]
    )


def test_a_frame_over_the_pixel_limit():
    assert "frame 0" in refusal([shade(1)], rules=VideoRules(16, ImageRules(100)), error=LimitError)


def test_a_frame_rate_where_there_is_no_use_for_one(tmp_path):
    assert "frame rate of its own" in refusal(write_video(tmp_path / "v.mp4", [0, 1, 2]), fps=3.0)
    assert "above 0" in refusal(FRAMES, fps=0.0)


def test_a_video_beside_images_and_fps_without_a_video(scorer):
    judge = scorer("merged", "assistant")
    with pytest.raises(LimitError, match="not both"):
        judge.score("What?", ["a"], images=[shade(1)], video=[shade(2)])
    with pytest.raises(RequestError, match="without a video"):
        judge.score("What?", ["a"], fps=2.0)
