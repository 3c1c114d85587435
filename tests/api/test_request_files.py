"""Files of requests as other tools write them, read by ``yoj-score``."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_commands import DATA, LINE, run, write_lines

MEDIA = Path(__file__).parents[1] / "data" / "media"
PHOTO = DATA / "images" / "odd_small.png"


@pytest.fixture
def score(bundle):
    """score(file, ...) -> exit status, lines of the result, what was said."""

    def call(file, *options, **more):
        done = run("yoj-score", bundle("merged", "assistant"), file, *options, **more)
        assert "Traceback" not in done.stderr
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    return call


def errors(lines) -> list[str]:
    return [line["error"]["message"] for line in lines if "error" in line]


def test_a_byte_order_mark_is_read_over(score):
    status, lines, _ = score(MEDIA / "bom.jsonl")
    assert status == 0
    assert [line["line"] for line in lines] == [1, 2]
    assert lines[0]["scores"] == pytest.approx(lines[1]["scores"], abs=2e-6)


def test_gzip_is_read_as_the_lines_in_it(score, tmp_path):
    status, lines, _ = score(MEDIA / "r.jsonl.gz")
    plain = MEDIA / "plain.jsonl"
    unpacked = tmp_path / plain.name
    unpacked.write_bytes(gzip.decompress((MEDIA / "r.jsonl.gz").read_bytes()))
    shutil.copytree(MEDIA / "sub", tmp_path / "sub")
    _, expected, _ = score(unpacked)
    assert status == 0
    assert lines == expected


def test_a_json_array_is_told_how_to_convert(score):
    status, lines, said = score(MEDIA / "arr.json")
    assert (status, lines) == (1, [])
    assert "arr.json holds one JSON array. Convert it to JSON lines: jq -c '.[]'" in said


def test_utf_16_is_told_how_to_convert(score, tmp_path):
    file = tmp_path / "windows.jsonl"
    file.write_text(json.dumps(LINE), "utf-16")
    status, _, said = score(file)
    assert status == 1
    assert "is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8" in said


def test_a_line_that_is_nested_too_deeply_is_that_lines_error(score):
    status, lines, _ = score(MEDIA / "deep_nesting_kills_run.jsonl")
    assert status == 1
    assert [line["line"] for line in lines if "error" in line] == [4]
    assert len(lines) == 24
    assert "nested more than 64 deep" in errors(lines)[0]


def test_names_that_other_tools_give_the_picture_are_errors_that_name_ours(score):
    status, lines, _ = score(MEDIA / "unread_media_fields.jsonl")
    wrong = [json.loads(line) for line in (MEDIA / "unread_media_fields.jsonl").read_text("utf-8").splitlines()]
    names = [next(name for name in line if name not in ("prompt", "responses", "rankings")) for line in wrong]
    assert status == 1
    assert len(errors(lines)) == len(names) == 17
    for name, message in zip(names, errors(lines), strict=True):
        meant = "video" if name[:5] in ("video", "frame") else "image"
        assert f"The field '{name}' is not read; it is called '{meant}'" in message


def test_ignored_fields_are_counted_in_the_end(score, tmp_path):
    file = write_lines(tmp_path / "r.jsonl", [LINE | {"source": 1, "img": "a.png"}, LINE | {"source": 2}])
    status, lines, _ = score(file, "--ignore-field", "source")
    assert (status, len(errors(lines))) == (1, 1)
    assert "'img'" in errors(lines)[0]
    assert "'source'" not in errors(lines)[0]
    status, _, said = score(file, "--ignore-unknown")
    assert status == 0
    assert "fields that were passed over: 'source' in 2 lines, 'img' in 1 lines" in said


def test_marks_of_what_is_right_are_no_rankings(score):
    status, lines, said = score(MEDIA / "one_hot_rankings.jsonl")
    count = len((MEDIA / "one_hot_rankings.jsonl").read_bytes().splitlines())
    assert status == 1
    assert len(errors(lines)) == count
    assert all("are no ranks" in message for message in errors(lines))
    assert "requests with rankings" not in said


def test_a_placeholder_is_an_error_a_place_or_a_text_as_the_caller_says(score):
    def outcome(*options) -> list[str]:
        _, lines, _ = score(MEDIA / "image_placeholder.jsonl", *options)
        return ["scored" if "scores" in line else line["error"]["message"] for line in lines]

    assert all("<image>" in message for message in outcome())
    one, two, none = outcome("--placeholders", "media")
    assert one == "scored"
    assert "2 images" in two
    assert "1 images" in none
    assert outcome("--placeholders", "text") == ["scored"] * 3
    _, _, said = score(MEDIA / "image_placeholder.jsonl", "--placeholders", "text")
    assert "3 requests with notices; the first: line 1: " in said


def test_a_run_goes_on_when_placeholders_are_read_at_last(score, tmp_path):
    file = write_lines(tmp_path / "r.jsonl", [LINE, LINE | {"prompt": "<image>\nWhat?", "image": "photo.png"}])
    shutil.copy(PHOTO, tmp_path / "photo.png")
    out = tmp_path / "s.jsonl"
    assert score(file, "--out", out)[0] == 1
    status, _, said = score(file, "--out", out, "--placeholders", "media")
    assert status == 0
    assert "1 of them in an earlier run" in said
    status, _, said = score(file, "--out", out, "--placeholders", "text")
    assert status == 1
    assert "placeholders setting; they would not compare" in said


def test_a_list_of_one_video_file_is_the_video(score, tmp_path):
    status, lines, _ = score(MEDIA / "list_of_one_video.jsonl")
    shutil.copy(MEDIA / "clip.mp4", tmp_path / "clip.mp4")
    request = json.loads((MEDIA / "list_of_one_video.jsonl").read_text("utf-8"))
    _, expected, _ = score(write_lines(tmp_path / "r.jsonl", [request | {"video": "clip.mp4"}]))
    assert status == 0
    assert lines[0]["scores"] == expected[0]["scores"]


def test_every_way_to_write_a_picture_is_the_same_request(score, tmp_path):
    shutil.copy(PHOTO, tmp_path / "photo.png")
    text = base64.b64encode(PHOTO.read_bytes()).decode()
    url = f"data:image/png;base64,{text}"
    asked = {"type": "text", "text": LINE["prompt"]}
    ways = [
        LINE | {"image": "photo.png"},
        LINE | {"image": ["photo.png"]},
        LINE | {"image": (tmp_path / "photo.png").as_uri()},
        LINE | {"image": str(tmp_path / "photo.png")},
        LINE | {"image": url},
        LINE | {"image": text},
        LINE | {"image": {"bytes": text, "path": None}},
        LINE | {"image": {"bytes": None, "path": "photo.png"}},
        LINE | {"prompt": [{"type": "image", "image": "photo.png"}, asked]},
        LINE | {"prompt": [{"type": "image_url", "image_url": {"url": url}}, LINE["prompt"]]},
        LINE | {"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": url}, asked]}]},
        {
            "messages": [{"role": "user", "content": [{"type": "image", "image": "photo.png"}, asked]}],
            "responses": [[{"type": "text", "text": response}] for response in LINE["responses"]],
        },
    ]
    status, lines, _ = score(write_lines(tmp_path / "r.jsonl", ways))
    assert status == 0, errors(lines)
    for line in lines[1:]:
        assert line["scores"] == pytest.approx(lines[0]["scores"], abs=2e-6)


def test_id_and_metadata_come_back_with_scores_and_with_errors(score, tmp_path):
    about = {"id": "q-1", "metadata": {"source": ["web", None, 1.5], "n": 12345678901234567890}}
    lines = [LINE | about, LINE | {"id": 7, "img": "a.png"}, LINE | about | {"image": "none.png"}, LINE]
    _, found, _ = score(write_lines(tmp_path / "r.jsonl", lines))
    assert [line.get("id") for line in found] == ["q-1", 7, "q-1", None]
    assert [line.get("metadata") for line in found] == [about["metadata"], None, about["metadata"], None]
    assert ["scores" in line for line in found] == [True, False, False, True]
    assert "id" not in found[3]


def test_a_request_says_itself_how_it_is_read(score, scorer, tmp_path):
    lines = [LINE, LINE | {"mode": "isolated"}, LINE | {"orders": 3}, LINE | {"mode": "joint", "orders": 1}]
    status, found, _ = score(write_lines(tmp_path / "r.jsonl", lines), "--orders", "2")
    judge = scorer("merged", "assistant")
    assert status == 1
    assert [line.get("orders") for line in found] == [2, None, 3, 1]
    assert "Isolated scores do not depend on the order" in errors(found)[0]
    expected = judge.score(LINE["prompt"], LINE["responses"], orders=3)
    assert found[2]["scores"] == pytest.approx(expected.scores, abs=2e-6)


def test_media_come_from_the_folder_of_the_file_or_a_wider_one(score, tmp_path):
    (tmp_path / "requests").mkdir()
    shutil.copy(PHOTO, tmp_path / "photo.png")
    file = write_lines(tmp_path / "requests" / "r.jsonl", [LINE | {"image": "../photo.png"}])
    status, lines, _ = score(file)
    assert status == 1
    assert f"lies outside of {tmp_path / 'requests'}" in errors(lines)[0]
    assert "--media-root DIR" in errors(lines)[0]
    assert score(file, "--media-root", tmp_path)[0] == 0


def test_pictures_are_fetched_from_allowed_hosts_only(score, tmp_path):
    handler = partial(SimpleHTTPRequestHandler, directory=str(PHOTO.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        file = write_lines(tmp_path / "r.jsonl", [LINE | {"image": f"http://{host}/{PHOTO.name}"}])
        status, lines, _ = score(file)
        assert status == 1
        assert f"--allow-host {host}" in errors(lines)[0]
        status, lines, _ = score(file, "--allow-host", host)
        server.shutdown()
    assert status == 0, errors(lines)


def test_options_of_files_are_not_for_one_request(bundle, tmp_path):
    done = run("yoj-score", bundle("merged", "assistant"), "--prompt", "p", "--response", "r", "--ignore-unknown")
    assert done.returncode == 2
    assert "are for files of requests" in done.stderr


def test_results_that_an_older_version_wrote_are_gone_on_with(score, tmp_path):
    file, out = write_lines(tmp_path / "r.jsonl", [LINE, LINE]), tmp_path / "s.jsonl"
    score(file, "--out", out)
    first = json.loads(out.read_text("utf-8").splitlines()[0])
    older = {name: value for name, value in first.items() if name not in ("notices", "duplicates", "tokens", "id")}
    out.write_text(json.dumps(older, separators=(",", ":")) + "\n", "utf-8")
    status, _, said = score(file, "--out", out)
    assert status == 0
    assert "1 of them in an earlier run" in said
