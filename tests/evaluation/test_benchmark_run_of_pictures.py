"""Benchmarks of pictures as responses, every kind of item, through a real judge: figures from its scores by hand."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_files import write_parquet
from click.testing import CliRunner
from PIL import Image

from yoj.evaluation.cli import main

pytestmark = [pytest.mark.export, pytest.mark.slow]


def drawn(seed: int) -> bytes:
    """Bytes of a picture with large areas."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((56, 56), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def run(bundle, name: str, data: Path, out: Path, *options: str) -> dict:
    """Results of a run, with its predictions and the text of its report."""
    arguments = ["run", name, str(data), "--bundle", str(bundle("qwen3_vl", "assistant")), "--out", str(out), *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert (results["failed"], results["refused"]) == (0, {})
    lines = (out / "predictions.jsonl").read_text("utf-8").splitlines()
    return results | {"lines": [json.loads(line) for line in lines], "printed": result.output}


def values(results: dict) -> dict[str, float]:
    return {name: figure["value"] for name, figure in results["figures"].items()}


def edits_in_pairs() -> list[dict]:
    """Rows of the hub's form: five groups of two, a group of three and one of four, with all their pairs."""
    rows, count = [], itertools.count()

    def picture(seed: int) -> dict:
        return {"bytes": drawn(seed), "path": None}

    def add(size: str, identifier: str, compared: str, ranking: str, seeds: tuple[int, int]) -> None:
        texts = {"id": identifier, "dataset": size, "instruction": f"Redder {identifier}.", "comparison_type": compared}
        first, second = map(picture, seeds)
        shown = {"source_image": picture(900 + next(count)), "candidate_1": first, "candidate_2": second}
        rows.append({**texts, **shown, "ranking": ranking, "score_1": 0.0, "score_2": 0.0})

    for k, ranking in enumerate(("A>B", "B>A", "A=B", "A=B", "A>B")):
        add("2pair", f"two{k}_0", "AvsB", ranking, (2 * k, 2 * k + (k != 4)))  # the last: one picture twice
    for size, letters in (("3pair", "ABC"), ("4pair", "ABCD")):
        for number, (one, other) in enumerate(itertools.combinations(letters, 2)):
            seeds = tuple(50 + 10 * len(letters) + letters.index(letter) for letter in (one, other))
            add(size, f"{size}_{number}", f"{one}vs{other}", f"{one}>{other}", seeds)
    return rows


def test_edits_in_pairs_and_groups(bundle, tmp_path):
    data = write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", edits_in_pairs()).parent
    results = run(bundle, "editreward-bench", data, tmp_path / "run")
    assert results["items"] == 5 + 3 + 6
    scores = {line["key"]: (line["passes"][0]["scores"], line["ranks"], line["category"]) for line in results["lines"]}
    right = {
        key: found[ranks.index(1)] > found[ranks.index(2)]
        for key, (found, ranks, _) in scores.items()
        if set(ranks) == {1, 2}
    }
    figures = values(results)
    for size, count in (("3pair", 3), ("4pair", 6)):
        own = [right[key] for key, (_, _, category) in scores.items() if category == size]
        assert len(own) == count
        assert figures[f"{size}, single pairs"] == pytest.approx(np.mean(own))
        assert figures[f"category/{size}"] == all(own)
    same = next(found for key, (found, _, _) in scores.items() if "two4" in key)
    assert same[0] == same[1]
    twos = [right[key] for key, (_, _, category) in scores.items() if category == "2pair" and key in right]
    assert figures["2pair, without ties"] == pytest.approx(np.mean(twos))
    assert "tie width tuned on the test set" in results["headline"]
    assert results["headline"] in results["printed"]
    assert results["ties"] == "wrong"
    again = run(bundle, "editreward-bench", data, tmp_path / "run", "--ties", "right")
    assert again["lines"] == results["lines"]
    assert values(again)["2pair, without ties"] == pytest.approx((sum(twos) + 1) / 3)
    assert "Equal highest scores count as: right" in again["printed"]
    assert (tmp_path / "run" / "official" / "yoj_pairwise_4pair_4pair_hf.json").is_file()


def test_groups_of_edits_in_the_form_of_the_authors_script(bundle, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for k in range(12):
        (data / f"{k}.png").write_bytes(drawn(k))
    for size, ranking in ((2, "A=B=Good"), (3, "C>A>B"), (4, "D>C>B>A")):
        row = {"prompt": f"Redder {size}.", "path_src": "0.png", "human_vote": {"ranking": ranking}}
        row["paths_generated"] = [f"{size + k}.png" for k in range(size)]
        (data / f"EditReward_Bench_{size}pair.json").write_text(json.dumps([row]))
    results = run(bundle, "editreward-bench", data, tmp_path / "run")
    assert [len(line["ranks"]) for line in results["lines"]] == [2, 3, 4]
    figures = values(results)
    for line in results["lines"][1:]:
        ranked = sorted(range(len(line["ranks"])), key=lambda k: -line["passes"][0]["scores"][k])
        assert figures[f"category/{line['category']}"] == ([line["ranks"][k] for k in ranked] == sorted(line["ranks"]))


INTERLEAVED = {
    "t2i": ([["text", "Draw a cat."]], ["image"], ["image"]),
    "edit": ([["text", "Redder: "], ["image", "0.png"]], ["image"], ["text", "image"]),
    "interleaved": (
        [["text", "A story of "], ["image", "0.png"], ["text", " please."]],
        ["text", "image"] * 3,
        ["image", "text"],
    ),
    "reasoning": ([["image", "0.png"], ["text", "How many?"]], ["text"], ["text", "image", "text"]),
}
"""Task -> prompt, and kinds of the parts of both responses."""


def pairs_of_tasks(data: Path, count: int) -> None:
    """A folder as the benchmark's scripts build it."""
    seeds = itertools.count(1)
    data.mkdir()
    (data / "0.png").write_bytes(drawn(0))

    def content(kinds: list[str]) -> list[list[str]]:
        parts = []
        for kind in kinds:
            seed = next(seeds)
            (data / f"{seed}.png").write_bytes(drawn(seed))
            parts.append([kind, f"Then {seed}. " if kind == "text" else f"{seed}.png"])
        return parts

    for task, (prompt, *kinds) in INTERLEAVED.items():
        pairs = []
        for k in range(count):
            responses = {
                f"response_{name}": {"model_name": name, "response_content": content(of)}
                for name, of in zip("ab", kinds, strict=True)
            }
            about = {"prompt_source": "s", "prompt_metadata": {}, "human_annotations": [6, 6, 5]}
            pairs.append({"id": f"{task}{k}", "prompt_content": prompt, **responses, "chosen": "AB"[k % 2], **about})
        (data / f"{task}.json").write_text(json.dumps({"pairs": pairs}))


def test_four_tasks_of_interleaved_responses_in_both_orders(bundle, tmp_path):
    pairs_of_tasks(tmp_path / "data", 3)
    results = run(bundle, "mmrb2", tmp_path / "data", tmp_path / "run")
    assert results["items"] == 12
    credits = {task: [] for task in INTERLEAVED}
    for line in results["lines"]:
        assert sorted(one["order"] for one in line["passes"]) == [[0, 1], [1, 0]]
        best = line["ranks"].index(1)
        credits[line["category"]].append([one["scores"][best] > one["scores"][1 - best] for one in line["passes"]])
    figures = values(results)
    for task, own in credits.items():
        assert figures[f"category/{task}"] == pytest.approx(np.mean(own))
    every = [one for own in credits.values() for one in own]
    assert figures["overall"] == pytest.approx(np.mean(every))
    assert figures["both orders right"] == pytest.approx(np.mean([all(one) for one in every]))
    official = {file.name for file in (tmp_path / "run" / "official").iterdir()}
    assert official == {"task1_image.json", "task2_edit.json", "task3_interleaved.json", "task4_reasoning.json"}
