"""Two runs side by side: intervals decide, and nothing is called slower that cannot be compared."""

from __future__ import annotations

import math
import re

import bench_results as made
import msgspec
import pytest

from yoj.bench._compare import compare, regressions
from yoj.bench._results import RequestShape, Results, Time, VariantResult


def run(*variants: VariantResult, **changes) -> Results:
    return made.results(made.judge("judge", **({"sweeps": (), "starts": ()} | changes | {"variants": variants})))


def of(low: float, high: float) -> Time:
    return Time(median=(low + high) / 2, low=low, high=high, runs=21)


def row(text: str, what: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(what))
    return re.split(r" {2,}", line)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (of(10, 12), of(7, 9), "faster"),
        (of(10, 12), of(13, 15), "slower"),
        (of(10, 12), of(11, 19), "same"),
        (of(10, 12), of(12, 19), "same"),  # they touch
        (of(10, 12), of(2, 10), "same"),
        (of(10, 20), of(14, 15), "same"),
        (of(10, 12), Time(median=99.0, low=math.nan, high=math.nan, runs=1), "same"),
    ],
)
def test_intervals_decide(old, new, verdict):
    runs = [run(made.variant(made.ENGINE, 1.0, time=time)) for time in (old, new)]
    what, was, now, ratio, said = row(compare(*runs), made.ENGINE)
    assert what == f"{made.ENGINE} (float32, packed)"
    assert (was, now) == (f"{old.median:,.2f}", f"{new.median:,.2f}")
    assert (ratio, said) == (f"{new.median / old.median:.2f}", verdict)
    assert bool(regressions(*runs)) == (verdict == "slower")


def test_regressions_say_how_much():
    (line,) = regressions(run(made.variant(made.ENGINE, 100.0)), run(made.variant(made.ENGINE, 150.0)))
    said = "became slower: 100.00 ms -> 150.00 ms, 1.50 times as long"
    assert line == f"judge: {made.ENGINE} (float32, packed) {said}"


def test_a_run_against_itself_is_the_same():
    one = made.results()
    text = compare(one, one)
    assert text.startswith("The environment is the same.")
    assert "slower" not in text
    assert "faster" not in text
    assert regressions(one, one) == []


def test_scores_are_said_first_and_have_no_ratio():
    names = ("broke", "mended", "always broken")
    old = run(*(made.variant(name, 10.0, agrees=name == "broke") for name in names))
    new = run(*(made.variant(name, 1.0, agrees=name == "mended") for name in names))
    text = compare(old, msgspec.structs.replace(new, environment={}))
    assert text.splitlines()[:4] == [
        "scores",
        "  judge: broke (float32, packed) no longer agrees",
        "  judge: mended (float32, packed) agrees now",
        "",
    ]
    for name in names:
        assert row(text, name)[1:] == ["10.00", "1.00", "scores differ"]
    assert regressions(old, new) == ["judge: broke (float32, packed) no longer agrees"]


def test_what_is_new_and_disagrees_is_a_regression():
    old, new = run(), run(made.variant("wrong", 1.0, agrees=False), made.variant("right", 1.0))
    assert regressions(old, new) == ["judge: wrong (float32, packed) is new, and its scores differ"]


def test_a_lost_time_is_a_regression_and_no_win():
    lost = Time(median=math.nan, low=-math.inf, high=-math.inf, runs=0)
    runs = run(made.variant("a", 10.0)), run(made.variant("a", 10.0, time=lost))
    assert row(compare(*runs), "a (")[1:] == ["10.00", "no time", "no time"]
    assert regressions(*runs) == ["judge: a (float32, packed) has no time any more; it took 10.00 ms"]
    assert regressions(*reversed(runs)) == []


def test_other_shapes_and_models_are_not_compared():
    old = run(made.variant("a", 10.0))
    longer = RequestShape(**(msgspec.structs.asdict(made.SHAPE) | {"L": 4200}))
    new = run(made.variant("a", 99.0), shape=longer)
    text = compare(old, new)
    assert row(text, "a (")[1:] == ["10.00", "99.00", "not comparable"]
    assert "The model or the request is not the same: L 1050 -> 4200." in text
    assert regressions(old, new) == []


def test_sweep_points_are_compared():
    old = made.results()
    swept = old.judges[0].sweeps[0]
    slow = tuple(
        msgspec.structs.replace(p, time=made.time(p.time.median * (3 if p.x == 8 else 1), 0.04)) for p in swept.points
    )
    new = made.results(made.judge(sweeps=(msgspec.structs.replace(swept, points=slow),)))
    text = compare(old, new)
    assert row(text, f"N = 8: {made.ENGINE}  ")[-2:] == ["3.00", "slower"]
    assert row(text, f"N = 4: {made.ENGINE}  ")[-2:] == ["1.00", "same"]
    assert f"  old: Qwen3-VL, three layers: {made.ENGINE}, batch = 1; 2; 4" in text.splitlines()
    worse = regressions(old, new)
    assert sum("became slower" in line for line in worse) == 4
    assert sum(line.endswith("is gone") for line in worse) == len(worse) - 4 > 0


def test_runs_with_nothing_in_common_are_no_success():
    other = msgspec.structs.replace(made.judge(), model=msgspec.structs.replace(made.judge().model, name="other"))
    assert regressions(made.results(), made.results(other)) == ["nothing that was measured before was measured again"]


def test_what_is_gone_is_a_regression_without_times_too():
    start = made.judge().starts[0]
    old, lost = run(starts=(start,)), run()
    assert regressions(old, lost) == [f"judge: start of {start.bundle} ({start.precision}) is gone"]
    assert regressions(old, made.results(made.bare("other"))) == ["judge is gone"]
    assert regressions(old, old) == []


def test_what_is_not_compared_is_said():
    words = "Phases, savings, profiles and load are not compared"
    assert words in compare(made.results(), made.results())
    assert words not in compare(made.results(made.bare()), made.results())


def test_few_runs_must_differ_by_more_than_chance():
    old, judge = made.results(), made.judge()
    slower = []
    for c in judge.variants:
        late = Time(median=c.time.median * 1.08, low=c.time.high * 1.01, high=c.time.high * 1.2, runs=3)
        slower.append(msgspec.structs.replace(c, time=late))
    assert regressions(old, made.results(msgspec.structs.replace(judge, variants=tuple(slower)))) == []


def test_starts_are_shown_without_a_verdict():
    old = made.judge()
    (start,) = old.starts
    new = made.judge(starts=(msgspec.structs.replace(start, load_s=1.86, resident=4_200_000_000),))
    text = compare(made.results(old), made.results(new))
    assert row(text, "judge.yoj (float32): load s")[1:] == ["0.93", "1.86", "2.00"]
    assert row(text, "judge.yoj (float32): resident MB")[1:] == ["2,100.00", "4,200.00", "2.00"]
    assert "Each was measured once" in text
    gone = compare(made.results(old), made.results(made.judge(starts=())))
    assert "  old: Qwen3-VL, three layers: start of judge.yoj (float32)" in gone


def test_environment_and_what_is_in_one_only():
    old, new = made.results(made.bare("gone"), made.bare("both")), made.results(made.bare("both"), made.bare("new"))
    env = {key: value for key, value in old.environment.items() if key != "date"} | {"torch": "2.14.0", "commit": "ab"}
    text = compare(old, msgspec.structs.replace(new, environment=env))
    assert text.splitlines() == [
        "environment",
        "  torch: 2.13.0 -> 2.14.0",
        "  date: 2026-01-02 -> absent",
        "  commit: absent -> ab",
        "",
        "in one of the two only",
        "  old: judge gone",
        "  new: judge new",
    ]
