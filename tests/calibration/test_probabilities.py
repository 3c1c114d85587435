"""``yoj-calibrate probabilities`` on a small bundle: what it writes, what judgements say then, what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from tiers import with_variants

from yoj.calibration._probabilities import DIAGRAM, REPORT, CalibrationJob, calibrate
from yoj.calibration.cli import main
from yoj.calibration.temperature import MIN_SAMPLES
from yoj.export._errors import OutputError
from yoj.runtime import Request, Scorer
from yoj.runtime import manifest as m
from yoj.runtime._judgement import probabilities
from yoj.runtime.bundle import Bundle, sha256
from yoj.runtime.temperature import temperature_for

WORDS = "a the red blue small cat dog car tree is are in on under near two three and not it shows".split()  # noqa: SIM905
TEMPERATURE = 0.2
COUNTS = {2: 130, 4: 110, 5: 12}


@pytest.fixture(scope="module")
def lines(scorer) -> list[dict]:
    """Requests whose rankings are drawn from softmax(scores / TEMPERATURE) of the bundle's own scores."""
    rng = np.random.default_rng(0)
    sizes = [n for n, count in COUNTS.items() for _ in range(count)]
    requests = [Request(words(rng, 5), [words(rng, 1 + k % 4) for k in range(n)]) for n in sizes]
    found: list[dict] = []
    for request, judgement in zip(requests, scorer("merged", "assistant").score_batch(requests), strict=True):
        scores_N = np.array(judgement.scores)
        ranks = (-(scores_N / TEMPERATURE + rng.gumbel(size=len(scores_N)))).argsort().argsort() + 1
        found.append({"prompt": request.prompt, "responses": list(request.responses), "rankings": ranks.tolist()})
    return found


def words(rng: np.random.Generator, count: int) -> str:
    return " ".join(rng.choice(WORDS, count))


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")


@pytest.fixture
def rankings(lines, tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return write(tmp_path / "data" / "rankings.jsonl", lines)


def write(file: Path, lines: list[dict]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file


def content(path: Path) -> dict[str, bytes]:
    return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def quiet(done: int, total: int) -> None: ...


def run(*words: object):
    return CliRunner().invoke(main, ["probabilities", *map(str, words)])


def test_the_command_puts_temperatures_a_report_and_a_diagram_into_the_bundle(copy, rankings, lines):
    before = Bundle.open(copy).manifest
    done = run(copy, rankings)
    assert done.exit_code == 0, done.output
    head, *rows = done.stdout.splitlines()[:5]
    assert head.split() == ["N", "samples", "temperature", "NLL", "Brier", "ECE"]
    assert [row.split()[:2] for row in rows] == [["2", "130"], ["4", "110"], ["5", "12"], ["all", "252"]]
    assert f"N=5: 12 requests, fewer than {MIN_SAMPLES}; it takes the temperature of all N." in done.stdout

    manifest = Bundle.open(copy).manifest  # every hash fits
    found = manifest.probabilities
    assert found.calibrated
    assert found.fit is not None
    assert (found.fit.samples, found.fit.mode, found.fit.engine, found.fit.precision) == (
        len(lines), "joint", "onnxruntime", "float32",
    )  # fmt: skip
    assert found.fit.data == sha256(rankings)
    assert {entry.N: entry.samples for entry in found.by_n} == COUNTS
    assert found.by_n[2].temperature == found.temperature
    assert found.fit.after.nll < found.fit.before.nll
    assert msgspec.structs.replace(manifest, probabilities=before.probabilities, files={}, digest="") == (
        msgspec.structs.replace(before, files={}, digest="")
    )

    report = json.loads((copy / REPORT).read_bytes())
    assert report["bundle"] == before.digest
    for row, entry in zip(report["by_n"], found.by_n, strict=True):
        assert (row["N"], row["temperature"], row["samples"]) == (entry.N, entry.temperature, entry.samples)
    pooled = report["all"]
    assert abs(np.log(pooled["temperature"] / TEMPERATURE)) < 4 * pooled["relative_error"]
    assert sum(b["count"] for b in report["reliability"]["after"]) == sum(n * count for n, count in COUNTS.items())
    assert (copy / DIAGRAM).read_bytes().startswith(b"<?xml")
    card = (copy / "README.md").read_text("utf-8")
    assert f"fitted on {len(lines)} rankings in joint mode" in card
    assert "float32 against" in card  # the comparison with PyTorch stays
    assert [file.name for file in copy.parent.iterdir() if file.name.startswith(".")] == []


def test_the_options_are_these():
    command = main.commands["probabilities"]
    names = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert names == {"--engine", "--mode", "--media-root", "--ignore-field", "--ignore-unknown"}
    assert "RANKINGS has a request in each line" in run("--help").stdout


def test_judgements_use_the_temperature_of_their_n_and_say_so(copy, rankings):
    calibrate(CalibrationJob(copy, rankings), quiet)
    found = Bundle.open(copy).manifest.probabilities
    with Scorer.load(copy) as scorer:
        for n in (2, 3, 5):
            judgement = scorer.score("Which?", WORDS[:n])
            assert judgement.calibrated
            assert judgement.uncalibrated is None
            assert judgement.temperature == temperature_for(found, n)
            expected_N = probabilities(np.array(judgement.scores, np.float32), judgement.temperature)
            assert judgement.probabilities == pytest.approx(expected_N)
            assert f"probabilities calibrated, temperature {judgement.temperature:.4g}" in str(judgement)
        for n, options, reason in (
            (6, {}, "fitted on N=2 to 5, here N=6"),
            (3, {"mode": "isolated"}, "fitted in joint mode, read in isolated mode"),
            (3, {"orders": 3}, "fitted on one order, read in 3"),
        ):
            judgement = scorer.score("Which?", WORDS[:n], **options)
            assert not judgement.calibrated
            assert judgement.uncalibrated == reason
            assert f"not calibrated, temperature {judgement.temperature:.4g}: {reason}" in str(judgement)
    other = msgspec.structs.replace(scorer.engine, precision="float16")
    judgement = Scorer(Bundle.open(copy), other, Scorer.load(copy)._session).score("Which?", WORDS[:3])
    assert judgement.uncalibrated == "fitted in float32, scored in float16"


def test_a_fit_in_isolated_mode_holds_for_isolated_mode(copy, rankings):
    done = run(copy, rankings, "--mode", "isolated", "--engine", "onnxruntime")
    assert done.exit_code == 0, done.output
    with Scorer.load(copy) as scorer:
        assert scorer.score("Which?", WORDS[:3], mode="isolated").calibrated
        assert scorer.score("Which?", WORDS[:3]).uncalibrated == "fitted in isolated mode, read in joint mode"


def test_a_second_fit_replaces_the_first_and_the_same_data_give_the_same_bytes(copy, rankings, lines):
    calibrate(CalibrationJob(copy, rankings), quiet)
    first = content(copy)
    write(rankings, [line for line in lines if len(line["responses"]) == 4])
    only = calibrate(CalibrationJob(copy, rankings), quiet)
    assert [entry.N for entry in only.manifest.probabilities.by_n] == [4]
    assert Bundle.open(copy).manifest == only.manifest
    with Scorer.load(copy) as scorer:
        assert scorer.score("Which?", WORDS[:3]).uncalibrated == "fitted on N=4, here N=3"
    write(rankings, lines)
    calibrate(CalibrationJob(copy, rankings), quiet)
    again = content(copy)
    assert again.keys() == first.keys()
    assert {name for name in first if first[name] != again[name]} == {REPORT, m.MANIFEST_NAME}  # the bundle it read


# What is refused


def changed(lines: list[dict], place: int, **fields: object) -> list[dict]:
    line = {name: value for name, value in (lines[place] | fields).items() if value is not None}
    return [*lines[:place], line, *lines[place + 1 :]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda lines: changed(lines, 3, rankings=None), "line 4 has no rankings. Give one for each response"),
        (lambda lines: changed(lines, 3, rankings=[1]), "line 4: 1 rankings for 2 responses"),
        (lambda lines: changed(lines, 3, responses=["a"], rankings=[1]), "line 4 has 1 responses"),
        (lambda lines: changed(lines, 3, image="missing.png"), "line 4: "),
        (lambda lines: changed(lines, 3, prompt=None), "line 4: The request has no prompt"),
        (lambda lines: lines[:99], "has 99 requests, at least 100 are needed"),
        (lambda lines: [], "has 0 requests"),
        (
            lambda lines: [
                line | {"rankings": [1 + len(line["rankings"]) - rank for rank in line["rankings"]]} for line in lines
            ],
            "252 requests cannot be told from chance",
        ),
        (
            lambda lines: [line | {"responses": ["same"], "rankings": [1]} for line in lines],
            "line 1 has 1 responses",
        ),
    ],
)
def test_rankings_that_cannot_be_used_are_refused_in_a_line_and_the_bundle_stays(change, text, copy, rankings, lines):
    before = content(copy)
    write(rankings, change(lines))
    done = run(copy, rankings)
    assert done.exit_code == 1
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("Error: ")
    assert text in said
    assert content(copy) == before
    assert sorted(file.name for file in copy.parent.iterdir()) == ["data", "judge.yoj"]


def test_scores_without_a_mistake_are_bounded_and_it_is_said(copy, rankings, lines, scorer):
    some = [line for line in lines if len(line["responses"]) == 2]
    requests = [Request(line["prompt"], line["responses"]) for line in some]
    judgements = scorer("merged", "assistant").score_batch(requests)
    write(rankings, [line | {"rankings": list(j.ranks)} for line, j in zip(some, judgements, strict=True)])
    done = run(copy, rankings)
    assert done.exit_code == 0, done.output
    assert "N=2: next to no mistake in 130 requests" in done.stdout
    assert "All requests have N=2" in done.stdout
    assert "bounded" in done.stdout.splitlines()[1]


def test_a_bundle_that_changes_meanwhile_is_left_alone(copy, rankings):
    def meddle(done: int, total: int) -> None:
        if done == total:
            manifest = m.decode((copy / m.MANIFEST_NAME).read_bytes(), "manifest")
            limits = msgspec.structs.replace(manifest.limits, N=9)
            (copy / m.MANIFEST_NAME).write_bytes(m.encode(m.seal(msgspec.structs.replace(manifest, limits=limits))))

    with pytest.raises(ValueError, match="was changed while its scores were computed"):
        calibrate(CalibrationJob(copy, rankings), meddle)
    assert Bundle.open(copy).manifest.limits.N == 9
    assert not (copy / REPORT).exists()


@pytest.mark.parametrize("calls", range(1, 6))
@pytest.mark.parametrize("first", [True, False])
def test_a_move_that_fails_is_taken_back(first, calls, copy, rankings, monkeypatch):
    """The moves: manifest without the README, report, diagram, README, manifest."""
    if not first:
        calibrate(CalibrationJob(copy, rankings), quiet)
        write(rankings, [json.loads(line) for line in rankings.read_text("utf-8").splitlines()][10:])
    before, replace, made = content(copy), os.replace, []

    def failing(source, target):
        made.append(target)
        if len(made) == calls:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OutputError, match=r"No space left .* The bundle is as it was"):
        calibrate(CalibrationJob(copy, rankings), quiet)
    assert content(copy) == before
    Bundle.open(copy)


@pytest.mark.parametrize("calls", with_variants([4, 2, 5]))
def test_a_kill_between_any_two_moves_leaves_a_bundle_that_opens_and_scores_as_before(calls, copy, rankings):
    first = calibrate(CalibrationJob(copy, rankings), quiet).manifest.probabilities
    code = (
        "import os, sys; from pathlib import Path\n"
        "from yoj.calibration._probabilities import CalibrationJob, calibrate\n"
        "replace, made = os.replace, []\n"
        "def killed(source, target):\n"
        "    made.append(target)\n"
        "    if len(made) == int(sys.argv[3]): os.kill(os.getpid(), 9)\n"
        "    replace(source, target)\n"
        "os.replace = killed\n"
        "calibrate(CalibrationJob(Path(sys.argv[1]), Path(sys.argv[2]), mode='isolated'), lambda done, total: None)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, copy, rankings, str(calls)], env=environment, timeout=120)
    assert done.returncode == -9
    assert Bundle.open(copy).manifest.probabilities == first
    for left in copy.parent.glob(".judge.yoj.*"):
        shutil.rmtree(left)
    calibrate(CalibrationJob(copy, rankings), quiet)
    assert Bundle.open(copy).manifest.files.keys() == content(copy).keys() - {m.MANIFEST_NAME}
