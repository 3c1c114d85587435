"""MMRB2: both forms of its files, and judgements in both orders."""

from __future__ import annotations

import json

import pytest
from benchmark_files import png, write_parquet, write_picture

from yoj.evaluation._errors import EvaluationError
from yoj.evaluation._items import Item, Pass, Refusal, Scored
from yoj.evaluation.benchmarks._mmrb2 import BENCHMARK
from yoj.runtime import Image, Request

EXACT = pytest.approx
FORWARD, REVERSE = (0, 1), (1, 0)


def built(identifier="t1", chosen="A", **more) -> dict:
    return {
        "id": identifier,
        "prompt_content": [["text", "Draw a cat."], ["image", "input_images/x.png"]],
        "prompt_source": "blink",
        "prompt_metadata": {},
        "response_a": {"model_name": "m", "response_content": [["image", "images/a.png"]]},
        "response_b": {"model_name": "n", "response_content": [["text", "Here: "], ["image", "images/b.png"]]},
        "chosen": chosen,
        "human_annotations": [6, 6, 5],
    } | more


def folder_of(folder, **tasks: list[dict]):
    """A folder as the benchmark's scripts build it."""
    for name in ("input_images/x.png", "images/a.png", "images/b.png"):
        write_picture(folder / name)
    for task, pairs in tasks.items():
        (folder / f"{task}.json").write_text(json.dumps({"pairs": pairs}, indent=2), "utf-8")
    return folder


def read(folder, **tasks: list[dict]) -> list[Item | Refusal]:
    return list(BENCHMARK.read(folder_of(folder, **tasks), {}))


def test_a_built_pair_becomes_an_item(tmp_path):
    ratings = {"response_a_ratings": ["A", "B"], "response_b_ratings": ["C", "C"]}
    plain, reasoning = read(tmp_path, t2i=[built(chosen="B")], reasoning=[built(human_annotations=ratings)])
    assert (plain.key, plain.id, plain.group, plain.category) == ("t2i/t1", "t1", "t2i/t1", "t2i")
    assert plain.request == Request(
        ["Draw a cat.", Image(tmp_path / "input_images" / "x.png")],
        [[Image(tmp_path / "images" / "a.png")], ["Here: ", Image(tmp_path / "images" / "b.png")]],
        placeholders="text",
    )
    assert (plain.ranks, reasoning.ranks) == ((2, 1), (1, 2))
    assert plain.native["human_annotations"] == [6, 6, 5]
    assert reasoning.native == {
        "id": "t1",
        "chosen": "A",
        "model_names": ["m", "n"],
        "prompt_source": "blink",
        "human_annotations": ratings,
    }


def test_one_built_file_may_be_given_alone(tmp_path):
    folder = folder_of(tmp_path, t2i=[built()], edit=[built("e1")], t2i_response_only=[{"pair_id": "x"}])
    assert [item.key for item in BENCHMARK.read(folder, {})] == ["t2i/t1", "edit/e1"]
    assert [item.key for item in BENCHMARK.read(folder / "edit.json", {})] == ["edit/e1"]


def test_the_keys_of_the_readme_are_refused_with_the_right_ones(tmp_path):
    readme = {("pair_id" if name == "id" else name): value for name, value in built().items()}
    with pytest.raises(EvaluationError, match=r"'id' is missing.*READMEs name the keys pair_id, .*built files have id"):
        read(tmp_path, t2i=[readme])
    (refusal,) = read(tmp_path, t2i=[built(response_b={"model": "n", "response_content": [["text", "x"]]})])
    assert (refusal.kind, "response_b has no 'model_name'; it has model" in refusal.text) == ("missing field", True)


def test_what_is_no_built_file_is_an_error(tmp_path):
    (tmp_path / "t2i.json").write_text(json.dumps([built()]), "utf-8")
    with pytest.raises(EvaluationError, match="no object with a list 'pairs'"):
        list(BENCHMARK.read(tmp_path, {}))
    (tmp_path / "t2i.json").write_text("{", "utf-8")
    with pytest.raises(EvaluationError, match=r"t2i.json cannot be read as JSON"):
        list(BENCHMARK.read(tmp_path, {}))
    (tmp_path / "t2i.json").rename(tmp_path / "mine.json")
    with pytest.raises(EvaluationError, match=r"looked for \*/test-\*.parquet, .*t2i.json"):
        list(BENCHMARK.read(tmp_path, {}))
    (tmp_path / "mine.json").write_text(json.dumps({"pairs": [built()]}), "utf-8")
    with pytest.raises(EvaluationError, match=r"names none of the tasks t2i, edit.*Name it like t2i.json"):
        list(BENCHMARK.read(tmp_path / "mine.json", {}))


@pytest.mark.parametrize(
    ("fields", "kind", "told"),
    [
        ({"chosen": "C"}, "chosen", "chosen is 'C'; it is A or B"),
        ({"chosen": None}, "missing field", "chosen is absent or null"),
        ({"prompt_content": []}, "empty prompt", "a prompt has neither text nor picture"),
        ({"prompt_content": "Draw."}, "wrong type", "prompt_content is str 'Draw.'"),
        ({"prompt_content": [["video", "a.mp4"]]}, "wrong type", "prompt_content[0] is of the kind 'video'"),
        ({"prompt_content": [["text"]]}, "wrong type", "prompt_content[0] is list"),
        ({"response_a": {"model_name": "m", "response_content": [["text", " "]]}}, "empty response", "a response has"),
        (
            {"response_a": {"model_name": "m", "response_content": [["image", "images/no.png"]]}},
            "missing image",
            "response_a.response_content[0] is 'images/no.png', which is not in",
        ),
        ({"response_b": "text"}, "wrong type", "response_b is str 'text'; it holds an object"),
        ({"human_annotations": 6}, "human_annotations", "human_annotations is int 6"),
        ({"id": None}, "missing id", "id is null"),
        ({"id": "t1"}, "duplicate", "row 1"),
    ],
)
def test_a_faulty_built_pair_is_a_refusal(tmp_path, fields, kind, told):
    _, refusal = read(tmp_path, edit=[built(), built("t2") | fields])
    assert (refusal.row, refusal.kind) == (2, kind)
    assert told in refusal.text


def test_a_pair_that_is_no_object_is_a_refusal(tmp_path):
    _, refusal = read(tmp_path, edit=[built(), "t2"])
    assert (refusal.kind, "the pair is str 't2'" in refusal.text) == ("unreadable", True)


def columns(identifier="t1", chosen="a", **more) -> dict:
    return {
        "pair_id": identifier,
        "prompt_text": "Draw a cat.",
        "prompt_images": [],
        "response_a_text": "",
        "response_a_images": [{"bytes": png("red"), "path": None}],
        "response_b_text": "First <image_1> then <image_2> done",
        "response_b_images": [{"bytes": png("blue"), "path": None}, {"bytes": png("green"), "path": "c.png"}],
        "response_a_model": "m",
        "response_b_model": "n",
        "chosen": chosen,
        "prompt_source": "blink",
        "prompt_metadata": "{}",
        "human_annotations": "[1, 2, 3]",
    } | more


def read_columns(folder, *rows: dict, task="t2i") -> list[Item | Refusal]:
    write_parquet(folder / task / "test-00000-of-00001.parquet", rows)
    return list(BENCHMARK.read(folder, {}))


def test_columns_of_the_hub_become_items(tmp_path):
    read_columns(tmp_path, columns("e1"), task="edit")
    edit, item = read_columns(tmp_path, columns())
    assert (edit.key, item.key, item.ranks) == ("edit/e1", "t2i/t1", (1, 2))
    assert item.request.prompt == ["Draw a cat."]
    assert item.request.responses == [
        [Image(png("red"))],
        ["First", Image(png("blue")), "then", Image(png("green")), "done"],
    ]
    assert item.native["human_annotations"] == [1, 2, 3]
    assert [one.key for one in BENCHMARK.read(tmp_path / "edit", {})] == ["edit/e1"]


def test_pictures_without_places_stand_behind_the_text(tmp_path):
    row = columns(response_b_text=" Both. ", response_a_text=None, human_annotations="")
    (item,) = read_columns(tmp_path, row)
    assert item.request.responses[1] == ["Both.", Image(png("blue")), Image(png("green"))]
    assert item.native["human_annotations"] is None


@pytest.mark.parametrize(
    ("fields", "kind", "told"),
    [
        ({"response_b_text": "<image_1>"}, "placeholders", "places for the images [1], but the row has 2"),
        ({"response_b_text": "<image_2> <image_1>"}, "placeholders", "the images [2, 1]"),
        ({"response_b_text": "<image_2> <image_3>"}, "placeholders", "the images [2, 3]"),
        ({"prompt_text": "See <image_0>."}, "placeholders", "the images [0], but the row has 0"),
        ({"response_a_images": []}, "empty response", "neither text nor picture"),
        ({"response_a_images": [{"bytes": None, "path": None}]}, "missing image", "response_a_images[0] is absent"),
        ({"human_annotations": "[1,"}, "human_annotations", "is no JSON"),
    ],
)
def test_a_faulty_row_of_columns_is_a_refusal(tmp_path, fields, kind, told):
    _, refusal = read_columns(tmp_path, columns(), columns("t2") | fields)
    assert (refusal.row, refusal.kind) == (2, kind)
    assert told in refusal.text


def test_another_schema_of_columns_is_an_error(tmp_path):
    with pytest.raises(EvaluationError, match="'response_b_images' is missing"):
        read_columns(tmp_path, {name: value for name, value in columns().items() if name != "response_b_images"})


def scored(item: Item, *scores: tuple[float, float], orders=(REVERSE, FORWARD)) -> Scored:
    return Scored(item, tuple(Pass(order, own) for order, own in zip(orders, scores, strict=False)))


def judged(tmp_path) -> list[Scored]:
    one, two, three, four = read(tmp_path, t2i=[built(f"t{n}") for n in range(4)])
    other, failed = read(tmp_path / "more", reasoning=[built("r0", "B"), built("r1")])
    return [
        scored(one, (2.0, 1.0), (0.0, -1.0)),  # right, right
        scored(two, (1.0, 2.0), (2.0, 1.0)),  # wrong, right
        scored(three, (1.0, 2.0), (1.0, 2.0)),  # wrong, wrong
        scored(four, (1.0, 1.0), (2.0, 1.0)),  # tie, right
        scored(other, (1.0, 2.0), (1.0, 2.0), orders=(FORWARD, REVERSE)),  # right, right
        Scored(failed, error="out of memory"),
    ]


def test_judgements_of_both_orders_are_counted(tmp_path):
    items = judged(tmp_path)
    figures = BENCHMARK.measure(items, BENCHMARK.ties)
    assert figures.headline == "overall of t2i and reasoning alone"
    assert figures.values == EXACT(
        {
            "overall of t2i and reasoning alone": 6 / 12,
            "both orders right": 2 / 6,
            "category/t2i": 4 / 8,
            "category/reasoning": 2 / 4,
        }
    )
    assert figures.counts["category/t2i"] == 4
    assert BENCHMARK.measure(items, "right").values["category/t2i"] == EXACT(5 / 8)
    assert BENCHMARK.measure(items, "share").values["category/t2i"] == EXACT(4.5 / 8)
    assert BENCHMARK.measure(items, "right").values["both orders right"] == EXACT(3 / 6)


def test_all_four_tasks_make_the_overall_figure(tmp_path):
    tasks = {task: [built()] for task in ("t2i", "edit", "interleaved", "reasoning")}
    items = [scored(item, (2.0, 1.0), (2.0, 1.0)) for item in read(tmp_path, **tasks)]
    figures = BENCHMARK.measure(items, "wrong")
    assert list(figures.values) == [
        *("overall", "both orders right", "category/t2i", "category/edit", "category/interleaved"),
        "category/reasoning",
    ]
    assert figures.values["overall"] == 1


def test_one_order_is_not_enough(tmp_path):
    (item,) = read(tmp_path, t2i=[built()])
    for one in (scored(item, (1.0, 0.0)), scored(item, (1.0, 0.0), (1.0, 0.0), orders=(FORWARD, FORWARD))):
        with pytest.raises(EvaluationError, match=r"t2i/t1 was read in the orders .*Read it in 2 orders"):
            BENCHMARK.measure([one], "wrong")


def test_predictions_are_written_as_the_official_script_reads_them(tmp_path):
    first, second = BENCHMARK.write_official(judged(tmp_path), tmp_path / "out")
    assert (first.name, second.name) == ("task1_image.json", "task4_reasoning.json")

    def judgements(file) -> dict:
        found = json.loads(file.read_text("utf-8"))
        return {name: (one["forward"][0]["judgement"], one["reverse"][0]["judgement"]) for name, one in found.items()}

    # In the reverse order the first place, A, is that of response B.
    assert judgements(first) == {"t0": ("A", "B"), "t1": ("A", "A"), "t2": ("B", "A"), "t3": ("A", "tie")}
    assert judgements(second) == {"r0": ("B", "A")}
    assert json.loads(second.read_text("utf-8"))["r0"]["reverse"] == [
        {"judgement": "A", "evaluator": "yoj", "metadata": {"scores": [1.0, 2.0]}}
    ]
