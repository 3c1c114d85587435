"""VideoRewardBench: supposed fields and a field map, figures and predictions."""

from __future__ import annotations

import json

import pytest
from benchmark_files import lines_of, read_all, scored, write_jsonl, write_picture

from yoj.evaluation import EvaluationError
from yoj.evaluation.benchmarks._table import BENCHMARKS

BENCH = BENCHMARKS["video-rewardbench"]


def row(identifier, category="safety", **changed):
    return {
        "id": identifier,
        "question": "What happens?",
        "chosen": "It rains.",
        "rejected": f"It snows {identifier}.",
        "video": "videos/a.mp4",
        "category": category,
    } | changed


def folder_of(tmp_path, rows):
    (tmp_path / "videos").mkdir(exist_ok=True)
    (tmp_path / "videos" / "a.mp4").write_bytes(b"not opened")
    for number in range(3):
        write_picture(tmp_path / "videos" / "frames" / f"{number}.png")
    (tmp_path / "videos" / "empty").mkdir(exist_ok=True)
    (tmp_path / "bench.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_row_becomes_a_request_with_its_video(tmp_path):
    items, refused = read_all(BENCH, folder_of(tmp_path, [row(1), row("b", video="videos/frames")]))
    assert not refused
    assert items[0].request.video == tmp_path / "videos" / "a.mp4"
    assert items[0].request.responses == ["It rains.", "It snows 1."]
    assert (items[0].id, items[0].category, items[0].ranks) == ("1", "safety", (1.0, 2.0))
    assert [item.native["frames_of_folder"] for item in items] == [None, 3]


def test_other_names_of_fields_need_a_map(tmp_path):
    named = {"id": "qid", "question": "prompt", "category": "dimension"}
    rows = [{named.get(name, name): value for name, value in row("a").items()}]
    folder = folder_of(tmp_path, rows)
    with pytest.raises(EvaluationError, match=r"'id' is missing.* qid, prompt, chosen.*give --field"):
        read_all(BENCH, folder)
    with pytest.raises(EvaluationError, match="'question' is missing"):
        read_all(BENCH, folder, {"id": "qid"})
    with pytest.raises(EvaluationError, match="renames 'dimension', which is none of the fields of VideoRewardBench"):
        read_all(BENCH, folder, {"dimension": "category"})
    (item,), refused = read_all(BENCH, folder, named)
    assert not refused
    assert (item.id, item.category, item.request.prompt) == ("a", "safety", "What happens?")
    assert "not seen" in BENCH.unsure


def test_of_several_files_one_must_be_named(tmp_path):
    folder = folder_of(tmp_path, [row("a")])
    (folder / "config.json").write_text("{}")
    with pytest.raises(
        EvaluationError, match=r"several files that may hold VideoRewardBench: bench\.json, config\.json"
    ):
        read_all(BENCH, folder)
    assert len(read_all(BENCH, folder / "bench.json")[0]) == 1


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"video": "videos/b.mp4"}, "missing video"),
        ({"video": "videos/empty"}, "missing video"),
        ({"video": None}, "missing video"),
        ({"chosen": " "}, "empty response"),
        ({"question": ""}, "empty prompt"),
        ({"id": None}, "missing id"),
    ],
)
def test_a_faulty_row_is_refused_by_its_kind(tmp_path, changed, kind):
    items, (refused,) = read_all(BENCH, folder_of(tmp_path, [row("good"), row("bad", **changed)]))
    assert len(items) == 1
    assert (refused.row, refused.kind) == (2, kind)


def test_figures_by_hand(tmp_path):
    rows = [row("a"), row("b"), row("c", "knowledge"), row("d", "knowledge")]
    items, _ = read_all(BENCH, folder_of(tmp_path, rows))
    run = [scored(items[0], 1.0, 0.0), scored(items[1]), scored(items[2], 1.0, 0.0), scored(items[3], 2.0, 1.0)]
    figures = BENCH.measure(run, BENCH.ties)
    assert figures.headline == "overall"
    assert figures.values == {"overall": 0.75, "category/knowledge": 1.0, "category/safety": 0.5}
    assert figures.counts == {"overall": 4, "category/knowledge": 2, "category/safety": 2}
    written = lines_of(BENCH.write_official(run, tmp_path / "out"))
    assert [one["rewards"] for one in written] == [[1.0, 0.0], [1.0, 0.0], [2.0, 1.0]]
    assert written[0] == row("a") | {"frames_of_folder": None, "rewards": [1.0, 0.0]}


def test_lines_are_read_too(tmp_path):
    folder = folder_of(tmp_path, [])
    (item,), _ = read_all(BENCH, write_jsonl(folder / "bench.jsonl", [row("a")]))
    assert item.id == "a"
