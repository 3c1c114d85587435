"""EditReward-Bench: both forms of its files, the tuned tie width, and groups of which all pairs must be right."""

from __future__ import annotations

import json

import pytest
from benchmark_files import png, scored, write_parquet, write_picture
from hypothesis import given
from hypothesis import strategies as st

from yoj.evaluation._errors import EvaluationError
from yoj.evaluation._items import Item, Refusal, Scored
from yoj.evaluation.benchmarks._editreward import BENCHMARK
from yoj.evaluation.benchmarks._editreward_figures import tie_width
from yoj.runtime import Image, Request

EXACT = pytest.approx
TUNED = "tie width tuned on the test set"


def pair(identifier="g1_0", dataset="2pair", ranking="A>B", compared="AvsB", **more) -> dict:
    return {
        "id": identifier,
        "dataset": dataset,
        "instruction": "Make it red.",
        "source_image": {"bytes": png("black"), "path": None},
        "candidate_1": {"bytes": png("red"), "path": "1.png"},
        "candidate_2": {"bytes": png("blue"), "path": "2.png"},
        "ranking": ranking,
        "comparison_type": compared,
        "score_1": 3.0,
        "score_2": 1.0,
        "model_1": "m",
        "model_2": "n",
    } | more


def read(folder, rows, name="2pair/train-00000-of-00001.parquet") -> list[Item | Refusal]:
    write_parquet(folder / name, rows)
    return list(BENCHMARK.read(folder, {}))


def test_a_pair_becomes_an_item_of_pictures(tmp_path):
    (item,) = read(tmp_path, [pair("g9_5", "3pair", "C>A", "AvsC")])
    assert (item.key, item.id, item.group, item.category) == ("3pair/g9_5/AvsC", "g9_5", "3pair/g9", "3pair")
    assert item.request.prompt == [Image(png("black")), "Make it red."]
    assert item.request.responses == [[Image(png("red"))], [Image(png("blue"))]]
    assert item.ranks == (2, 1)


def test_all_folders_of_the_data_set_are_read(tmp_path):
    read(tmp_path, [pair("a_1")])
    read(tmp_path, [pair("a_1", "3pair")], "3pair/train-00000-of-00001.parquet")
    items = read(tmp_path, [pair("abcdefghijkl", "4pair", "D>B", "BvsD")], "4pair/train-00000-of-00001.parquet")
    assert [item.group for item in items] == ["2pair/a_1/AvsB", "3pair/a", "4pair/abcdefghij"]


@pytest.mark.parametrize(
    ("ranking", "ranks"),
    [("A>B", (1, 2)), ("B>A", (2, 1)), ("A<B", (2, 1)), ("A=B", (1, 1)), ("A=B=Good", (1, 1)), ("A = B = Bad", (1, 1))],
)
def test_rankings_of_two(tmp_path, ranking, ranks):
    (item,) = read(tmp_path, [pair(ranking=ranking, compared=None)])
    assert item.ranks == ranks


@pytest.mark.parametrize(
    ("fields", "kind", "told"),
    [
        ({"ranking": "A>C"}, "ranking", "'A>C' does not name A, B once each"),
        ({"ranking": "A>A"}, "ranking", "'A>A'"),
        ({"ranking": "A>B=Good"}, "ranking", "'A>B=Good'"),
        ({"ranking": "A=C", "comparison_type": "AvsC", "dataset": "3pair"}, "ranking", "a tie, which only 2pair has"),
        ({"comparison_type": "A-B"}, "comparison_type", "'A-B'; it is like 'AvsB'"),
        ({"comparison_type": None, "dataset": "4pair"}, "missing field", "comparison_type is absent or null"),
        ({"dataset": "5pair"}, "category", "'5pair', which is none of 2pair, 3pair, 4pair"),
        ({"instruction": " "}, "empty prompt", "instruction is empty"),
        ({"candidate_2": None}, "missing image", "candidate_2 is absent or empty"),
        ({"source_image": {"bytes": None, "path": "gone.png"}}, "missing image", "'gone.png', which is not in"),
        ({"id": "g1_0"}, "duplicate", "row 1"),
    ],
)
def test_a_faulty_pair_is_a_refusal(tmp_path, fields, kind, told):
    _, refusal = read(tmp_path, [pair(), pair("g2_0") | fields])
    assert (refusal.row, refusal.kind) == (2, kind)
    assert told in refusal.text


def test_another_schema_is_an_error(tmp_path):
    with pytest.raises(EvaluationError, match=r"'comparison_type' is missing.*EditScore is another benchmark"):
        read(tmp_path, [{name: value for name, value in pair().items() if name != "comparison_type"}])
    (tmp_path / "copy" / "data").mkdir(parents=True)
    write_parquet(tmp_path / "copy" / "data" / "train-00000-of-00001.parquet", [pair()])
    (item,) = BENCHMARK.read(tmp_path / "copy", {})
    assert isinstance(item, Item)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match=r"\*pair/train-\*.parquet.*EditReward_Bench_\*pair.json"):
        list(BENCHMARK.read(tmp_path / "empty", {}))


def local(folder, rankings: dict[str, list[str]]) -> list[Item | Refusal]:
    """Items of the form with paths; each has its own pictures."""
    for size, own in rankings.items():
        rows = []
        for number, ranking in enumerate(own):
            paths = [f"gen/{size}_{number}_{place}.png" for place in range(int(size[0]))]
            for path in ("src.png", *paths):
                write_picture(folder / path)
            vote = {"ranking": ranking}
            rows.append({"prompt": "Redder.", "path_src": "src.png", "paths_generated": paths, "human_vote": vote})
        (folder / f"EditReward_Bench_{size}.json").write_text(json.dumps(rows), "utf-8")
    return list(BENCHMARK.read(folder, {}))


def test_a_group_of_paths_becomes_an_item(tmp_path):
    (item,) = local(tmp_path, {"3pair": ["C>A>B"]})
    assert (item.id, item.category, item.ranks) == ("3pair/1", "3pair", (2, 3, 1))
    assert item.request == Request(
        [Image(tmp_path / "src.png"), "Redder."],
        [[Image(tmp_path / "gen" / f"3pair_0_{place}.png")] for place in range(3)],
        placeholders="text",
    )
    assert item.group == item.key
    assert [one.key for one in BENCHMARK.read(tmp_path / "EditReward_Bench_3pair.json", {})] == [item.key]


@pytest.mark.parametrize(
    ("fields", "kind", "told"),
    [
        ({"human_vote": {"ranking": "A>B>D"}}, "ranking", "'A>B>D' does not name A, B, C once each"),
        ({"human_vote": {"preference": "A>B>C"}}, "ranking", "holds a text as its 'ranking'"),
        ({"human_vote": {"ranking": "A>B=C"}}, "ranking", "a tie, which only 2pair has"),
        ({"paths_generated": ["src.png"]}, "number of responses", "has 1 pictures, not 2 to 4"),
        ({"paths_generated": ["src.png", "no.png", ""]}, "missing image", "paths_generated[1] is 'no.png'"),
    ],
)
def test_a_faulty_group_is_a_refusal(tmp_path, fields, kind, told):
    local(tmp_path, {"3pair": ["C>A>B", "A>B>C"]})
    file = tmp_path / "EditReward_Bench_3pair.json"
    first, second = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps([first, second | fields]), "utf-8")
    _, refusal = BENCHMARK.read(tmp_path, {})
    assert (refusal.row, refusal.kind) == (2, kind)
    assert told in refusal.text


def twos(tmp_path) -> list[Scored]:
    rankings = ["A>B", "A>B", "B>A", "A=B", "A=B", "A>B", "A>B"]
    items = read(tmp_path, [pair(f"{number}_0", ranking=ranking) for number, ranking in enumerate(rankings)])
    scores = [(3.0, 0.0), (1.0, 0.5), (0.0, 2.0), (1.0, 2.0), (0.0, 0.0), (2.0, 2.0)]
    return [*(scored(item, *own) for item, own in zip(items[:6], scores, strict=True)), scored(items[6])]


def test_the_tie_width_is_tuned_as_the_official_script_does(tmp_path):
    items = twos(tmp_path)
    # Right of 7 at the widths 0, 0.5, 1, 2, 3: 4, 3, 4, 3, 2, so that the first of the best is 0.
    assert tie_width(items) == 0
    assert BENCHMARK.measure(items, "wrong").values == EXACT(
        {
            f"overall of 2pair alone, {TUNED}": 4 / 7,
            f"overall of 2pair alone, rankings, {TUNED}": 4 / 7,
            f"category/2pair, {TUNED}": 4 / 7,
            f"2pair, rankings, {TUNED}": 4 / 7,
            "2pair, without ties": 3 / 5,
            "2pair, tuned tie width in units of the score": 0,
        }
    )
    assert BENCHMARK.measure(items, "right").values["2pair, without ties"] == EXACT(4 / 5)
    wide = [*items[:1], *items[2:]]
    # Without the second pair: 3, 4, 3, 2 of 6 at the widths 0, 1, 2, 3.
    figures = BENCHMARK.measure(wide, "wrong")
    assert figures.values["2pair, tuned tie width in units of the score"] == 1
    assert figures.values[f"category/2pair, {TUNED}"] == EXACT(4 / 6)
    assert figures.counts["2pair, without ties"] == 4


def test_a_ranking_asks_the_width_only_where_people_saw_a_tie(tmp_path):
    items = read(tmp_path, [pair(f"{n}_0", ranking=r) for n, r in enumerate(["A=B", "A=B", "A>B", "B>A"])])
    scores = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.0), (0.0, 5.0)]
    figures = BENCHMARK.measure([scored(item, *own) for item, own in zip(items, scores, strict=True)], "wrong")
    assert figures.values[f"category/2pair, {TUNED}"] == 3 / 4
    assert figures.values[f"2pair, rankings, {TUNED}"] == 1


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "="]), st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_no_width_makes_more_pairs_right(cases):
    ranks = {"A": (1.0, 2.0), "B": (2.0, 1.0), "=": (1.0, 1.0)}
    items = [
        scored(Item(str(n), str(n), str(n), "2pair", Request("", []), ranks[said]), a, b)
        for n, (said, a, b) in enumerate(cases)
    ]

    def right(width: float) -> int:
        found = ["=" if abs(a - b) <= width else "A" if a > b else "B" for _, a, b in cases]
        return sum(said == one for (said, _, _), one in zip(cases, found, strict=True))

    tuned = tie_width(items)
    best = max(range(5), key=right)  # the smallest of the best
    assert (right(tuned), tuned) == (right(best), best)
    assert BENCHMARK.measure(items, "wrong").values[f"category/2pair, {TUNED}"] == EXACT(right(tuned) / len(cases))


def triple(prefix: str, ranking: str) -> list[dict]:
    """Pairs of a group of three."""
    said = {a + b: f"{a}>{b}" if ranking.index(a) < ranking.index(b) else f"{b}>{a}" for a, b in ("AB", "AC", "BC")}
    return [pair(f"{prefix}_{two}", "3pair", one, f"{two[0]}vs{two[1]}") for two, one in said.items()]


def test_a_group_is_right_where_all_its_pairs_are(tmp_path):
    rows = [
        *triple("g1", "ABC"),
        *triple("g2", "CAB"),
        *triple("g3", "ABC")[:2],
        *triple("g4", "ABC"),
        *triple("g5", "CBA"),
    ]
    items = read(tmp_path, rows)
    won = {"g1": "AAB", "g2": "ACC", "g3": "AA", "g4": "AAC", "g5": "BCC"}
    letters = [letter for own in won.values() for letter in own]
    votes = [
        scored(item, *((1.0, 0.0) if item.native["comparison_type"][0] == letter else (0.0, 1.0)))
        for item, letter in zip(items, letters, strict=True)
    ]
    votes[-1] = scored(items[-1])  # a pair of g5 that the judge failed on
    figures = BENCHMARK.measure(votes, "wrong")
    assert figures.headline == "overall of 3pair alone"
    assert figures.values == EXACT(
        {
            "overall of 3pair alone": 2 / 5,
            "category/3pair": 2 / 5,
            "3pair, single pairs": 12 / 14,
            "groups with all their pairs": 4 / 5,
        }
    )
    assert figures.counts["category/3pair"] == 5


def test_all_groups_weigh_alike(tmp_path):
    items = local(tmp_path, {"2pair": ["A>B", "B>A", "A=B=Good"], "3pair": ["C>A>B", "A>B>C"], "4pair": ["D>C>B>A"]})
    scores = [(2, 1), (2, 1), (1, 1), (2, 1, 3), (3, 3, 1), (1, 2, 4, 3)]
    votes = [scored(item, *map(float, own)) for item, own in zip(items, scores, strict=True)]
    figures = BENCHMARK.measure(votes, "wrong")
    assert figures.headline == f"overall, {TUNED}"
    assert figures.values == EXACT(
        {
            f"overall, {TUNED}": 3 / 6,  # (2 + 1 + 0) / (3 + 2 + 1)
            f"overall, rankings, {TUNED}": 3 / 6,
            f"category/2pair, {TUNED}": 2 / 3,
            f"2pair, rankings, {TUNED}": 2 / 3,
            "2pair, without ties": 1 / 2,
            "category/3pair": 1 / 2,
            "3pair, single pairs": 5 / 6,
            "category/4pair": 0,
            "4pair, single pairs": 5 / 6,
            "groups with all their pairs": 1,
            "2pair, tuned tie width in units of the score": 0,
        }
    )
    assert BENCHMARK.measure(votes, "right").values["category/3pair"] == 1
    assert BENCHMARK.measure(votes, "share").values["category/3pair"] == 3 / 4


def test_nothing_at_all_is_an_error():
    with pytest.raises(EvaluationError, match="no item of EditReward-Bench"):
        BENCHMARK.measure([], "wrong")


def test_pairs_are_written_as_the_official_script_keeps_them(tmp_path):
    read(tmp_path, [pair("a_1"), pair("b_1", ranking="A=B"), pair("c_1")])
    items = read(tmp_path, [pair("a_1", "3pair", "C>B", "BvsC")], "3pair/train-00000-of-00001.parquet")
    scores = [(1.0, 0.0), (2.0, 2.0), (), (3.0, 4.0)]
    votes = [scored(item, *own) for item, own in zip(items, scores, strict=True)]
    two, three = BENCHMARK.write_official(votes, tmp_path / "out")
    assert (two.name, three.name) == ("yoj_pairwise_2pair_2pair_hf.json", "yoj_pairwise_3pair_3pair_hf.json")
    results = json.loads(two.read_text("utf-8"))["results"]
    assert [one and (one["id"], one["human_vote"], one["model_vote"], one["is_correct"]) for one in results] == [
        ("a_1", "A>B", "A>B", True),
        ("b_1", "A=B", "A=B", True),
        None,
    ]
    (result,) = json.loads(three.read_text("utf-8"))["results"]
    assert (result["model_vote"], result["is_correct"], result["comparison_type"]) == ("C>B", True, "BvsC")


def test_groups_are_written_as_the_official_log(tmp_path):
    items = local(tmp_path, {"2pair": ["A=B=Bad"], "3pair": ["C>A>B"]})
    votes = [scored(items[0], 1.0, 1.0), scored(items[1], 2.0, 1.0, 3.0)]
    two, three = BENCHMARK.write_official(votes, tmp_path / "out")
    assert json.loads(two.read_text("utf-8"))[0]["strict_accuracy_correct"] is True
    assert json.loads(three.read_text("utf-8")) == [
        {
            "file_name": "3-Pair",
            "sample_index": 0,
            "prompt": "Redder.",
            "ground_truth": "C>A>B",
            "strict_accuracy_correct": True,
            "model_outputs": [
                {"path": "gen/3pair_0_0.png", "score": 2.0, "predicted_rank": 2},
                {"path": "gen/3pair_0_1.png", "score": 1.0, "predicted_rank": 3},
                {"path": "gen/3pair_0_2.png", "score": 3.0, "predicted_rank": 1},
            ],
        }
    ]
