"""A dataset of Ray gets what a plain loop over the scorer gives, each row once, though processes die."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peers import ask, needs
from PIL import Image

from yoj.integrations._result_columns import COLUMNS
from yoj.runtime import Scorer

PAGE = Path(__file__).parents[2] / "docs" / "ray.md"
RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A parrot and a lamp."]
ROWS, ONCE, DEADLY, EMPTY, BROKEN = 60, 23, 41, 11, 50

pytestmark = [pytest.mark.slow, pytest.mark.export, pytest.mark.timeout(900), needs(".venv-ray")]


def png(shade):
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 90, 200)).save(stream, "PNG")
    return stream.getvalue()


def row(k):
    picture = {"bytes": png(k), "path": f"{k}.png"} if k % 3 else None
    return {
        "id": k,
        "prompt": f"Which of {k}?",
        "responses": [] if k == EMPTY else RESPONSES[: 2 + k % 3],
        "image": {"bytes": b"no picture", "path": None} if k == BROKEN else picture,
        "source": f"file {k % 2}",
    }


MIXED = [
    {"prompt": "Which?", "responses": RESPONSES, "orders": 2},
    {"prompt": [{"role": "user", "content": "Which?"}], "responses": RESPONSES[:2], "orders": None},
    {"prompt": ["Which", {"type": "text", "text": "?"}], "responses": RESPONSES[:3], "orders": None},
    {"prompt": "Which?", "responses": None, "orders": None},
]


def page():
    """Code of the page that scores a dataset of Ray, which reads ``rows/`` and writes ``scored/``."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = (one for one in blocks if "score_dataset" in one)
    return code


@pytest.fixture(scope="module")
def case(bundle, tmp_path_factory):
    """The judge, what Ray answers, the rows that it wrote, and the folder."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "rows").mkdir()
    for begin in (0, 30):
        part = pa.Table.from_pylist([row(k) for k in range(begin, begin + 30)])
        pq.write_table(part, folder / "rows" / f"{begin}.parquet", row_group_size=10)
    judge = bundle("qwen3_vl", "assistant")
    (folder / "judge.yoj").symlink_to(judge)
    asked = {"tmp": str(folder), "bundle": str(judge), "page": page(), "once": ONCE, "deadly": DEADLY, "mixed": MIXED}
    answer = ask(".venv-ray", "with_ray_data.py", asked)
    written = pa.concat_tables([pq.read_table(path) for path in sorted((folder / "scored").glob("*.parquet"))])
    return judge, answer, written, folder


@pytest.fixture(scope="module")
def plain(case):
    return Scorer.load(case[0], threads=1)


def right(plain, k):
    given = row(k)
    images = [] if given["image"] is None else [given["image"]["bytes"]]
    return plain.score(given["prompt"], given["responses"], images=images).scores


def test_every_row_is_there_once_though_processes_died(case):
    _, answer, written, folder = case
    assert sorted(written["id"].to_pylist()) == list(range(ROWS))
    assert (folder / "died once").exists()
    assert answer["remembered"] == [2]  # deaths of the row that was given up


def test_rows_have_the_scores_of_a_plain_loop(case, plain):
    scored = [one for one in case[2].to_pylist() if one["error"] is None]
    assert {one["id"] for one in scored} == {*range(ROWS)} - {EMPTY, BROKEN, DEADLY}
    for one in scored:
        np.testing.assert_allclose(one["scores"], right(plain, one["id"]), atol=1e-4)
        assert one["best"] == int(np.argmax(right(plain, one["id"])))
        assert one["source"] == row(one["id"])["source"]


def test_rows_that_are_wrong_have_their_errors(case):
    told = {one["id"]: one["error"] for one in case[2].to_pylist() if one["error"] is not None}
    assert "responses" in told[EMPTY]
    assert "image" in told[BROKEN]
    assert {*told} == {EMPTY, BROKEN, DEADLY}


def test_a_row_that_kills_who_scores_it_is_given_up(case):
    _, _, written, folder = case
    (told,) = [one["error"] for one in written.to_pylist() if one["id"] == DEADLY]
    assert told.startswith("2 processes died while they scored this row alone.")
    assert len((folder / "deaths").read_text("utf-8").splitlines()) == 3  # of its batch, then twice alone


def test_the_kept_columns_and_those_of_the_results_are_written(case):
    assert case[2].column_names == ["id", "source", *COLUMNS]


def test_a_bundle_is_copied_to_a_node_once_and_again_where_files_are_missing(case):
    *first, again = [tuple(copy) for copy in case[1]["copies"]]
    assert len({*first}) == 1
    assert again[0] > first[0][0]
    assert again[1] == first[0][1]
    names = case[1]["folder"]
    assert [name for name in names if not name.startswith("run-")] == [
        next(name for name in names if name.endswith(".yoj")),
        next(name for name in names if name.endswith(".yoj.lock")),
    ]


def test_an_engine_has_the_cores_of_its_actor(case):
    assert case[1]["threads"] == [2, False]


def test_rows_of_python_whose_prompts_have_several_forms(case, plain):
    found = case[1]["mixed"]
    assert len(found) == len(MIXED)
    for one in found:
        if one["responses"] is None:
            assert "responses" in one["error"]
            continue
        scores = plain.score("Which?", one["responses"], orders=one["orders"]).scores
        np.testing.assert_allclose(one["scores"], scores, atol=1e-4)
    assert sorted(one["orders"] for one in found if one["error"] is None) == [1, 1, 2]


def test_what_cannot_be_run_says_why(case):
    answer = case[1]
    assert "missing.yoj is not a bundle" in answer["no bundle"]
    assert answer["no column"].startswith("RequestError: There is no column 'nothing', which rename or keep names.")
    assert 'give a pyarrow.Table: batch_format="pyarrow" in map_batches' in answer["another form"]


def test_actors_that_hold_all_cores_are_warned_of(case):
    (told,) = case[1]["no room"]
    assert told.startswith("The actors hold 2 CPU cores, and the cluster has 2: tasks that read rows need one")
    assert case[1]["room"] == []
