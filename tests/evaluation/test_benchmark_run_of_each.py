"""Every benchmark from its published form to its report and official files, with a real judge."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmark_files import png, write_jsonl, write_parquet, write_picture
from click.testing import CliRunner

from yoj.evaluation._comparison import compare, open_run
from yoj.evaluation.benchmarks._table import BENCHMARKS
from yoj.evaluation.cli import main

pytestmark = [pytest.mark.export, pytest.mark.slow]

COUNT = 4
PICTURE = {"bytes": png(), "path": None}


def vl_rewardbench(folder: Path, k: int) -> dict:
    return {
        "id": f"RLAIF-V-{k % 2}",
        "query": "<image>\nWhat is shown?",
        "response": [f"A cat {k}.", "A bus."],
        "image": PICTURE,
        "human_ranking": [k % 2, 1 - k % 2],
        "models": ["m", "n"],
        "judge": "human",
        "rationale": "",
        "query_source": "web",
        "ground_truth": "",
    }


def multimodal_rewardbench(folder: Path, k: int) -> dict:
    write_picture(folder / "images" / "1.jpg")
    texts = {"Text": "Describe it.", "Output1": f"One {k}.", "Output2": "Two."}
    return {"ID": f"pairs_{k}", "Image": "images/1.jpg", **texts, "Better": "Output1", "Category": "safety"}


def mm_rlhf(folder: Path, k: int) -> dict:
    medium = {"image": "mcq/1.png"} if k else {"video": "video/clip"}
    write_picture(folder / "mcq" / "1.png")
    for number in range(3):
        write_picture(folder / "video" / "clip" / f"{number}.png")
    about = {"chosen_reason": "", "rejected_reason": ""}
    return {"id": f"i{k // 3}", **medium, "prompt": "What?", "chosen": f"Yes {k}.", "rejected": "No.", **about}


def video_rewardbench(folder: Path, k: int) -> dict:
    for number in range(2):
        write_picture(folder / "clip" / f"{number}.png")
    about = {"id": k, "category": "safety", "video": "clip"}
    return {**about, "question": "What happens?", "chosen": f"It rains {k}.", "rejected": "It snows."}


def mr2bench(medium: str) -> Callable[[Path, int], dict]:
    def row(folder: Path, k: int) -> dict:
        write_picture(folder / "clip" / "0.png")
        shown = {"image": "clip/0.png"} if medium == "image" else {"video": "clip"}
        return {"prompt": f"What is {k}?", "responses": ["a", "b", "c", "d"], "rankings": [3, 1, 2, 4], **shown}

    return row


def rewardbench2(folder: Path, k: int) -> dict:
    chosen, rejected = (["a", "b"], ["c"]) if k == 1 else (["a"], ["b", "c", "d"])
    return {
        "id": {0: "ref:1", 1: "tied:1"}.get(k, str(k)),
        "prompt": f"Which {k}?",
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": len(chosen),
        "num_incorrect": len(rejected),
        "total_completions": len(chosen + rejected),
        "models": ["m"] * len(chosen + rejected),
        "subset": "Ties" if k < 2 else "Math",
        "additional_metadata": {"category": None, "valid": math.nan},
    }


def editreward(folder: Path, k: int) -> dict:
    texts = {"id": f"g{k}_0", "dataset": "2pair", "instruction": "Redder.", "comparison_type": "AvsB"}
    pictures = {"source_image": PICTURE, "candidate_1": PICTURE, "candidate_2": {"bytes": png("blue"), "path": "2.png"}}
    return {**texts, **pictures, "ranking": ("A>B", "A=B")[k % 2], "score_1": 3.0, "score_2": 1.0}


def mmrb2(folder: Path, k: int) -> dict:
    for name in "ab":
        (folder / f"{name}.png").write_bytes(png({"a": "red", "b": "blue"}[name]))
    responses = {
        f"response_{name}": {"model_name": name, "response_content": [["text", f"{k}"], ["image", f"{name}.png"]]}
        for name in "ab"
    }
    about = {"prompt_source": "s", "prompt_metadata": {}, "human_annotations": [6, 6, 5]}
    return {"id": f"t{k}", "prompt_content": [["text", "Draw."]], **responses, "chosen": "A", **about}


def to_json(file: Path, rows: list[dict]) -> None:
    file.write_text(json.dumps({"pairs": rows} if file.name == "t2i.json" else rows), "utf-8")


FILES: dict[str, tuple[str, Callable, Callable[[Path, int], dict]]] = {
    "vl-rewardbench": ("data/test-00000-of-00001.parquet", write_parquet, vl_rewardbench),
    "multimodal-rewardbench": ("all_data.json", to_json, multimodal_rewardbench),
    "mm-rlhf-rewardbench": ("mm_reward_bench.jsonl", write_jsonl, mm_rlhf),
    "video-rewardbench": ("bench.json", to_json, video_rewardbench),
    "mr2bench-image": ("mr2bench_image.jsonl", write_jsonl, mr2bench("image")),
    "mr2bench-video": ("mr2bench_video.jsonl", write_jsonl, mr2bench("video")),
    "rewardbench2": ("data/test-00000-of-00001.parquet", write_parquet, rewardbench2),
    "editreward-bench": ("2pair/train-00000-of-00001.parquet", write_parquet, editreward),
    "mmrb2": ("t2i.json", to_json, mmrb2),
}
"""Benchmark -> file, its writer, and a function that makes a row and its pictures."""


FRAMES = {"mm-rlhf-rewardbench": 3, "video-rewardbench": 2, "mr2bench-video": 1}
"""Frames of the first item's video."""


def test_every_benchmark_has_a_file_here():
    assert FILES.keys() == BENCHMARKS.keys()


@pytest.mark.parametrize("name", FILES)
def test_from_files_to_a_report(name, bundle, tmp_path):
    file, write, row = FILES[name]
    data = tmp_path / "data"
    (data / file).parent.mkdir(parents=True)
    write(data / file, [row(data, k) for k in range(COUNT)])
    out = tmp_path / "run"
    arguments = ["run", name, str(data), "--bundle", str(bundle("qwen3_vl", "assistant")), "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert (results["items"], results["failed"], results["refused"]) == (COUNT, 0, {})
    assert results["headline"] in results["figures"]
    first = json.loads((out / "predictions.jsonl").read_text("utf-8").splitlines()[0])
    assert (first["frames"] or [None])[0] == FRAMES.get(name)
    named = json.loads((out / "run.json").read_text("utf-8"))["source"]["files"]
    assert named.keys() == {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    assert any((out / "official").iterdir())
    assert "</html>" in (out / "report.html").read_text("utf-8")
    run = open_run(out)  # the predictions alone give the same figures
    assert all(one.difference == 0 for one in compare(run, run).differences.values())
