"""What ``yoj-serve triton`` writes and refuses; `test_triton` runs it in the server."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from yoj.runtime.bundle import Bundle
from yoj.serving.cli import main

pytestmark = pytest.mark.export


@pytest.fixture
def judge(bundle) -> Path:
    return bundle("qwen3_vl", "assistant")


def run(bundle: Path, out: Path, *options: str):
    return CliRunner().invoke(main, ["triton", str(bundle), "--out", str(out), "--name", "judge", *options])


def parameters(config: str) -> dict[str, str]:
    found = re.findall(r'^parameters \{ key: "(\w+)" value \{ string_value: (".*") \} \}$', config, re.MULTILINE)
    return {key: json.loads(value) for key, value in found}


def test_a_model_for_each_form_is_written(judge, tmp_path):
    limits = ["--max-batch", "4", "--max-queue", "9", "--max-delay", "1.5", "--instances", "2", "--threads", "3"]
    result = run(judge, tmp_path / "models", *limits, "--engine", "onnxruntime", "--precision", "float32")
    assert result.exit_code == 0, result.output
    assert f"tritonserver --model-repository {tmp_path / 'models'}" in result.output
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["judge", "judge_tensors"]
    for name, form in (("judge", "json"), ("judge_tensors", "tensors")):
        config = (tmp_path / "models" / name / "config.pbtxt").read_text("utf-8")
        assert parameters(config) == {
            "form": form,
            "bundle": str(judge),
            "engine": "onnxruntime",
            "precision": "float32",
            "threads": "3",
        }
        for text in ("max_batch_size: 4", "max_queue_size: 9", "max_queue_delay_microseconds: 1500"):
            assert text in config
        assert "instance_group [ { count: 2 kind: KIND_CPU } ]" in config
    assert config.count("allow_ragged_batch: true") == 3
    assert config.count("optional: true") == 1


def test_for_an_engine_of_the_gpu_the_instances_are_on_it(judge, tmp_path):
    assert run(judge, tmp_path, "--form", "json", "--engine", "onnxruntime-cuda").exit_code == 0
    assert "instance_group [ { count: 1 kind: KIND_GPU gpus: [ 0 ] } ]" in (tmp_path / "judge/config.pbtxt").read_text()


def test_the_bundle_is_copied_once_on_request(judge, tmp_path):
    result = run(judge, tmp_path, "--copy", "--form", "json", "--form", "tensors", "--form", "utf8")
    assert result.exit_code == 0, result.output
    folders = [tmp_path / name for name in ("judge", "judge_tensors", "judge_utf8")]
    places = [folder / parameters((folder / "config.pbtxt").read_text("utf-8"))["bundle"] for folder in folders]
    assert {place.resolve() for place in places} == {tmp_path / "judge" / "judge.yoj"}
    assert Bundle.open(places[1]).manifest.digest == Bundle.open(judge).manifest.digest


def test_a_path_with_quotes_and_backslashes_is_written_so_that_it_is_read_back(judge, tmp_path):
    place = tmp_path / 'a "judge" \\ é.yoj'
    shutil.copytree(judge, place)
    assert run(place, tmp_path / "models", "--form", "json").exit_code == 0
    config = (tmp_path / "models/judge/config.pbtxt").read_text("utf-8")
    assert parameters(config)["bundle"] == str(place)
    assert 'a \\"judge\\" \\\\ é.yoj' in config


def test_a_model_that_is_there_is_not_written_over(judge, tmp_path):
    (tmp_path / "judge_tensors").mkdir()
    result = run(judge, tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path} holds judge_tensors already. Remove them, or choose another --name." in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["judge_tensors"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--name", "../judge"], "'../judge' is no name of a model."),
        (["--engine", "tensorrt"], "holds no engine 'tensorrt'; it holds: onnxruntime float32."),
        (["--precision", "int8"], "holds no engine 'int8'; it holds: onnxruntime float32."),
    ],
)
def test_what_cannot_be_served_is_refused(options, text, judge, tmp_path):
    result = run(judge, tmp_path / "models", *options)
    assert result.exit_code == 1
    assert text in result.output
    assert not (tmp_path / "models").exists()


def test_a_damaged_bundle_is_refused(judge, tmp_path):
    shutil.copytree(judge, tmp_path / "judge.yoj")
    tokenizer = tmp_path / "judge.yoj" / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    result = run(tmp_path / "judge.yoj", tmp_path / "models")
    assert result.exit_code == 1
    assert "is not as it was exported, and is refused" in result.output
    assert not (tmp_path / "models").exists()
