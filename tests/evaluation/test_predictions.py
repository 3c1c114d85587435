"""Lines of predictions survive their file, and a run that was killed while it wrote one."""

from __future__ import annotations

import pytest

from yoj.evaluation import EvaluationError
from yoj.evaluation._predictions import PassLine, Prediction, encode, read_predictions, write_predictions


def prediction(key: str, **fields) -> Prediction:
    about = {"key": key, "id": key, "group": "g", "category": "c", "ranks": (1.0, 2.0), "native": {"a": [1, None]}}
    scores = {"passes": (PassLine((1, 0), (0.1, -2.5e-9)),), "error": None, "temperature": 1.5, "calibrated": True}
    return Prediction(**about | scores | {"notices": ("n",), "milliseconds": 1.25, "frames": (32, 16)} | fields)


@pytest.mark.parametrize("key", ["a", "ä\u2028\x85\r\n\t", "x" * 1000])
def test_what_is_written_is_read(key, tmp_path):
    file = tmp_path / "predictions.jsonl"
    written = [prediction(key), prediction("b", passes=(), error="it\nfailed")]
    write_predictions(file, written)
    assert read_predictions(file) == written
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    item = written[0].scored().item
    assert (item.key, item.ranks, item.native) == (key, (1.0, 2.0), {"a": [1, None]})
    assert written[1].scored().scores is None


def test_a_half_written_last_line_is_passed_over(tmp_path):
    file = tmp_path / "predictions.jsonl"
    whole = encode(prediction("a"))
    for cut in range(1, len(whole)):
        file.write_bytes(whole + whole[:cut])
        assert [one.key for one in read_predictions(file)] == ["a"]


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "predictions.jsonl"
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_predictions(file)
    file.write_bytes(encode(prediction("a")) + b'{"key": 1}\n')
    with pytest.raises(EvaluationError, match="line 2, is no prediction"):
        read_predictions(file)
