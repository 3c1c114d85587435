"""A few hundred mutated files of bundles and checkpoints; `tests/fuzz/files.py` runs as many as it is told to."""

from __future__ import annotations

import shutil

import files
import pytest


@pytest.fixture(autouse=True, scope="module")
def clean_up():
    yield
    shutil.rmtree(files.workplace())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "error"), [("bundles", "BundleError"), ("checkpoints", "CheckpointError")])
def test_mutated_files_end_in_scores_or_in_an_error_of_ours(kind, error):
    report = {"bundles": files.bundles, "checkpoints": files.checkpoints}[kind]().report(seed=18, count=150)
    assert not report.faults, str(report)
    # Mutations that all fail, or none, would show nothing.
    assert report.ends["answer"] > 10
    assert report.ends[error] > 50


@pytest.mark.slow
def test_every_case_is_read_before_it_is_mutated():
    for run in (files.bundles(), files.checkpoints()):
        for case, content in run.cases.items():
            assert run.take(case, content), case
