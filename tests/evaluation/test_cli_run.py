"""`yoj-eval run` with real judges: its folder, its refusals, and a run that goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from recorded import MERGED
from servers import running
from tiny_benchmark import TINY, rows, write_rows

from yoj.evaluation.benchmarks._table import BENCHMARKS
from yoj.evaluation.cli import main
from yoj.serving import HttpSettings

pytestmark = [pytest.mark.export, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "tiny", TINY)


def write_data(folder: Path) -> Path:
    folder.mkdir()
    Image.radial_gradient("L").resize((40, 30)).save(folder / "grey.png")
    found = rows(12)
    found[3]["image"] = "grey.png"
    return write_rows(folder / "tiny.jsonl", found)


@pytest.fixture
def file(tmp_path) -> Path:
    return write_data(tmp_path / "data")


def yoj_eval(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def finished(bundle, tmp_path_factory) -> tuple[Path, Path, Result]:
    """File of a benchmark, folder of a run over it, and what the command printed."""
    folder = tmp_path_factory.mktemp("finished")
    file = write_data(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BENCHMARKS, "tiny", TINY)
        result = yoj_eval("run", "tiny", file, "--bundle", bundle("merged", "assistant"), "--out", folder / "run")
    return file, folder / "run", result


@pytest.fixture
def again(finished, bundle, tmp_path) -> tuple[object, ...]:
    """The command of the finished run, in a copy of its folder, which is the last argument."""
    file, run, _ = finished
    out = shutil.copytree(run, tmp_path / "run")
    return "run", "tiny", file, "--bundle", bundle("merged", "assistant"), "--out", out


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]


def without_times(folder: Path) -> list[dict]:
    return [line | {"milliseconds": 0} for line in lines(folder)]


def test_a_run_writes_its_folder(finished):
    _, out, result = finished
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {
        "run.json",
        "predictions.jsonl",
        "results.json",
        "report.html",
        "official",
    }
    run, results = (json.loads((out / name).read_text("utf-8")) for name in ("run.json", "results.json"))
    assert run["settings"] == {
        "orders": 2,
        "seed": 0,
        "how": {"mode": None, "method": None, "passes": None},
        "limit": None,
        "fields": {},
    }
    assert {*run["judge"]} >= {"engine", "precision", "layout", "manifest_sha256"}
    assert run["source"]["files"]["tiny.jsonl"]["sha256"]
    written = lines(out)
    assert [line["key"] for line in written] == [f"r{k}" for k in range(12)]
    for line in written:
        first, second = line["passes"]
        assert second["order"] == first["order"][::-1]
        assert len(first["scores"]) == len(line["ranks"])
    right = [
        line["ranks"][max(range(len(line["ranks"])), key=line["passes"][0]["scores"].__getitem__)] == 1
        for line in written
    ]
    head = results["figures"]["accuracy"]
    assert head["value"] == pytest.approx(sum(right) / 12)
    assert head["low"] <= head["value"] <= head["high"]
    assert (head["count"], results["figures"]["groups"]["count"], results["failed"]) == (12, 6, 0)
    assert [one["n"] for one in results["probabilities"]] == [2, 3, 4]
    assert json.loads((out / "official" / "official.json").read_text())["r0"] == written[0]["passes"][0]["scores"]
    page = (out / "report.html").read_text("utf-8")
    assert page.count("<svg ") == 1 + 3 + 3
    assert "whether colours are told apart" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "").replace("https://matplot", "")
    assert "accuracy (headline)" in result.output
    assert "Equal highest scores count as: wrong (as in the official script)." in result.output


def test_a_killed_run_goes_on_to_the_same_end(finished, again):
    _, whole, _ = finished
    killed = again[-1]
    kept = (killed / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    failed = json.loads(kept[1]) | {"passes": [], "error": "the engine was away"}
    (killed / "predictions.jsonl").write_bytes(
        kept[0] + json.dumps(failed).encode() + b"\n" + kept[2] + kept[3][: len(kept[3]) // 2]
    )
    (killed / "results.json").unlink()
    result = yoj_eval(*again)
    assert result.exit_code == 0, result.output
    for name in ("results.json", "run.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert lines(killed)[0] == json.loads(kept[0])  # not scored again
    for resumed, line in zip(without_times(killed), without_times(whole), strict=True):
        for one, other in zip(resumed.pop("passes"), line.pop("passes"), strict=True):
            assert one["order"] == other["order"]
            assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        assert resumed == line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--seed", "1"), "settings.seed was 0 and is 1"),
        (("--orders", "3"), "settings.orders was 2 and is 3"),
        (("--mode", "isolated"), 'settings.how.mode was null and is "isolated"'),
        (("--limit", "5"), "settings.limit was null and is 5"),
    ],
)
def test_other_settings_do_not_mix(options, told, again):
    result = yoj_eval(*again, *options)
    assert result.exit_code == 1
    assert told in result.output


def test_another_judge_or_file_does_not_mix(finished, again, tmp_path):
    file, _, _ = finished
    judge = ("--checkpoint", MERGED, "--layout", "user")
    other = yoj_eval("run", "tiny", file, *judge, "--out", again[-1])
    assert other.exit_code == 1
    assert "judge.engine was" in other.output
    assert "judge.layout was" in other.output
    assert 'judge.given_by was "bundle" and is "checkpoint"' in other.output
    changed = write_rows(tmp_path / "tiny.jsonl", rows(11))
    mixed = yoj_eval(*again[:2], changed, *again[3:])
    assert mixed.exit_code == 1
    assert "had the SHA-256" in mixed.output
    assert "Give the same files, or run into another folder" in mixed.output
    assert len(lines(again[-1])) == 12


def test_a_picture_that_was_changed_does_not_mix(bundle, file, tmp_path):
    command = ("run", "tiny", file, "--bundle", bundle("merged", "assistant"), "--limit", 4, "--out", tmp_path / "run")
    yoj_eval(*command)
    assert {*json.loads((tmp_path / "run" / "run.json").read_text())["source"]["files"]} == {"tiny.jsonl", "grey.png"}
    Image.new("L", (40, 30)).save(file.parent / "grey.png")
    refused = yoj_eval(*command)
    assert refused.exit_code == 1
    assert "grey.png had the SHA-256" in refused.output


def test_another_rule_for_ties_computes_figures_again(again):
    before = lines(again[-1])
    result = yoj_eval(*again, "--ties", "right")
    assert "count as: right (the official script counts them as: wrong)" in result.output
    assert lines(again[-1]) == before


def test_rows_that_cannot_be_scored_stop_the_run_or_are_counted(bundle, tmp_path):
    found = rows(6)
    found[1]["responses"][0] = ""
    found[4]["id"] = "r0"
    file, out = write_rows(tmp_path / "tiny.jsonl", found), tmp_path / "run"
    command = ("run", "tiny", file, "--bundle", bundle("merged", "assistant"), "--out", out)
    refused = yoj_eval(*command)
    assert refused.exit_code == 1
    assert "2 of 6 rows cannot be scored" in refused.output
    assert "empty response: 1" in refused.output
    assert "row 5 (r0): an earlier row has the key 'r0' too" in refused.output
    assert not out.exists()
    result = yoj_eval(*command, "--skip-invalid")
    assert result.exit_code == 0, result.output
    assert "2 of 6 rows are left out and in no denominator" in result.output
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert results["refused"] == {"empty response": 1, "duplicate key": 1}
    assert (results["rows"], results["items"], results["figures"]["accuracy"]["count"]) == (6, 4, 4)


def test_an_item_that_the_judge_fails_on_counts_as_wrong(bundle, file, tmp_path):
    found = rows(4)
    found[2]["prompt"] = "word " * 30_000
    out = tmp_path / "run"
    judge = bundle("merged", "assistant")
    result = yoj_eval("run", "tiny", write_rows(file, found), "--bundle", judge, "--out", out)
    assert result.exit_code == 1
    assert "The judge failed on 1 of 4 items, which count as wrong; the first: " in result.output
    failed = lines(out)[2]
    assert failed["passes"] == []
    assert "tokens" in failed["error"]
    assert json.loads((out / "results.json").read_text())["figures"]["accuracy"]["count"] == 4


def test_a_field_map_and_a_limit(bundle, file, tmp_path):
    found = [{"question" if name == "prompt" else name: value for name, value in row.items()} for row in rows(6)]
    command = ("run", "tiny", write_rows(file, found), "--bundle", bundle("merged", "assistant"), "--out")
    assert "has no field 'prompt'" in yoj_eval(*command, tmp_path / "a").output
    result = yoj_eval(*command, tmp_path / "b", "--field", "prompt=question", "--limit", 3)
    assert result.exit_code == 0, result.output
    assert "Only the first 3 rows were read" in result.output
    wrong = yoj_eval(*command, tmp_path / "c", "--field", "colour=question")
    assert "tiny has no field colour that may be renamed; it has prompt" in wrong.output


def test_a_checkpoint_and_a_server_give_what_the_bundle_gives(bundle, file, scorer, tmp_path, monkeypatch):
    monkeypatch.setenv("YOJ_API_KEY", "the-key-of-the-tests")
    layout = ("--layout", "assistant")
    with running(scorer(), HttpSettings(api_keys=("the-key-of-the-tests",))) as server:
        judges = {
            "bundle": ("--bundle", bundle("merged", "assistant")),
            "checkpoint": ("--checkpoint", MERGED, *layout),
            "server": ("--url", f"http://127.0.0.1:{server.port}"),
        }
        for name, options in judges.items():
            result = yoj_eval("run", "tiny", file, *options, "--out", tmp_path / name)
            assert result.exit_code == 0, result.output
        noted = (tmp_path / "bundle" / "run.json").read_bytes()
        served = yoj_eval("run", "tiny", file, *judges["server"], "--out", tmp_path / "bundle")
        assert served.exit_code == 1
        assert 'judge.given_by was "bundle" and is "url"' in served.output
        assert (tmp_path / "bundle" / "run.json").read_bytes() == noted
    for name in ("checkpoint", "server"):
        for one, other in zip(lines(tmp_path / name), lines(tmp_path / "bundle"), strict=True):
            for a, b in zip(one["passes"], other["passes"], strict=True):
                assert a["order"] == b["order"]
                assert a["scores"] == pytest.approx(b["scores"], abs=2e-5)
            assert one["notices"] == other["notices"]
    about = json.loads((tmp_path / "checkpoint" / "run.json").read_text("utf-8"))["judge"]
    assert (about["precision"], about["layout"]) == ("float32", "assistant")
    assert about["files_sha256"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "Give one judge"),
        (("--bundle", "a", "--url", "http://b"), "2 are given"),
        (("--url", "http://b", "--engine", "onnxruntime"), "--engine goes with --bundle, not with --url"),
        (("--checkpoint", "a"), "--checkpoint needs --layout"),
        (("--checkpoint", "a", "--layout", "user", "--precision", "int8"), "is one of float32"),
        (("--bundle", "a", "--field", "x"), "x is not NAME=NAME"),
    ],
)
def test_options_that_do_not_fit(options, told, file, tmp_path):
    result = yoj_eval("run", "tiny", file, "--out", tmp_path / "run", *options)
    assert result.exit_code == 2
    assert told in result.output


def test_names_of_benchmarks():
    assert "Did you mean tiny?" in yoj_eval("run", "tiney", "x", "--out", "y").output
    listed = yoj_eval("list").output
    assert "tiny: Tiny" in listed
    assert "Not confirmed: whether colours are told apart" in listed
