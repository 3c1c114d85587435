"""The tables of docs/scale.md, from results whose figures are worked out by hand."""

from __future__ import annotations

import json

import pytest

from experiments.bulk.report import predicted, tables

COSTS = {
    "rows": 1000,
    "seconds": 5.0,
    "busy": 0.925,
    "core_s": {"engine": 0.006, "prepare": 0.003, "parent": 0.001},
    "bytes": {"shards": 1100.0, "results": 100.0},
    "peak_bytes": 500_000_000,
}


def test_the_model_is_of_busy_cores_until_the_process_that_writes_is_busy():
    assert predicted(COSTS) == pytest.approx(200)
    assert predicted(COSTS, cores=8) == pytest.approx(800)
    assert predicted(COSTS, cores=64) == 1000


def test_the_tables_say_rates_shares_and_memory(tmp_path):
    pool = {"actors": 2, "rows": 1000, "distinct": 1000, "failed": 0, "seconds": 10.0}
    kills = {"kills": {"all": 1, "child": 2}, "starts": 2, "seconds": 7.0, "memory": [[1.0, 2e6], [7.0, 3e6]]}
    for name, content in {"costs": COSTS, "ray-2": pool, "kills": kills}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    text = tables(tmp_path)
    assert "| costs | 6.00 | 3.00 | 1.00 | 1,100 | 100 | 500 |" in text
    assert "| costs | 1,000 | 200 | 200 | 92% | 17.3 |" in text
    assert "| 2 actors | 1,000 | 1,000 | 0 | 100 | 50% |" in text
    assert "1 of all, 2 of child; 2 starts, 7 s. Most memory by quarters of the time, MB: 2, 0, 0, 3." in text
