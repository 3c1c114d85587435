"""Rows of tables get what a plain loop over the scorer gives; each that is wrong gets its error, alone."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from yoj.integrations import RowScoring, ScoreBatch
from yoj.integrations._result_columns import COLUMNS
from yoj.runtime import Image as Picture
from yoj.runtime import Judgement, Policy, Reading, RequestError
from yoj.runtime.codec import Ignore

pytestmark = [pytest.mark.export, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs" / "ray.md"
RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A parrot and a lamp."]
NOT_IN_COLUMNS = {"batch", "timings_ms", "provenance", "id", "metadata"}
"""Fields of a judgement that are about the run, or stand in the rows."""


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 90, 200)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def judge(bundle):
    return bundle("qwen3_vl", "assistant")


@pytest.fixture(scope="module")
def score(judge):
    return ScoreBatch(judge, threads=1)


def close(found, scores):
    assert found["error"] is None
    np.testing.assert_allclose(found["scores"], scores, atol=1e-4)
    assert found["best"] == int(np.argmax(scores))


def test_rows_of_different_lengths_with_and_without_pictures(score):
    rows = [
        {"id": k, "prompt": f"Which of {k}?", "responses": RESPONSES[: 1 + k % 4], "image": png(k) if k % 3 else None}
        for k in range(12)
    ]
    found = score(pa.Table.from_pylist(rows)).to_pylist()
    for row, result in zip(rows, found, strict=True):
        images = [] if row["image"] is None else [row["image"]]
        right = score.scorer.score(row["prompt"], row["responses"], images=images)
        close(result, right.scores)
        assert (result["margin"] is None) == (len(row["responses"]) == 1)
        assert result["ranks"] == list(right.ranks)
        assert result["tokens"]["row"] == right.tokens.row
        assert {name: result[name] for name in row} == row


def test_every_field_of_a_judgement_has_a_column():
    assert {*COLUMNS} - {"error"} == {one.name for one in fields(Judgement)} - NOT_IN_COLUMNS


def test_media_as_bytes_structs_base64_and_inside_of_messages(score):
    picture, right = png(7), None
    forms = [picture, {"bytes": picture, "path": None}, base64.b64encode(picture).decode()]
    part = {"type": "image", "image": {"bytes": picture, "path": "a.png"}, "text": None}
    turns = [{"role": "user", "content": [part, {"type": "text", "text": "Which?", "image": None}]}]
    right = score.scorer.score([Picture(picture), "Which?"], RESPONSES).scores
    for form in forms:
        for image in (form, [form]):
            (found,) = score(pa.table({"prompt": ["Which?"], "responses": [RESPONSES], "image": [image]})).to_pylist()
            close(found, right)
    (found,) = score(pa.table({"messages": [turns], "responses": [RESPONSES]})).to_pylist()
    close(found, right)


def test_a_row_that_is_wrong_gets_its_error_and_the_others_their_scores(score):
    rows = [
        {"prompt": "Which?", "responses": RESPONSES, "image": None},
        {"prompt": "Which?", "responses": [], "image": None},
        {"prompt": None, "responses": RESPONSES, "image": None},
        {"prompt": "Which?", "responses": RESPONSES, "image": b"no picture"},
        {"prompt": "Which?", "responses": None, "image": None},
        {"prompt": "Which?", "responses": RESPONSES, "image": png(1)[:60]},
        {"prompt": "Which?", "responses": RESPONSES, "image": None},
    ]
    found = score(pa.Table.from_pylist(rows)).to_pylist()
    assert [one["error"] is None for one in found] == [True, False, False, False, False, False, True]
    assert all(one["scores"] is None and one["best"] is None for one in found if one["error"] is not None)
    assert "responses" in found[1]["error"]
    assert "prompt" in found[2]["error"]
    assert "image" in found[3]["error"]
    close(found[6], score.scorer.score("Which?", RESPONSES).scores)


def test_what_no_check_foresaw_becomes_the_error_of_its_row(score, monkeypatch):
    real = score.scorer.score_batch

    def failing(requests, **more):
        if any(one.id == 1 for one in requests):
            raise ZeroDivisionError("a fault")
        return real(requests, **more)

    monkeypatch.setattr(score.scorer, "score_batch", failing)
    table = pa.table({"id": [0, 1, 2], "prompt": ["Which?"] * 3, "responses": [RESPONSES] * 3})
    found = score(table).to_pylist()
    assert [one["error"] for one in found] == [None, "ZeroDivisionError: a fault", None]


def test_columns_have_the_same_types_where_all_rows_failed_and_where_there_are_none(score):
    good = pa.table({"prompt": ["Which?"], "responses": [RESPONSES]})
    bad = pa.table({"prompt": ["Which?"], "responses": pa.array([[]], pa.list_(pa.string()))})
    assert score(good).schema == score(bad).schema == score(good.slice(1)).schema
    assert pa.concat_tables([score(good), score(bad)]).num_rows == 2


def test_kept_and_renamed_columns(judge):
    table = pa.table(
        {
            "uid": ["a", "b"],
            "question": ["Which?", "What?"],
            "texts": [RESPONSES] * 2,
            "source": ["x", "y"],
            "more": [1, 2],
        }
    )
    rename = {"uid": "id", "question": "prompt", "texts": "responses"}
    score = ScoreBatch(judge, RowScoring(rename=rename, keep=["source"]), threads=1)
    found = score(table)
    assert found.column_names == ["uid", "source", *COLUMNS]
    close(found.to_pylist()[1], score.scorer.score("What?", RESPONSES).scores)


def test_settings_of_a_row_are_there_as_they_were_used(score):
    table = pa.table(
        {"prompt": ["Which?"] * 2, "responses": [RESPONSES] * 2, "orders": [None, 2], "mode": [None, "joint"]}
    )
    found = score(table)
    assert found.column_names.count("orders") == 1
    assert found["orders"].to_pylist() == [1, 2]
    assert found["mode"].to_pylist() == ["joint", "joint"]
    close(found.to_pylist()[1], score.scorer.score("Which?", RESPONSES, orders=2).scores)


def test_settings_of_the_run(judge, tmp_path):
    (tmp_path / "a.png").write_bytes(png(3))
    settings = RowScoring(Reading(Policy(tmp_path)), orders=2)
    score = ScoreBatch(judge, settings, threads=1)
    (found,) = score(pa.table({"prompt": ["Which?"], "responses": [RESPONSES], "image": ["a.png"]})).to_pylist()
    close(found, score.scorer.score("Which?", RESPONSES, images=[tmp_path / "a.png"], orders=2).scores)
    (refused,) = ScoreBatch(judge, threads=1)(
        pa.table({"prompt": ["Which?"], "responses": [RESPONSES], "image": ["a.png"]})
    ).to_pylist()
    assert "files are not read here" in refused["error"]


@pytest.mark.parametrize(
    ("more", "settings", "told"),
    [
        ({"scores": "c"}, {}, "The rows have a column 'scores', as the results do"),
        ({}, {"keep": ["uid"]}, "There is no column 'uid', which rename or keep names"),
        ({}, {"keep": ["prompt"]}, "there is no column 'id' by which a row could be found"),
        ({"q": "c"}, {"rename": {"q": "prompt"}}, "Two columns hold the field 'prompt'"),
        ({"q": "c"}, {"rename": {"q": "wanted"}}, "There is no field 'wanted' of a request"),
        ({}, {"reading": Reading(ignore=Ignore(frozenset({"responses"})))}, "There is no column 'responses'"),
    ],
)
def test_columns_that_do_not_fit(judge, more, settings, told):
    table = pa.table({name: [value] for name, value in {"prompt": "a", "responses": "b", **more}.items()})
    with pytest.raises(RequestError, match=told):
        ScoreBatch(judge, RowScoring(**settings), threads=1)(table)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["question", "responses"],
            "There is no column 'prompt' or 'messages'. The columns are 'question', 'responses'",
        ),
        (["prompt", "answers"], r"There is no column 'responses'.*rename=\{column: 'responses'\}"),
        ([], "The columns are none"),
    ],
)
def test_columns_of_no_requests(score, names, told):
    with pytest.raises(RequestError, match=told):
        score(pa.table({name: ["a"] for name in names}))


def test_a_batch_in_another_form(score):
    with pytest.raises(RequestError, match=r'A batch is a dict; give a pyarrow.Table: batch_format="pyarrow" in map_b'):
        score({"prompt": np.array(["Which?"])})


def test_it_travels_to_another_process(score):
    table = pa.table({"prompt": ["Which?"], "responses": [RESPONSES]})
    assert pickle.loads(pickle.dumps(score))(table)["scores"].to_pylist() == score(table)["scores"].to_pylist()


@pytest.mark.parametrize("library", ["datasets", "pandas"])
def test_what_the_page_says_runs(library, score, judge, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = (one for one in blocks if f"import {library}" in one or f"from {library}" in one)
    (tmp_path / "judge.yoj").symlink_to(judge)
    (tmp_path / "rows").mkdir()
    rows = pa.table({"prompt": ["Which?", "What?"], "responses": [RESPONSES, RESPONSES[:2]], "image": [png(1), None]})
    pq.write_table(rows, tmp_path / "rows" / "0.parquet")
    shown = "import json; print(json.dumps([[*map(float, scores)] for scores in scored['scores']]))"
    cache = {"HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code + shown], cwd=tmp_path, env=os.environ | cache, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    right = [score.scorer.score("Which?", RESPONSES, images=[png(1)]), score.scorer.score("What?", RESPONSES[:2])]
    for found, one in zip(json.loads(done.stdout.splitlines()[-1]), right, strict=True):
        np.testing.assert_allclose(found, one.scores, atol=1e-4)


def test_datasets_of_hugging_face(score, judge):
    dataset = datasets.Dataset.from_dict(
        {
            "prompt": ["Which?", "What?", "Which?"],
            "responses": [RESPONSES, RESPONSES[:2], []],
            "image": [png(1), png(2), None],
        },
        features=datasets.Features(
            {"prompt": datasets.Value("string"), "responses": [datasets.Value("string")], "image": datasets.Image()}
        ),
    )
    scored = (
        dataset.with_format("arrow").map(ScoreBatch(judge, threads=1), batched=True, batch_size=2).with_format(None)
    )
    assert scored[2]["error"] is not None
    for k in range(2):
        row = dataset[k]
        close(scored[k], score.scorer.score(row["prompt"], row["responses"], images=[row["image"]]).scores)
        assert isinstance(scored[k]["image"], Image.Image)


def test_frames_of_pandas(score):
    frame = pd.DataFrame(
        {"prompt": ["Which?", "What?"], "responses": [RESPONSES, []], "image": [png(1), None]}, index=[7, 8]
    )
    found = score(pa.Table.from_pandas(frame)).to_pandas()
    assert list(found.index) == [7, 8]
    np.testing.assert_allclose(
        found.scores[7], score.scorer.score("Which?", RESPONSES, images=[png(1)]).scores, atol=1e-4
    )
    assert pd.isna(found.error[7])
    assert "responses" in found.error[8]
