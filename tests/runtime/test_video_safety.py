"""A video is one file of a listed container: lists of other files, texts and other readers of FFmpeg's are refused."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import av
import media
import numpy as np
import pytest
from PIL import Image as Pillow

from yoj.runtime import _boxes as boxes
from yoj.runtime import _formats as formats
from yoj.runtime.errors import LimitError, MediaError
from yoj.runtime.images import ImageRules
from yoj.runtime.video import Film, VideoRules, load_video

MEDIA = Path(__file__).parents[1] / "data" / "media"
RULES = VideoRules(4, ImageRules(50_000_000))
HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n"
LISTS = {
    "concat": "ffconcat version 1.0\nfile {secret}\n",
    "concat behind a mark of the byte order": "\ufeffffconcat version 1.0\nfile {secret}\n",
    "hls": HLS + "#EXT-X-ENDLIST\n",
    "hls, live": HLS,
    "hls, master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{secret}\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1" bandwidth="1" width="64" height="48"><BaseURL>{secret}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "imf": '<?xml version="1.0"?>\n<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>\n',
    "asx": "<asx version='3.0'><entry><ref href='{secret}'/></entry></asx>\n",
    "pls": "[playlist]\nFile1={secret}\nNumberOfEntries=1\n",
    "rtsp": "RTSP/1.0 302 Moved\r\nLocation: rtsp://127.0.0.1/x\r\n\r\n",
    "filter": "movie={secret}\n",
    "names": "{secret}\n",
    "vobsub": "# VobSub index file, v7 (do not modify this line!)\nsize: 64x48\nid: en, index: 0\n"
    "timestamp: 00:00:00:000, filepos: 000000000\n",
    "metadata": ";FFMETADATA1\ntitle=x\n",
    "text": "hello, this is a text\n" * 50,
    "art": "\x1b[31mred\x1b[0m\n" * 50,
    "subtitles": "1\n00:00:00,000 --> 00:00:02,000\nhello\n\n" * 5,
    "styled subtitles": "[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,0,0,0,,x\n",
    "web subtitles": "WEBVTT\n\n00:00.000 --> 00:02.000\nhello\n",
    "xbm": "#define x_width 8\n#define x_height 2\nstatic char x_bits[] = {{0,1}};\n",
}
NAMES = ["a.mp4", "a.m3u8", "a.ts", "a.txt", "a.ffconcat", "a%03d.mp4", "a.nfo", "a"]


def refusal(video) -> str:
    with pytest.raises(MediaError) as caught:
        load_video(Film(video), RULES, lambda t: list(range(t.frames)))
    return str(caught.value)


@pytest.fixture
def secret(tmp_path) -> Path:
    file = tmp_path / "secret.ts"
    file.write_bytes(media.movie("mpegts", "mpeg2video"))
    assert load_video(Film(file), RULES, lambda t: [0]).frames_FHWC.shape == (1, 48, 64, 3)
    return file


def test_ffmpeg_alone_opens_the_other_file(secret, tmp_path):
    for kind in ("concat", "hls"):
        file = tmp_path / "list.m3u8"
        file.write_text(LISTS[kind].format(secret=secret.name))
        with av.open(str(file)) as container:
            assert next(container.decode(video=0)).width == 64


@pytest.mark.slow
@pytest.mark.parametrize("kind", LISTS)
def test_what_names_other_files_or_is_a_text_is_no_video_under_any_name(kind, secret, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for named in (secret.name, str(secret), f"file://{secret}"):
        text = LISTS[kind].format(secret=named)
        for name in NAMES:
            (tmp_path / name).write_text(text, "utf-8")
            for video in (tmp_path / name, name):
                assert "not a video" in refusal(video)
        assert "not a video" in refusal(text.encode())
        assert "not a video" in refusal(io.BytesIO(text.encode()))


def test_a_list_that_names_itself_is_refused(tmp_path):
    for kind in ("concat", "hls", "hls, live"):
        (tmp_path / "a.mp4").write_text(LISTS[kind].format(secret="a.mp4"))
        assert "not a video" in refusal(tmp_path / "a.mp4")


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefix", ["subfile,,start,0,end,9999,,:", "async:", "concat:", "cache:", "crypto:", "file:", "data:", "tee:"]
)
def test_a_name_that_reads_like_a_protocol_is_a_name(prefix, secret, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"{prefix}{secret.name}"
    assert "no file" in refusal(name)
    Path(name).write_bytes(b"nothing")
    assert "not a video" in refusal(name)
    Path(name).write_bytes(media.movie("mov", "libx264"))
    assert load_video(Film(name), RULES, lambda t: [0]).given == 10


def test_bytes_whose_file_has_such_a_name_are_read_as_bytes(secret, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Named(io.BytesIO):
        name = f"subfile,,start,0,end,9999,,:{secret.name}"

    assert "not a video" in refusal(Named(b"nothing"))


@pytest.mark.slow
@pytest.mark.parametrize("name", formats.CONTAINERS)
def test_every_listed_container_is_read(name):
    clip = load_video(Film(media.movie(*media.CODECS[name])), RULES, lambda t: [0, t.frames - 1])
    assert clip.given in (9, 10)  # FFmpeg's writer of AVI may keep a frame for itself
    assert np.abs(clip.frames_FHWC[0].astype(int) - media.pixels()).mean() < 25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "codec"),
    [("h264", "libx264"), ("yuv4mpegpipe", "wrapped_avframe"), ("ivf", "libvpx"), ("wtv", "mpeg2video")],
)
def test_a_container_that_is_not_listed_is_refused_with_those_that_are(form, codec):
    assert all(said in refusal(media.movie(form, codec)) for said in formats.CONTAINERS.values())


def test_a_damaged_transport_stream_is_an_error_of_ours():
    """PyAV's own code meets an index out of range."""
    assert "damaged.ts is not a video that can be decoded" in refusal(MEDIA / "damaged.ts")


LARGE = """
import re, sys
import av, yoj.runtime._movie
from yoj.runtime.errors import RequestError
from yoj.runtime.images import ImageRules
from yoj.runtime.video import Film, VideoRules, load_video
def peak():  # of this process alone; that of getrusage begins with its parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
try:
    load_video(Film(sys.argv[1]), VideoRules(4, ImageRules(int(sys.argv[2]))), lambda t: [0])
    print("answer", (peak() - before) // 1024)
except RequestError as error:
    print(type(error).__name__, (peak() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("name", "codec"), [("v.mp4", "libx264"), ("v.ts", "libx264"), ("v.avi", "mpeg4")])
def test_frames_that_are_too_large_are_refused_without_memory_for_them(name, codec, tmp_path):
    file = tmp_path / name
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, 10)
        stream.width, stream.height, stream.pix_fmt = 8000, 8000, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        container.mux(stream.encode(av.VideoFrame(8000, 8000, "yuv420p")))
        container.mux(stream.encode())

    def run(limit: int) -> tuple[str, int]:
        command = [sys.executable, "-c", LARGE, str(file), str(limit)]
        kind, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return kind, int(megabytes)

    (refused, without), (answered, with_frames) = run(1_000_000), run(64_000_000)
    assert refused in ("LimitError", "MediaError")
    assert answered == "answer"
    assert 2 * without < with_frames


def test_an_animation_of_too_many_pixels_is_refused_before_its_frames_are_decoded():
    """Every frame would be decoded for its time, of which a file of a few bytes a frame can have any number."""
    frame = Pillow.new("P", (1, 1))
    file = io.BytesIO()
    frame.save(file, "GIF", save_all=True, append_images=[frame.copy()], duration=50)
    content = bytearray(file.getvalue())
    content[6:10] = struct.pack("<HH", 7000, 7000)
    image = content.index(b"\x2c")
    more = bytes(content[:-1]) + b"".join(bytes(content[image:-1]) for _ in range(300)) + b";"
    with pytest.raises(LimitError, match=r"frames of 7000x7000, .* 10,000,000,000 are the limit"):
        load_video(Film(more), RULES, lambda t: [0])


def test_a_row_of_jpegs_is_no_video_of_one_frame():
    one = media.saved("JPEG")
    assert load_video(Film(one), RULES, lambda t: [0]).given == 1
    assert "row of JPEG pictures" in refusal(one * 3)
    frames = [Pillow.fromarray(media.pixels(number)) for number in range(2)]
    file = io.BytesIO()
    frames[0].save(file, "MPO", save_all=True, append_images=frames[1:])
    assert load_video(Film(file.getvalue()), RULES, lambda t: [0]).given == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", ["mpegts", "matroska"])
def test_a_hole_that_nothing_announces_is_said(form):
    def written(lost: range) -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format=form) as container:
            stream = container.add_stream("mpeg2video", 25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.gop_size = 1
            for number in range(100):
                frame = av.VideoFrame.from_ndarray(media.pixels(number), format="rgb24")
                frame.pts = number
                if number not in lost:
                    container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return file.getvalue()

    def notices(lost: range) -> tuple[str, ...]:
        return load_video(Film(written(lost)), RULES, lambda t: [0]).notices

    assert notices(range(0)) == notices(range(40, 50)) == ()
    (said,) = notices(range(40, 80))
    assert said == "video: frames are missing in 1 places; the longest is 1.6 s, from 1.6 s on"


def test_more_boxes_than_any_video_has_are_refused(monkeypatch):
    monkeypatch.setattr(boxes, "MOST_BOXES", 100)
    content = media.movie("mov", "libx264")
    assert load_video(Film(content + struct.pack(">I4s", 8, b"free") * 50), RULES, lambda t: [0]).given == 10
    assert "more than 100 boxes" in refusal(content + struct.pack(">I4s", 8, b"free") * 100)


# MP4 tables that a few bytes make as long as they like


def mp4(box: bytes, at: int, content: bytes) -> bytes:
    changed = bytearray(media.movie("mov", "libx264"))
    place = changed.index(box) + 4 + at
    changed[place : place + len(content)] = content
    return bytes(changed)


@pytest.mark.parametrize(
    ("box", "at", "content"),
    [
        (b"stsz", 4, struct.pack(">II", 1, 80_000_000)),
        (b"stts", 8, struct.pack(">II", 80_000_000, 512)),
        (b"ctts", 8, struct.pack(">II", 80_000_000, 512)),
    ],
)
def test_more_samples_than_a_file_has_bytes_are_refused(box, at, content):
    assert "announces 80,0" in refusal(mp4(box, at, content))


def test_a_fragment_of_more_samples_than_a_file_has_bytes_is_refused():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(media.pixels(number), format="rgb24")))
        container.mux(stream.encode())
    whole = bytearray(file.getvalue())
    assert load_video(Film(bytes(whole)), RULES, lambda t: [0]).given == 4
    place = whole.index(b"trun") + 8
    whole[place : place + 4] = struct.pack(">I", 70_000_000)
    assert "announces 70,000,000 samples" in refusal(bytes(whole))


def test_a_compressed_header_is_refused():
    changed = media.movie("mov", "libx264").replace(b"udta", b"cmov")
    assert "compressed header" in refusal(changed)
