"""MR2Bench: supposed fields, rankings with ties, figures and predictions."""

from __future__ import annotations

import json

import pytest
from benchmark_files import lines_of, png, read_all, scored, write_jsonl, write_parquet, write_picture

from yoj.evaluation import EvaluationError
from yoj.evaluation.benchmarks._table import BENCHMARKS

IMAGE, VIDEO = BENCHMARKS["mr2bench-image"], BENCHMARKS["mr2bench-video"]


def row(prompt="What is shown?", rankings=(3, 1, 2, 4), **changed):
    responses = [f"Answer {number}." for number in range(len(rankings))]
    return {"prompt": prompt, "responses": responses, "rankings": list(rankings), "image": "a.png"} | changed


def folder_of(tmp_path, rows):
    write_picture(tmp_path / "a.png")
    write_jsonl(tmp_path / "mr2bench_image.jsonl", rows)
    return tmp_path


def test_a_row_becomes_a_request_of_four(tmp_path):
    (item,), refused = read_all(IMAGE, folder_of(tmp_path, [row()]))
    assert not refused
    assert item.request.prompt == "What is shown?"
    assert item.request.responses == ["Answer 0.", "Answer 1.", "Answer 2.", "Answer 3."]
    assert item.request.images == [tmp_path / "a.png"]
    assert item.ranks == (3.0, 1.0, 2.0, 4.0)
    assert (item.id, item.category) == ("1", "4 responses")


def test_items_of_one_prompt_count_together(tmp_path):
    rows = [row(), row(rankings=(1, 2, 3)), row("Why?"), row(rankings=(4, 3, 2, 1))]
    items, (refused,) = read_all(IMAGE, folder_of(tmp_path, rows))
    assert items[0].group == items[1].group != items[2].group
    assert (refused.row, refused.kind) == (4, "duplicate")  # the same responses with another ranking


def test_an_object_of_lists_is_read_list_by_list(tmp_path):
    write_picture(tmp_path / "a.png")
    file = tmp_path / "image.json"
    lists = {
        "pair_data": [row("C", (2, 1))],
        "ranking_data": [row("A"), "text"],
        "about": {},
        "single_data": [row("D", (1,))],
    }
    for text in (json.dumps(lists), json.dumps(lists, indent=1)):
        file.write_text(text)
        items, refused = read_all(IMAGE, file)
        assert [item.request.prompt for item in items] == ["A", "C"]
        assert [item.category for item in items] == ["4 responses", "2 responses"]
        assert [(one.row, one.kind) for one in refused] == [(2, "unreadable"), (4, "number of responses")]


def test_an_array_and_a_table_are_read(tmp_path):
    write_picture(tmp_path / "a.png")
    (tmp_path / "image.json").write_text(json.dumps([row()], indent=1))
    assert len(read_all(IMAGE, tmp_path / "image.json")[0]) == 1
    table = write_parquet(tmp_path / "image.parquet", [row(image={"bytes": png(), "path": None}, id=5)])
    (item,), _ = read_all(IMAGE, table)
    assert item.request.images == [png()]
    assert (item.id, "image" in item.native) == ("5", False)


def test_the_image_and_the_video_benchmark_need_their_medium(tmp_path):
    folder = folder_of(tmp_path, [row()])
    write_picture(folder / "frames" / "1.png")
    without = {name: value for name, value in row().items() if name != "image"}
    with pytest.raises(EvaluationError, match=r"has no file of MR2Bench-Video; looked for \*\*/\*video\*\.jsonl"):
        read_all(VIDEO, folder)
    _, (refused,) = read_all(VIDEO, folder / "mr2bench_image.jsonl")
    assert refused.kind == "other medium"
    assert refused.text.endswith("the row has the field image alone, and belongs to mr2bench-image")
    file = write_jsonl(folder / "Video.jsonl", [without | {"video": "frames"}, without | {"video": "none.mp4"}])
    (item,), (refused,) = read_all(VIDEO, folder)
    assert item.request.video == folder / "frames"
    assert refused.kind == "missing video"
    items, refused = read_all(IMAGE, file)
    assert not items
    assert [one.kind for one in refused] == ["other medium", "other medium"]
    named = write_jsonl(folder / "named.jsonl", [without | {"picture": "a.png"}])
    with pytest.raises(EvaluationError, match=r"'image' is missing.*give --field"):
        read_all(IMAGE, named)
    (item,), _ = read_all(IMAGE, named, {"image": "picture"})
    assert item.request.images == [folder / "a.png"]


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"rankings": [1, 2, 3]}, "ranking length"),
        ({"rankings": [0, 1, 2, 3]}, "ranking values"),
        ({"rankings": [9.5, 1, 2, 3]}, "ranking values"),
        ({"rankings": [1, 2, "3", 4]}, "ranking values"),
        ({"rankings": [1, 2, None, 4]}, "ranking values"),
        ({"rankings": [1, 1, 1, 1]}, "all tied"),
        ({"rankings": None}, "missing field"),
        ({"responses": ["a", "b", "", "d"]}, "empty response"),
        ({"responses": "abcd"}, "wrong type"),
        ({"image": "b.png"}, "missing image"),
        ({"image": None}, "missing image"),
        ({"video": "a.mp4"}, "two media"),
        ({"image": None, "video": "a.mp4"}, "other medium"),
        ({"prompt": " "}, "empty prompt"),
    ],
)
def test_a_faulty_row_is_refused_by_its_kind(tmp_path, changed, kind):
    items, (refused,) = read_all(IMAGE, folder_of(tmp_path, [row("good"), row() | changed]))
    assert len(items) == 1
    assert (refused.row, refused.kind) == (2, kind)


def test_ranks_that_are_all_tied_are_told_as_they_stand(tmp_path):
    _, (refused,) = read_all(IMAGE, folder_of(tmp_path, [row("good"), row() | {"rankings": [1, 1, 1, 1]}]))
    assert "the ranks are [1, 1, 1, 1]: no response is better than another" in refused.text
    assert "log2(place + 1)" in IMAGE.told


def test_figures_by_hand(tmp_path):
    """Best right; a tied best hit; a pair read the wrong way; and one that failed."""
    rows = [row("A", (1, 2, 3, 4)), row("B", (1, 1, 3)), row("C", (1, 2)), row("D", (2, 1))]
    items, _ = read_all(IMAGE, folder_of(tmp_path, rows))
    run = [scored(items[0], 3.0, 1.0, 2.0, 0.0), scored(items[1], 0.0, 2.0, 1.0), scored(items[2], 0.0, 1.0)]
    run.append(scored(items[3]))
    figures = IMAGE.measure(run, IMAGE.ties)
    assert figures.headline == "accuracy"
    assert figures.values["accuracy"] == 0.5
    assert figures.values["accuracy where one response is best"] == pytest.approx(1 / 3)
    assert figures.values["category/2 responses"] == 0
    # Pairs of unequal ranks: 5 of 6, 1 of 2, 0 of 1, and 1 that failed.
    assert figures.values["pairwise accuracy"] == pytest.approx(6 / 10)
    # A: 4/6. B: of 2 pairs one each way: 0. C: -1. D: 0.
    assert figures.values["Kendall tau-b"] == pytest.approx((4 / 6 + 0 - 1 + 0) / 4)
    assert figures.values["Spearman"] == pytest.approx((0.8 + 0 - 1 + 0) / 4)
    assert figures.values["MRR"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    # A: gains 3, 1, 2 at 1, 0.63093, 0.5 of at best 3, 2, 1: 4.63093 / 4.76186. B: 1.5 / 1.63093. C: 0.63093. D: 0.
    assert figures.values["NDCG"] == pytest.approx((0.97250 + 0.91972 + 0.63093) / 4, abs=1e-5)
    assert figures.counts == {
        "accuracy": 4,
        "accuracy where one response is best": 3,
        "category/2 responses": 2,
        "category/3 responses": 1,
        "category/4 responses": 1,
        "pairwise accuracy": 10,
        "Kendall tau-b": 4,
        "Spearman": 4,
        "NDCG": 4,
        "MRR": 4,
    }


def test_equal_scores_follow_the_rule(tmp_path):
    items, _ = read_all(IMAGE, folder_of(tmp_path, [row("A", (1, 2, 3, 4))]))
    run = [scored(items[0], 1.0, 1.0, 0.0, 0.0)]
    found = {ties: IMAGE.measure(run, ties).values for ties in ("wrong", "right", "share")}
    assert [found[ties]["accuracy"] for ties in found] == [0, 1, 0.5]
    assert [found[ties]["MRR"] for ties in found] == [0.5, 1, pytest.approx(2 / 3)]
    assert [found[ties]["pairwise accuracy"] for ties in found] == [pytest.approx(4 / 6), 1, pytest.approx(5 / 6)]


def test_predictions_are_the_native_rows_with_scores(tmp_path):
    items, _ = read_all(IMAGE, folder_of(tmp_path, [row("A", (1, 2)), row("B")]))
    run = [scored(items[0], 1.0, 0.5), scored(items[1])]
    assert lines_of(IMAGE.write_official(run, tmp_path / "out")) == [row("A", (1, 2)) | {"scores": [1.0, 0.5]}]
