"""Tables of what a bench found: what is ranked, what is not, and what stands in the README."""

from __future__ import annotations

import math
from pathlib import Path

import bench_results as made
import pytest

from yoj.bench import _tables as tables
from yoj.bench._errors import BenchError
from yoj.bench._kinds import placed
from yoj.bench._readme import BEGIN, END, all_tables, ratios, update
from yoj.bench._results import BenchModel, GraphProfile, MachineLimits, Sweep, Time, baseline, ranked

NOT_A_TIME = Time(median=math.nan, low=math.nan, high=math.nan, runs=0)
NEVER = Time(median=math.inf, low=math.inf, high=math.inf, runs=0)


def cells(table: tables.Table) -> list[dict[str, str]]:
    return [dict(zip(table.heads, row, strict=True)) for row in table.rows]


def test_variants_are_sorted_and_compared():
    rows = cells(tables.variant_table(made.judge()))
    assert [row["variant"] for row in rows] == [
        made.ENGINE_INT8,
        made.ENGINE,
        made.COMPILED,
        made.EAGER,
        f"{made.EAGER}, separate passes",
        made.BROKEN,
    ]
    assert rows[1]["ms"] == "1,200.00"
    assert rows[1]["interval"] == "1,176.00 to 1,224.00"
    assert rows[1]["times YOJO code"] == f"{1700 / 1200:.2f}"
    assert rows[1]["times best PyTorch"] == f"{1400 / 1200:.2f}"
    assert rows[1]["share of peak"] == "83.0%"
    assert rows[0]["share of peak"] == ""


def test_what_disagrees_is_never_ranked():
    row = cells(tables.variant_table(made.judge()))[-1]
    assert (row["variant"], row["times YOJO code"]) == (made.BROKEN, "scores differ, 0.2 allowed")
    assert row["times best PyTorch"] == row["share of peak"] == ""
    assert all_tables([("avx2", made.results())]).count("400.00 | scores differ") == 1


def test_reference_is_the_packed_one_and_may_be_absent():
    separate = made.variant(f"{made.EAGER}, N passes", 900.0, strategy="separate")
    both = made.judge(variants=(separate, made.variant(made.EAGER, 1700.0), made.variant(made.ENGINE, 850.0)))
    assert cells(tables.variant_table(both))[0]["times YOJO code"] == "2.00"
    none = made.judge(variants=(made.variant(made.ENGINE, 850.0),))
    (row,) = cells(tables.variant_table(none))
    assert (row["times YOJO code"], row["times best PyTorch"]) == ("", "")


@pytest.mark.parametrize("time", [NOT_A_TIME, NEVER, Time(median=-math.inf, low=0, high=0, runs=1), made.time(0.0)])
def test_what_is_no_time_never_wins(time):
    """A NaN among them must not disturb the order of the others either."""
    measured = [made.variant(made.COMPILED, 3.0), made.variant(made.ENGINE, 2.0), made.variant("yoj", 1.0)]
    judge = made.judge(variants=(measured[0], made.variant("PyTorch odd", 1.0, time=time), measured[1], measured[2]))
    assert ranked(judge) == measured[::-1]
    assert baseline(judge, measured[0]) == measured[0]
    row = cells(tables.variant_table(judge))[-1]
    assert (row["variant"], row["times YOJO code"], row["times best PyTorch"]) == ("PyTorch odd", "no time", "")
    text = tables.judge_text(judge) + all_tables([("avx2", made.results(judge))])
    assert "nan" not in text.lower().split()
    assert "inf" not in text.lower().split()


def test_those_without_a_time_stand_before_those_that_disagree():
    odd = (made.variant("a", 1.0, agrees=False, time=NOT_A_TIME), made.variant("b", 1.0, time=NOT_A_TIME))
    rows = cells(tables.variant_table(made.judge(variants=odd)))
    assert [row["times YOJO code"] for row in rows] == ["no time", "scores differ, 1e-05 allowed"]


def test_columns_are_aligned():
    text = tables.aligned([("name", "ms", "tried"), ("a long name", "1.00", ""), ("b", "12,000.00", "much")], (0, 2))
    assert text.splitlines() == [
        "name                ms  tried",
        "a long name       1.00",
        "b            12,000.00  much",
    ]
    lines = str(tables.variant_table(made.judge())).splitlines()
    assert len({line.index(" packed ") for line in lines[1:-1] if " packed " in line}) == 1


def test_control_characters_do_not_reach_the_terminal():
    judge = made.judge("evil\x1b[2J\nname\u202e", variants=(made.variant("yoj\r\x07\x9b1m", 1.0),))
    text = tables.judge_text(judge)
    assert text.startswith("evil [2J name\n")
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_empty_parts_leave_no_headings():
    text = tables.judge_text(made.bare())
    assert text.splitlines() == ["bare", tables.summary(made.bare())]
    empty = made.judge(
        variants=(),
        phases={made.EAGER: {}},
        savings=(),
        sweeps=(Sweep(name="N", points=()),),
        starts=(),
        profiles=(GraphProfile(variant=made.ENGINE, graph="scorer", costs=()),),
        load=(),
    )
    assert len(tables.judge_text(empty).splitlines()) == 2
    assert not tables.limits_table(MachineLimits(peaks=(), copied=0.0)).rows


def test_whole_judge_has_all_parts():
    judge = made.judge()
    text = tables.judge_text(judge)
    for title in ("variants", "one pass", "N varies", "batch varies", "phases", "starts", "where the", "under load"):
        assert f"\n\n{title}" in text
    assert "3 layers, D=2,560, 404.2 M parameters" in text
    (start,) = cells(tables.start_table(judge.starts))
    assert start["resident/weights"] == "1.31"
    assert [row["operator"] for row in cells(tables.profile_table(judge.profiles))] == ["MatMul", "Softmax"]
    by_n = cells(tables.sweep_table(judge.sweeps[0]))
    assert by_n[0] == {"N": "L", "1": "656", "2": "712", "4": "824", "8": "1,048", "16": "1,496", "32": "2,392"}
    assert by_n[2]["32"].endswith("(scores differ)")
    assert cells(tables.limits_table(made.results().limits))[0]["measured"] == "160.00 GFLOP/s"


def test_tables_say_what_was_run_and_on_what():
    environment = made.results().environment | {"instruction_sets": ["avx2", "fma"]}
    head, machine, line, *_ = all_tables([("avx2", made.results(environment=environment))]).split("\n\n")
    assert head == "## avx2"
    assert machine == (
        "x86_64, Some CPU, 2 cores; instruction sets: avx2, fma; python 3.11.9, torch 2.13.0, onnxruntime 1.31.1, "
        "transformers 5.23.0; 2026-01-02"
    )
    assert line == ("**Qwen3-VL, three layers**, 3 layers, D=2,560, 404.2 M parameters; L=1,050, N=8, 2 threads")
    bare = all_tables([("odd", made.results(made.bare(), environment={}))])
    assert bare == (
        "## odd\n\ninstruction sets: unknown (older results)\n\n"
        "**bare**, 3 layers, D=2,560, 404.2 M parameters; L=1,050, N=8, 2 threads"
    )


def test_ratios_are_those_to_the_best_pytorch_on_each_kind_of_cpu_and_whole_depth_stands_first():
    deep = BenchModel(name="deep", family="molmo2", parameters=1, layers=36, D=640)
    fast = made.judge(model=deep, variants=(made.variant(made.COMPILED, 600.0), made.variant("yoj", 200.0)))
    text = ratios([("avx512-vnni", made.results()), ("avx2", made.results(fast)), ("avx2", made.results(made.bare()))])
    lines = text.splitlines()
    assert [line.partition("**:")[0] for line in lines[:2]] == ["- **avx512-vnni", "- **avx2"]
    assert lines[3:] == [
        f"| CPU | model | best PyTorch, packed | yoj | {made.ENGINE} | {made.ENGINE_INT8} |",
        "| --- | --- | --- | ---: | ---: | ---: |",
        "| avx2 | molmo2, 36 layers, D=640, L=1,050, N=8 | compiled: 600.00 ms | 3.00 |  |  |",
        "| avx512-vnni | qwen3_vl, 3 layers, D=2,560, L=1,050, N=8 | compiled: 1,400.00 ms |  | "
        f"{1400 / 1200:.2f} | {1400 / 530:.2f} |",
    ]


def test_a_bundle_whose_scores_differ_has_no_ratio():
    wrong = made.judge(variants=(made.variant(made.COMPILED, 3.0), made.variant("yoj", 1.0, agrees=False)))
    assert ratios([("avx2", made.results(wrong))]).endswith("| scores differ, 1e-05 allowed |")


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        (["avx2", "fma"], "avx2"),
        (["avx2", "fma", "avx_vnni"], "avx2-vnni"),
        (["avx2", "fma", "avx512f"], "avx512"),
        (["avx2", "fma", "avx512f", "avx512_vnni"], "avx512-vnni"),
        (["avx2", "avx512f", "avx512_vnni", "amx_int8"], "amx"),
        ([], "aarch64"),
        (None, "aarch64"),
    ],
)
def test_results_stand_under_the_kind_of_their_cpu(sets, name):
    environment = {"machine": "aarch64", "instruction_sets": sets}
    assert placed(Path("results/{kind}/deep.json"), environment) == Path(f"results/{name}/deep.json")
    assert placed(Path("deep.json"), environment) == Path("deep.json")


def test_update_replaces_what_is_between_the_markers(tmp_path):
    file = tmp_path / "README.md"
    file.write_bytes(f"# yoj\r\n\r\n{BEGIN}\r\nold\r\n{END}\r\nafter\r\n".encode())
    update(file, "| new |")
    once = file.read_bytes()
    assert once == f"# yoj\r\n\r\n{BEGIN}\r\n\n| new |\n\n{END}\r\nafter\r\n".encode()
    update(file, "| new |")
    assert file.read_bytes() == once


def test_a_name_cannot_end_the_part_nor_a_cell(tmp_path):
    hostile = made.judge(f"x\n{END}\n", variants=(made.variant(f"a | b\n{BEGIN}\n<b>", 1.0),))
    file = tmp_path / "README.md"
    file.write_text(f"{BEGIN}\n{END}\n", "utf-8")
    for _ in range(2):
        update(file, all_tables([(f"x\n{END}\n", made.results(hostile))]))
    text = file.read_text("utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert "<b>" not in text
    assert "a \\| b" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing\n", f"{BEGIN} 0 times"),
        (f"{BEGIN}\n", f"{END} 0 times"),
        (f"in a sentence: {BEGIN}\n{END}\n", f"{BEGIN} 0 times"),
        (f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN} 2 times, on lines 1, 2"),
        (f"{BEGIN}\n{END}\n\n{END}\n", f"{END} 2 times, on lines 2, 4"),
        (f"{END}\n{BEGIN}\n", f"{END} on line 1, before {BEGIN} on line 2"),
    ],
)
def test_markers_must_be_there_once_and_in_order(tmp_path, text, said):
    file = tmp_path / "README.md"
    file.write_text(text, "utf-8")
    with pytest.raises(BenchError) as error:
        update(file, "")
    assert said in str(error.value)
    assert file.read_text("utf-8") == text


def test_a_missing_readme_is_said(tmp_path):
    with pytest.raises(BenchError, match="cannot be read"):
        update(tmp_path / "README.md", "")


def test_tokenising_is_part_of_packing_and_not_added_to_it():
    table = tables.phase_table({"yoj": {"pack": 1.5, "tokenise": 1.0, "scorer": 20.0}})
    assert table.heads == ("variant", "pack", "of pack: tokenise", "scorer", "sum")
    assert table.rows == (("yoj", "1.50", "1.00", "20.00", "21.50"),)
