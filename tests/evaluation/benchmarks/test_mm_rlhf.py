"""MM-RLHF RewardBench: images, folders of frames, Acc and ACC+, and the form of its own script."""

from __future__ import annotations

import pytest
from benchmark_files import lines_of, png, read_all, scored, write_jsonl, write_parquet, write_picture

from yoj.evaluation import EvaluationError
from yoj.evaluation.benchmarks._mm_rlhf import category_of, sample
from yoj.evaluation.benchmarks._table import BENCHMARKS
from yoj.runtime._clip import VideoRules
from yoj.runtime.images import ImageRules
from yoj.runtime.video import Film, load_video

BENCH = BENCHMARKS["mm-rlhf-rewardbench"]


def row(identifier, rejected="Worse.", **medium):
    return {
        "id": identifier,
        **(medium or {"image": "mcq/1.png"}),
        "prompt": "What is it?",
        "chosen": "Better.",
        "rejected": rejected,
        "chosen_reason": "",
        "rejected_reason": "",
    }


def folder_of(tmp_path, rows):
    for path in ("mcq/1.png", "long/2.png", "short/3.png", "safety/4.png", "elsewhere/5.png"):
        write_picture(tmp_path / path)
    write_jsonl(tmp_path / "mm_reward_bench.jsonl", rows)
    return tmp_path


def frames(folder, count):
    for number in range(count):
        write_picture(folder / f"frame_{number:04d}.png")
    return folder


def test_a_row_has_an_image_and_no_key_for_a_video(tmp_path):
    (item,), refused = read_all(BENCH, folder_of(tmp_path, [row("1")]))
    assert not refused
    assert item.request.images == [tmp_path / "mcq" / "1.png"]
    assert item.request.video is None
    assert item.request.responses == ["Better.", "Worse."]
    assert (item.id, item.group, item.category, item.ranks) == ("1", "1", "mcq", (1.0, 2.0))


def test_of_a_folder_of_frames_those_of_the_official_script_are_shown(tmp_path):
    """32 of 100: the whole parts of k * 99 / 31."""
    frames(tmp_path / "video" / "v-1", 100)
    (tmp_path / "video" / "v-1" / "note.txt").write_text("no frame")
    (item,), _ = read_all(BENCH, folder_of(tmp_path, [row("1", video="video/v-1")]))
    chosen = item.native["frames_shown"]
    assert chosen[:16] == [0, 3, 6, 9, 12, 15, 19, 22, 25, 28, 31, 35, 38, 41, 44, 47]
    assert chosen[16:] == [51, 54, 57, 60, 63, 67, 70, 73, 76, 79, 83, 86, 89, 92, 95, 99]
    assert [frame.name for frame in item.request.video] == [f"frame_{number:04d}.png" for number in chosen]
    assert item.request.timestamps == [4.0 * number for number in chosen]
    assert item.category == "video"


def test_a_short_folder_is_shown_whole_and_each_frame_once():
    assert sample(1) == [0]
    assert sample(5) == [0, 1, 2, 3, 4]
    assert sample(32) == list(range(32))
    assert len(sample(33)) == 32


def test_the_runtime_reads_the_frames_that_were_chosen(tmp_path):
    frames(tmp_path / "video" / "v-1", 40)
    (item,), _ = read_all(BENCH, folder_of(tmp_path, [row("1", video="video/v-1")]))
    rules = VideoRules(384, ImageRules(10**6))
    film = Film(item.request.video, item.request.fps, item.request.timestamps)
    clip = load_video(film, rules, lambda timeline: list(range(timeline.frames)))
    assert clip.seconds_F == tuple(4.0 * number for number in item.native["frames_shown"])


def test_frames_are_sorted_by_name_as_text(tmp_path):
    for number in (1, 2, 10):
        write_picture(tmp_path / "video" / "v" / f"{number}.png")
    (item,), _ = read_all(BENCH, folder_of(tmp_path, [row("1", video="video/v")]))
    assert [frame.name for frame in item.request.video] == ["1.png", "10.png", "2.png"]


def test_a_video_file_is_left_to_the_bundle(tmp_path):
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "a.mp4").write_bytes(b"not opened")
    (item,), _ = read_all(BENCH, folder_of(tmp_path, [row("1", video="video/a.mp4")]))
    assert item.request.video == tmp_path / "video" / "a.mp4"
    assert item.native["frames_shown"] is None


def test_the_table_of_the_hub_has_nulls_for_absent_keys_and_pictures_in_it(tmp_path):
    picture = {"bytes": png(), "path": "mcq/073712.png"}
    rows = [row("1", image=picture, video=None), row("1", "Wrong.", image=None, video="video/none")]
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    (item,), (refused,) = read_all(BENCH, tmp_path)
    assert item.request.images == [png()]
    assert item.category == "mcq"
    assert item.native["image"] == "mcq/073712.png"
    assert refused.kind == "missing video"


@pytest.mark.parametrize(
    ("path", "category"),
    [
        ("mcq/1.png", "mcq"),
        ("video/long-1", "long"),
        ("video/v_K", "video"),
        ("a/shortage/1.png", "short"),
        ("LONG/1.png", "other"),
    ],
)
def test_the_category_is_the_first_keyword_in_the_path(path, category):
    assert category_of(path) == category


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"image": None}, "missing image"),
        ({"image": "mcq/2.png"}, "missing image"),
        ({"image": None, "video": "video/none"}, "missing video"),
        ({"image": None, "video": "empty"}, "missing video"),
        ({"video": "video/none"}, "two media"),
        ({"image": 7}, "wrong type"),
        ({"rejected": ""}, "empty response"),
        ({"prompt": None}, "missing field"),
        ({"rejected": "Worse."}, "duplicate"),
    ],
)
def test_a_faulty_row_is_refused_by_its_kind(tmp_path, changed, kind):
    (tmp_path / "empty").mkdir()
    bad = row("1", "Worst.") | changed
    items, (refused,) = read_all(BENCH, folder_of(tmp_path, [row("1"), bad]))
    assert len(items) == 1
    assert (refused.row, refused.id, refused.kind) == (2, "1", kind)


def test_another_schema_is_refused_by_its_missing_field(tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", [{"id": "1", "query": "Q", "response": ["a", "b"]}])
    with pytest.raises(EvaluationError, match=r"'prompt' is missing.* id, query, response"):
        read_all(BENCH, file)


def test_figures_by_hand(tmp_path):
    """Pairs: a right, right; b right, wrong; c tied; d right: 4 of 6. Ids: a and d of 4."""
    long = {"image": "long/2.png"}
    rows = [row("a"), row("a", "2"), row("b"), row("b", "2"), row("c", **long), row("d", image="elsewhere/5.png")]
    items, refused = read_all(BENCH, folder_of(tmp_path, rows))
    assert not refused
    scores = [(1, 0), (2, 1), (1, 0), (), (1, 1), (1, 0)]
    run = [scored(item, *map(float, of)) for item, of in zip(items, scores, strict=True)]
    figures = BENCH.measure(run, BENCH.ties)
    assert figures.headline == "Acc"
    assert figures.values == {
        "Acc": pytest.approx(4 / 6),
        "ACC+": 0.5,
        "category/mcq": 0.75,
        "category/mcq ACC+": 0.5,
        "category/long": 0.0,
        "category/long ACC+": 0.0,
        "category/other": 1.0,
        "category/other ACC+": 1.0,
    }
    assert figures.counts["Acc"] == 6
    assert figures.counts["ACC+"] == 4
    assert figures.counts["category/mcq ACC+"] == 2
    assert BENCH.measure(run, "right").values["ACC+"] == 0.75
    assert BENCH.measure(run, "share").values["ACC+"] == 0.625


def test_predictions_are_in_the_form_of_the_official_script(tmp_path):
    items, _ = read_all(BENCH, folder_of(tmp_path, [row("a"), row("b")]))
    run = [scored(items[0], 0.5, -1.25), scored(items[1])]
    assert lines_of(BENCH.write_official(run, tmp_path / "out")) == [
        {
            "id": "a",
            "image": "mcq/1.png",
            "prompt": "What is it?",
            "chosen": "Better.",
            "rejected": "Worse.",
            "chosen_reason": "",
            "rejected_reason": "",
            "rewards": [0.5, -1.25],
        }
    ]
