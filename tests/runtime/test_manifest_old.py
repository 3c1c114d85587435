"""Bundles of every released version load for ever and give the scores that their version gave.

Runs with nothing but the runtime installed; ``make test-numpy1`` runs it with NumPy 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yoj.runtime import BundleError, Scorer
from yoj.runtime import manifest as m
from yoj.runtime.bundle import Bundle

BUNDLES = Path(__file__).parents[1] / "data" / "bundles"
NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/manifest.json"))
ALL_FIELDS = BUNDLES / "manifest-all-fields-0.1.json"
"""Written by 0.1 with every field that it knew, the optional ones too, and values that are hard to write alike."""


def recorded(name: str) -> list[dict[str, Any]]:
    return json.loads((BUNDLES / f"{name}.scores.json").read_text("utf-8"))


@pytest.fixture(scope="module", params=NAMES)
def name(request) -> str:
    return request.param


def test_there_is_a_bundle_of_each_family_of_each_version():
    assert NAMES == ["molmo2-0.1", "qwen3_vl-0.1"]


def test_an_old_bundle_is_complete_and_unchanged(name):
    path = BUNDLES / name
    manifest = Bundle.open(path).manifest
    found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert found == manifest.files.keys() | {m.MANIFEST_NAME}
    assert manifest.schema_version == m.SCHEMA_VERSION
    assert manifest.digest == json.loads((path / m.MANIFEST_NAME).read_bytes())["digest"]


@pytest.mark.slow
def test_an_old_bundle_gives_the_scores_that_its_version_gave(name):
    media = BUNDLES / "media"
    with Scorer.load(BUNDLES / name) as scorer:
        for case in recorded(name):
            given = {key: case[key] for key in ("mode", "orders", "fps") if key in case}
            if "video" in case:
                given["video"] = media / case["video"]
            images = [media / file for file in case.get("images", ())]
            judgement = scorer.score(case["prompt"], case["responses"], images=images, **given)
            np.testing.assert_allclose(judgement.scores, case["scores"], rtol=0, atol=1e-5, err_msg=case["name"])


def test_a_manifest_of_schema_1_with_every_field_is_read_whole():
    text = ALL_FIELDS.read_bytes()
    content, manifest = json.loads(text), m.decode(text, "manifest")
    assert m.unknown_fields(text, "manifest") == []
    upgraded = json.loads(m.encode(manifest))
    added = {"schema_version": m.SCHEMA_VERSION, "min_reader": "0.2.0"}
    for field in ("value_head", "preprocessing", "engines", "probabilities", "provenance", "files"):
        assert upgraded[field] == content[field]
    assert {field: upgraded[field] for field in added} == added


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", [ALL_FIELDS, *(BUNDLES / name / m.MANIFEST_NAME for name in NAMES)], ids=["all", *NAMES]
)
def test_one_changed_byte_of_an_old_manifest_is_refused(file):
    text = file.read_bytes()
    manifest = m.decode(text, "manifest")
    for place in range(0, len(text), 3):
        changed = bytearray(text)
        changed[place] ^= 1
        try:
            read = m.decode(bytes(changed), "manifest")
        except BundleError:
            continue
        assert read == manifest  # white space became other white space


def test_an_old_manifest_that_was_upgraded_can_be_written_and_read_again(name):
    manifest = m.decode((BUNDLES / name / m.MANIFEST_NAME).read_bytes(), "manifest")
    sealed = m.seal(manifest)
    assert m.decode(m.encode(sealed), "manifest") == sealed
