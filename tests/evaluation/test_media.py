"""Files that requests read, and pictures that are none."""

from __future__ import annotations

import pytest
from benchmark_files import png, write_picture

from yoj.evaluation._media import PictureCheck, media_files
from yoj.runtime import Image, MediaError, Request, Video


def test_the_files_of_pictures_videos_and_frames(tmp_path):
    for number in (10, 9):
        write_picture(tmp_path / "clip" / f"{number}.png")
    listed = [tmp_path / "clip" / "9.png", png()]
    responses = [[Image(tmp_path / "a.png")], [Image(png())], [Video(tmp_path / "film.mp4")], [Video(listed)]]
    request = Request(["Which?", Video(tmp_path / "clip")], responses)
    names = [path.relative_to(tmp_path).as_posix() for path in media_files(request)]
    assert names == ["clip/9.png", "clip/10.png", "a.png", "film.mp4", "clip/9.png"]


def test_a_folder_without_frames_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="holds no frames"):
        media_files(Request("Which?", ["a", "b"], video=tmp_path))


@pytest.mark.parametrize("content", [b"no picture", b"", png()[:40], png()[:-20] + b"x" * 20])
def test_bytes_that_are_no_picture(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    shown = [tmp_path / "a.png", content]
    for request in (*(Request("Which?", ["a"], [one]) for one in shown), Request("Which?", ["a"], video=shown)):
        fault = PictureCheck().fault(request)
        assert fault is not None
        assert "is no picture that can be read: " in fault


def test_pictures_that_are_some(tmp_path):
    heic = b"\0\0\0\x18ftypheic" + bytes(12)  # Pillow alone cannot open it
    (tmp_path / "film.mp4").write_bytes(b"films are not opened")
    request = Request(["Which?", Video(tmp_path / "film.mp4")], [[Image(png())], [Image(heic)], "text"])
    assert PictureCheck().fault(request) is None
