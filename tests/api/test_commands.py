"""The commands as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import run_here

BIN = Path(sys.executable).parent
DATA = Path(__file__).parents[1] / "golden" / "data"
CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
LINE = {"prompt": "What colour?", "responses": ["Red.", "Blue.", "I cannot tell."]}


def run(*words: object, **options) -> subprocess.CompletedProcess[str]:
    if words[0] == "yoj-export" and words[1] != "--help":
        return run_here(*words, **options)
    command = [str(BIN / str(words[0])), *map(str, words[1:])]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **options)


def options_of(command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("--")}


def test_the_options_are_these():
    from yoj.export.cli import main as export
    from yoj.runtime.cli import main as score

    assert options_of(score) == {
        "--prompt", "--response", "--image", "--video", "--fps", "--mode", "--orders", "--out", "--overflow",
        "--placeholders", "--media-root", "--ignore-field", "--ignore-unknown", "--allow-host",
        "--engine", "--threads", "--workers", "--json", "--dump-inputs", "--n-method", "--passes", "--rationale",
        "--dimension", "--html", "--explain", "--format", "--keep", "--rename", "--best", "--top", "--min-margin",
        "--shard", "--version",
    }  # fmt: skip
    assert {name: options_of(command) for name, command in export.commands.items()} == {
        "build": {
            "--base",
            "--layout",
            "--out",
            "--precision",
            "--quantisation",
            "--base-precision",
            "--samples",
            "--trained-n",
            "--language",
            "--language-prompt",
            "--dimensions",
            "--media-root",
            "--ignore-field",
            "--ignore-unknown",
            "--no-compare",
            "--mode",
            "--hidden-state",
            "--video-expansion",
            "--force",
        },
        "inspect": {"--json"},
        "verify": {"--against", "--base", "--engine"},
        "compile": {
            "--engine",
            "--target",
            "--profile",
            "--workspace",
            "--version-compatible",
            "--hardware-compatible",
            "--weight-streaming",
            "--refit",
        },
    }


@pytest.mark.slow
def test_help_shows_examples():
    for command in ("yoj-score", "yoj-export"):
        done = run(command, "--help")
        assert done.returncode == 0
        assert f"{command} " in done.stdout
        assert "Examples:" in done.stdout


def test_one_request(bundle):
    image = DATA / "images" / "odd_small.png"
    done = run("yoj-score", bundle("merged", "assistant"), "--image", image, "--prompt", "How many?",
               "--response", "Nine.", "--response", "Three")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Nine." in done.stdout
    assert "Three" in done.stdout
    assert "scorer" in done.stdout


def test_one_request_as_json(bundle, scorer):
    done = run("yoj-score", bundle("merged", "assistant"), "--prompt", LINE["prompt"], "--json",
               *(word for response in LINE["responses"] for word in ("--response", response)))  # fmt: skip
    expected = scorer("merged", "assistant").score(LINE["prompt"], LINE["responses"])
    assert json.loads(done.stdout)["scores"] == list(expected.scores)


@pytest.mark.parametrize(
    "words", [[], ["--prompt", "p"], ["--response", "r"], ["--out", "x", "--prompt", "p", "--response", "r"]]
)
def test_half_a_request_is_a_usage_error(words, bundle):
    done = run("yoj-score", bundle("merged", "assistant"), *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_missing_bundle_is_a_message(tmp_path):
    done = run("yoj-score", tmp_path / "none.yoj", "--prompt", "p", "--response", "r")
    assert done.returncode == 1
    assert "none.yoj is not a bundle" in done.stderr
    assert "Traceback" not in done.stderr


def write_lines(file: Path, lines) -> Path:
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return file


def results(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_a_file_of_requests(tmp_path, bundle, scorer):
    image = str(DATA / "images" / "odd_small.png")
    video = str(DATA / "images" / "frames_ball")
    requests = write_lines(tmp_path / "requests.jsonl", [
        LINE | {"rankings": [1, 2, 3]}, "", LINE | {"image": image},
        LINE | {"video": video, "seconds_between_frames": 2},
        "{not json", LINE | {"image": "missing.png"}, LINE | {"responses": []}, LINE | {"video": "v.mp4"},
        LINE | {"rankings": [1]}, {"responses": ["a"]}, LINE | {"images": [image]}, LINE | {"video": video, "fps": 4},
        LINE | {"mode": "isolated"}, LINE | {"seconds_between_frames": 2},
    ])  # fmt: skip
    done = run("yoj-score", bundle("merged", "assistant"), requests, "--media-root", "/")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["line"] for line in lines] == [1, *range(3, 15)]
    assert [line["line"] for line in lines if "scores" in line] == [1, 3, 4, 13]
    failed = [line["error"]["message"] for line in lines if "error" in line]
    assert all(failed)
    assert not any("requests[" in message for message in failed)
    assert done.returncode == 1
    assert "4 of 13 requests scored, 9 failed" in done.stderr
    assert "line 5" in done.stderr
    assert "of 1 requests with rankings" in done.stderr
    judge = scorer("merged", "assistant")
    assert lines[0]["scores"] == pytest.approx(judge.score(LINE["prompt"], LINE["responses"]).scores, abs=2e-6)
    expected = judge.score(LINE["prompt"], LINE["responses"], video=video, fps=0.5).scores
    assert lines[2]["scores"] == pytest.approx(expected, abs=2e-6)
    alone = judge.score(LINE["prompt"], LINE["responses"], mode="isolated")
    assert lines[11]["scores"] == pytest.approx(alone.scores, abs=2e-6)
    assert (lines[11]["mode"], lines[0]["mode"]) == ("isolated", "joint")


def test_requests_from_standard_input(bundle):
    done = run("yoj-score", bundle("merged", "assistant"), "-", input=json.dumps(LINE) + "\n" + json.dumps(LINE))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_failed_lines_are_tried_again(tmp_path, bundle):
    requests, out = write_lines(tmp_path / "r.jsonl", [LINE, LINE | {"image": "late.png"}, LINE]), tmp_path / "s.jsonl"
    command = ("yoj-score", bundle("merged", "assistant"), requests, "--out", out)
    assert run(*command).returncode == 1
    (tmp_path / "late.png").write_bytes((DATA / "images" / "odd_small.png").read_bytes())
    again = run(*command)
    assert again.returncode == 0, again.stderr
    assert "3 of 3 requests scored, 0 failed, 2 of them in an earlier run" in again.stderr
    assert sorted(result["line"] for result in results(out)) == [1, 2, 3]
    assert all("scores" in result for result in results(out))


@pytest.mark.parametrize("content", ["my precious notes", "my precious notes\n", '{"line": "x"}\n', "", '{"lin'])
def test_a_file_of_something_else_is_not_touched(content, tmp_path, bundle):
    requests, out = write_lines(tmp_path / "r.jsonl", [LINE]), tmp_path / "notes.txt"
    out.write_text(content)
    done = run("yoj-score", bundle("merged", "assistant"), requests, "--out", out)
    if content in ("", '{"lin'):  # nothing, or what a killed run leaves of its first line
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1
        assert "holds something else" in done.stderr
        assert out.read_text() == content


def test_the_requests_are_not_overwritten_by_their_results(tmp_path, bundle):
    requests = write_lines(tmp_path / "r.jsonl", [LINE])
    before = requests.read_bytes()
    done = run("yoj-score", bundle("merged", "assistant"), requests, "--out", requests)
    assert done.returncode == 1
    assert "the requests themselves" in done.stderr
    assert requests.read_bytes() == before


@pytest.mark.parametrize("change", [["--mode", "isolated"], ["--orders", "2"], ["--overflow", "truncate"], "bundle"])
def test_results_of_other_settings_do_not_mix(change, tmp_path, bundle):
    requests, out = write_lines(tmp_path / "r.jsonl", [LINE]), tmp_path / "s.jsonl"
    run("yoj-score", bundle("merged", "assistant"), requests, "--out", out)
    before = out.read_bytes()
    which, options = ("user", []) if change == "bundle" else ("assistant", change)
    done = run("yoj-score", bundle("merged", which), requests, "--out", out, *options)
    assert done.returncode == 1
    assert "would not compare" in done.stderr
    assert out.read_bytes() == before


def test_redirected_output_holds_what_is_written_to_it(tmp_path, bundle):
    requests, log = write_lines(tmp_path / "r.jsonl", [LINE, LINE]), tmp_path / "log"
    score = f"{BIN / 'yoj-score'} {bundle('merged', 'assistant')} {requests}"
    subprocess.run(f"{{ {score}; echo DONE; {score}; }} > {log}", shell=True, check=True, capture_output=True)
    lines = log.read_text().splitlines()
    assert len(lines) == 5
    assert lines[2] == "DONE"
    assert lines[:2] == lines[3:]


def test_modes_orders_and_video(bundle, scorer):
    words = ("--prompt", LINE["prompt"], "--video", DATA / "images" / "frames_ball", "--fps", "0.25", "--json",
             *(word for response in LINE["responses"] for word in ("--response", response)))  # fmt: skip
    found = [
        json.loads(run("yoj-score", bundle("merged", "assistant"), *words, *options).stdout)
        for options in (["--orders", "3"], ["--mode", "isolated"])
    ]
    judge, video = scorer("merged", "assistant"), DATA / "images" / "frames_ball"
    assert found[0]["scores"] == list(judge.score(LINE["prompt"], LINE["responses"], video=video, orders=3).scores)
    assert len(found[0]["order_spread"]) == 3
    assert found[1]["scores"] == list(
        judge.score(LINE["prompt"], LINE["responses"], video=video, mode="isolated").scores
    )
    assert (found[1]["mode"], found[1]["trained_mode"]) == ("isolated", "joint")


def test_images_are_relative_to_the_file(tmp_path, bundle):
    (tmp_path / "photo.png").write_bytes((DATA / "images" / "odd_small.png").read_bytes())
    requests = write_lines(tmp_path / "requests.jsonl", [LINE | {"image": ["photo.png"]}])
    done = run("yoj-score", bundle("merged", "assistant"), requests, cwd="/")
    assert done.returncode == 0, done.stderr


def test_a_killed_run_goes_on_where_it_stopped(tmp_path, bundle):
    lines = [LINE | {"prompt": f"Question {number}? " + "word " * 400} for number in range(200)]
    requests, out, whole = write_lines(tmp_path / "r.jsonl", lines), tmp_path / "s.jsonl", tmp_path / "whole.jsonl"
    command = [str(BIN / "yoj-score"), str(bundle("merged", "assistant")), str(requests), "--out"]
    process = subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL)
    while not out.exists() or out.stat().st_size == 0:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = out.read_bytes().count(b"\n")
    assert 0 < before < 200
    with out.open("ab") as stream:
        stream.write(b'{"line": 199, "req')  # killed while writing
    done = run(*command[:1], *command[1:], out)
    assert done.returncode == 0, done.stderr
    assert f"{before} of them in an earlier run" in done.stderr
    run(*command[:1], *command[1:], whole)
    assert [r["line"] for r in results(out)] == list(range(1, 201))
    scores = lambda file: [score for result in results(file) for score in result["scores"]]  # noqa: E731
    assert scores(out) == pytest.approx(scores(whole), abs=2e-6)


def test_appending_output_goes_on_too(tmp_path, bundle):
    requests, out = write_lines(tmp_path / "r.jsonl", [LINE, LINE, LINE]), tmp_path / "s.jsonl"
    command = f"{BIN / 'yoj-score'} {bundle('merged', 'assistant')} {requests} >> {out}"
    subprocess.run(command, shell=True, check=True, capture_output=True)
    first = out.read_bytes()
    out.write_bytes(b"\n".join(first.split(b"\n")[:2]) + b"\n")
    done = subprocess.run(command, shell=True, check=True, capture_output=True, text=True)
    assert out.read_bytes() == first
    assert "2 of them in an earlier run" in done.stderr


def test_two_processes_do_not_write_to_one_file(tmp_path, bundle):
    lines = ["{broken", *(LINE | {"prompt": f"Question {k}? " + "word " * 400} for k in range(150))]
    requests, out = write_lines(tmp_path / "r.jsonl", lines), tmp_path / "s.jsonl"
    run("yoj-score", bundle("merged", "assistant"), write_lines(tmp_path / "one.jsonl", lines[:1]), "--out", out)
    command = [str(BIN / "yoj-score"), str(bundle("merged", "assistant")), str(requests), "--out", str(out)]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while b"scores" not in out.read_bytes():
        time.sleep(0.005)
    second = run(*command)
    assert second.returncode == 1
    assert "Another process writes" in second.stderr
    first.wait()
    assert sum("scores" in result for result in results(out)) == 150


def test_results_of_other_requests_are_not_touched(tmp_path, bundle):
    requests, out = write_lines(tmp_path / "r.jsonl", [LINE]), tmp_path / "s.jsonl"
    run("yoj-score", bundle("merged", "assistant"), requests, "--out", out)
    before = out.read_bytes()
    write_lines(requests, [LINE | {"prompt": "Another?"}])
    done = run("yoj-score", bundle("merged", "assistant"), requests, "--out", out)
    assert done.returncode == 1
    assert "line 1 is another request" in done.stderr
    assert out.read_bytes() == before


def test_export_replaces_a_bundle_when_told_to_and_nothing_else(bundle, tmp_path):
    out = shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")
    before = (out / "manifest.json").read_bytes()
    build = ("yoj-export", DATA / "checkpoint-merged", "--layout", "user", "--out", out)
    refused = run(*build)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert (out / "manifest.json").read_bytes() == before
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.txt").write_text("years of work")
    wrong = run("yoj-export", DATA / "checkpoint-merged", "--layout", "user", "--out", tmp_path / "docs", "--force")
    assert wrong.returncode == 1
    assert "is no bundle" in wrong.stderr
    assert (tmp_path / "docs" / "thesis.txt").read_text() == "years of work"
    done = run(*build, "--force")
    assert done.returncode == 0, done.stderr
    assert "onnx/weights.data" in done.stdout
    assert "largest difference" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["docs", "judge.yoj"]
    assert json.loads(run("yoj-export", "inspect", out, "--json").stdout)["layout"]["name"] == "user"


def test_inspect_and_verify(bundle):
    path = bundle("merged", "user")
    assert "molmo2" in run("yoj-export", "inspect", path).stdout
    other = run("yoj-export", "verify", path, "--against", DATA / "checkpoint-adapter")
    assert other.returncode == 1
    assert "is not what the bundle was made from" in other.stderr
    assert "scores or their sigma differ by up to" in other.stderr
    stranger = run("yoj-export", "verify", path, "--against", CHECKPOINTS / "shapes-qwen3_vl")
    assert stranger.returncode == 1
    assert "was made from a molmo2" in stranger.stderr
    assert "Traceback" not in stranger.stderr


@pytest.mark.slow
def test_a_mistyped_command_is_not_taken_for_a_checkpoint():
    done = run("yoj-export", "inspekt", "judge.yoj")
    assert done.returncode == 2
    assert "inspekt is neither a command" in done.stderr


@pytest.mark.slow
def test_a_failed_export_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("yoj-export", tmp_path / "empty", "--layout", "user", "--out", tmp_path / "judge.yoj")
    assert done.returncode == 1
    assert "is no checkpoint" in done.stderr
    assert os.listdir(tmp_path) == ["empty"]


def test_compile_adds_plans_that_inspect_lists(bundle, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="plans are built for real: pip install 'yoj[trt-rtx]'")
    path = shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")
    sizes = "B=1:1:2,L=16:32:64,N=2:2:4,V=1:16:64,C=1:1:4"
    done = run("yoj-export", "compile", path, "--engine", "tensorrt-rtx", "--target", "sm89,sm120", "--profile", sizes)
    assert done.returncode == 0, done.stderr
    first, second, _, following = done.stdout.splitlines()
    assert [line.split(",")[0] for line in (first, second)] == [
        "tensorrt-rtx float32 for sm89",
        "tensorrt-rtx float32 for sm120",
    ]
    assert f"yoj-score {path} --engine tensorrt-rtx" in following
    assert "peak resident" in done.stderr
    shown = run("yoj-export", "inspect", path).stdout
    assert "onnxruntime float32, tensorrt-rtx float32 for sm89, tensorrt-rtx float32 for sm120" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile", "L=3"], "LETTER=MIN:OPT:MAX"),
        (["--workspace", "0"], "GiB above 0"),
        (["--workspace", "nan"], "GiB above 0"),
        (["--engine", "x"], "tensorrt"),
    ],
)
def test_compile_says_what_is_wrong_with_its_options(words, said, bundle):
    done = run("yoj-export", "compile", bundle("merged", "assistant"), "--engine", "tensorrt-rtx", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
