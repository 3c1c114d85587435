"""Dumps of what the graphs take, and hosts without Python that score from them; see docs/native.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from commands import run_here
from native_host import Host

from yoj.runtime import EngineError
from yoj.runtime._dump import _check_reproducible

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "tests" / "golden" / "data" / "images" / "odd_small.png"
PROMPT, RESPONSES = "What colour?", ["Red.", "Blue, <|resp_sep|> or so.", "e\u0301 I cannot tell."]
FAMILIES = ["merged", "qwen3_vl"]
HEADERS = ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/local/include", "/usr/include")


def score(bundle: Path, dump: Path, *options: object, responses=RESPONSES) -> dict:
    words = [word for response in responses for word in ("--response", response)]
    done = run_here("yoj-score", bundle, "--prompt", PROMPT, *words, "--json", "--dump-inputs", dump, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {file.stem: np.load(file, allow_pickle=False) for file in folder.glob("*.npy")}


def runs_of(request: Path) -> list[tuple[Path, str]]:
    return [(request / run, graph) for run, graph in map(str.split, (request / "runs.txt").read_text().splitlines())]


def replay(bundle: Path, request: Path) -> dict[str, np.ndarray]:
    """Outputs of the last graph from the dumped inputs, after each is compared with the dumped outputs."""
    outputs: dict[str, np.ndarray] = {}
    for folder, graph in runs_of(request):
        session = onnxruntime.InferenceSession(bundle / graph, providers=["CPUExecutionProvider"])
        given, returned = arrays(folder / "in"), arrays(folder / "out")
        assert given.keys() == {one.name for one in session.get_inputs()}
        assert returned.keys() == {one.name for one in session.get_outputs()}
        outputs = dict(zip(returned, session.run(list(returned), given), strict=True))
        for name, array in returned.items():
            assert np.array_equal(outputs[name], array), f"{graph} {name}"
    return outputs


def by_response(raw: np.ndarray, request: Path) -> np.ndarray:
    """Scores as docs/native.md reads them from the scorer's output."""
    orders, copies = np.load(request / "orders.npy"), np.load(request / "copies.npy")
    rows = np.take_along_axis(raw, np.argsort(orders, axis=1), axis=1)
    rows = rows - rows.mean(axis=1, keepdims=True) if len(rows) > 1 else rows
    return rows.mean(axis=0)[copies]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["joint", "isolated"])
def test_a_text_request_takes_the_scorer_alone(family, mode, bundle, scorer, tmp_path):
    path = bundle(family, "assistant")
    judgement = score(path, tmp_path / "dump", "--mode", mode)
    request = tmp_path / "dump" / "1"
    role = {"joint": "scorer.joint", "isolated": "scorer.segmented"}[mode]
    assert runs_of(request) == [(request / f"1-{role}", f"onnx/{role}.onnx")]
    scores = by_response(replay(path, request)["scores"], request)
    expected = scorer(family, "assistant").score(PROMPT, RESPONSES, mode=mode).scores
    assert scores.tolist() == np.load(request / "scores.npy").tolist() == judgement["scores"] == list(expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_take_the_vision_graph_whose_outputs_are_the_scorers_features(family, bundle, scorer, tmp_path):
    path = bundle(family, "assistant")
    score(path, tmp_path / "dump", "--image", IMAGE)
    request = tmp_path / "dump" / "1"
    (vision, first), (scoring, second) = runs_of(request)
    assert (first, second) == ("onnx/vision.onnx", "onnx/scorer.joint.onnx")
    scores = by_response(replay(path, request)["scores"], request)
    expected = scorer(family, "assistant").score(PROMPT, RESPONSES, images=[IMAGE]).scores
    assert scores.tolist() == list(expected)
    given = arrays(scoring / "in")
    for name, array in arrays(vision / "out").items():
        assert np.array_equal(given[name], array)
    shown = given["visual_index"][given["visual_index"] > 0]
    assert shown.tolist() == list(range(1, len(given["image_features"]) + 1))


def test_each_scored_line_of_a_file_has_its_own_folder(bundle, tmp_path):
    line = {"prompt": PROMPT, "responses": RESPONSES}
    lines = [
        line, line | {"responses": []}, line | {"image": str(IMAGE), "orders": 3},
        line | {"image": str(IMAGE), "responses": ["No.", "Yes.", "No."]}, line | {"mode": "isolated"},
    ]  # fmt: skip
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    path, dump, out = bundle("merged", "assistant"), tmp_path / "dump", tmp_path / "scores.jsonl"
    command = ("yoj-score", path, tmp_path / "r.jsonl", "--media-root", "/", "--out", out, "--dump-inputs")
    done = run_here(*command, dump)
    assert "graph inputs and outputs are in" in done.stderr
    assert "1 failed" in done.stderr
    results = {one["line"]: one for one in map(json.loads, out.read_text().splitlines())}
    assert {int(folder.name) for folder in dump.iterdir()} == {1, 3, 4, 5} == results.keys() - {2}
    assert [len(runs_of(dump / str(number))) for number in (1, 3, 4, 5)] == [1, 2, 2, 1]  # equal pictures run again
    for number in (1, 3, 4, 5):
        scores = by_response(replay(path, dump / str(number))["scores"], dump / str(number))
        assert scores.tolist() == pytest.approx(results[number]["scores"], abs=1e-6)
        assert np.load(dump / str(number) / "scores.npy").tolist() == results[number]["scores"]
    assert np.load(dump / "3" / "orders.npy").tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    assert np.load(dump / "4" / "copies.npy").tolist() == [0, 1, 0]

    again = run_here(*command, tmp_path / "second")
    assert again.returncode == 1
    assert "An earlier run scored 4 of the requests" in again.stderr
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("place", "said"), [("file", "is there already"), ("folder", "is there already"), ("none/dump", "is no folder")]
)
def test_a_dump_overwrites_nothing(place, said, bundle, tmp_path):
    (tmp_path / "file").write_text("notes")
    (tmp_path / "folder").mkdir()
    words = ("--prompt", PROMPT, "--response", "Red.", "--dump-inputs", tmp_path / place)
    done = run_here("yoj-score", bundle("merged", "assistant"), *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""
    assert (tmp_path / "file").read_text() == "notes"
    assert not [*(tmp_path / "folder").iterdir()]


@pytest.mark.parametrize("change", [{"precision": "int8"}, {"engine": "tensorrt"}])
def test_what_files_alone_do_not_repeat_is_refused(change, scorer):
    with pytest.raises(EngineError, match=r"Dump from a bundle in float32|--engine onnxruntime"):
        _check_reproducible(msgspec.structs.replace(scorer("merged", "assistant").engine, **change))


@pytest.mark.parametrize(("family", "layout"), [("merged", "assistant"), ("merged", "user"), ("qwen3_vl", "assistant")])
@pytest.mark.parametrize("mode", ["joint", "isolated"])
def test_the_page_says_all_that_a_host_needs_to_know(family, layout, mode, bundle, tmp_path):
    path = bundle(family, layout)
    score(path, tmp_path / "dump", "--mode", mode)
    ((folder, _),) = runs_of(tmp_path / "dump" / "1")
    given, made = arrays(folder / "in"), getattr(Host(path), mode)(PROMPT, RESPONSES)
    features = {name for name in given if name == "image_features" or name.startswith("deepstack_")}
    assert given.keys() - features <= made.keys()
    for name in given.keys() - features:
        assert given[name].tolist() == [made[name].tolist()], name
    assert all(given[name].shape[0] == 1 and not given[name].any() for name in features)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_page_names_every_tensor(family, scorer):
    page = (ROOT / "docs" / "native.md").read_text("utf-8")
    for role, graph in scorer(family, "assistant").engine.graphs.items():
        assert f"`{graph.file}`" in page
        for spec in (*graph.inputs, *graph.outputs):
            name = re.sub(r"(?<=deepstack_)\d+", "0", spec.name)
            assert re.search(rf"^\|[^|]*\|[^|]*`{name}`", page, re.M), f"{role} {spec.name}"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder in which the lines of the example's page that build it have run."""
    library = [*Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.1.*")]
    folders = [os.environ.get("YOJ_ONNXRUNTIME_INCLUDE"), *HEADERS]
    headers = next((one for one in folders if one and Path(one, "onnxruntime_cxx_api.h").is_file()), None)
    for missing, what in (
        (shutil.which("g++") is None, "no C++ compiler: install g++"),
        (not library, "onnxruntime's wheel has no libonnxruntime.so.1 here"),
        (headers is None, "no onnxruntime_cxx_api.h: name its folder in YOJ_ONNXRUNTIME_INCLUDE"),
    ):
        if missing:
            pytest.skip(what)
    folder = tmp_path_factory.mktemp("native")
    (folder / "examples").symlink_to(ROOT / "examples")
    shell(_lines()[0], folder, {"ONNXRUNTIME_INCLUDE": str(headers)})
    return folder


def _lines() -> list[str]:
    """Lines of the example's page: those that build it, and those that run it."""
    text = (ROOT / "examples" / "native" / "README.md").read_text("utf-8")
    (block,) = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return block.split("\n\n")


def shell(lines: str, folder: Path, more: dict[str, str]) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | more
    done = subprocess.run(["bash", "-ec", lines], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def score_dump(built: Path, bundle: Path, request: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([built / "build/native/score_dump", bundle, request], capture_output=True, text=True)


def printed(text: str) -> list[float]:
    return [float(np.float32(score)) for score in re.findall(r"^response \d+: (\S+)$", text, re.M)]


@pytest.mark.export
def test_the_lines_of_the_example_score(built, bundle, scorer):
    (built / "judge.yoj").symlink_to(bundle("merged", "assistant"))
    said = shell(_lines()[1], built, {})
    expected = scorer("merged", "assistant").score("What is shown?", ["A cat.", "A red bus."]).scores
    assert printed(said) == list(expected)
    assert "onnx/scorer.joint.onnx: scores equal, bit for bit" in said
    assert said.endswith("largest difference from yoj-score: 0\n")


@pytest.mark.export
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options",
    [(), ("--mode", "isolated"), ("--image", IMAGE), ("--orders", "3")],
    ids=["joint", "isolated", "picture", "orders"],
)
def test_scores_from_cpp_are_those_of_the_runtime(family, options, built, bundle, tmp_path):
    path = bundle(family, "assistant")
    judgement = score(path, tmp_path / "dump", *options, responses=[*RESPONSES, RESPONSES[0]])
    done = score_dump(built, path, tmp_path / "dump" / "1")
    assert done.returncode == 0, done.stderr
    assert "differs" not in done.stdout
    expected = judgement["scores"]
    assert printed(done.stdout) == (pytest.approx(expected, abs=1e-6) if "--orders" in options else expected)


@pytest.mark.export
def test_files_that_are_no_dump_are_an_error(built, bundle, tmp_path):
    path, dump = bundle("merged", "assistant"), tmp_path / "dump"
    score(path, dump)
    ids = dump / "1" / "1-scorer.joint" / "in" / "input_ids.npy"
    whole = ids.read_bytes()
    for content, said in (
        (whole[:-1], "more or fewer numbers than its header says"),
        (whole[:50], "is cut short"),
        (b"notes", "is no .npy file"),
        (whole.replace(b"<i8", b"<i4"), "neither int64 nor float32"),
        (whole.replace(b"<i8", b"<f4"), "more or fewer numbers"),
    ):
        ids.write_bytes(content)
        done = score_dump(built, path, dump / "1")
        assert done.returncode == 1, done.stdout
        assert said in done.stderr
    none = score_dump(built, path, dump)
    assert none.returncode == 1
    assert "names no scorer" in none.stderr
