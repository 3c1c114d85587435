"""Files are added to bundles of other versions of yoj without losing what their manifests say."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import msgspec
import pytest
from quiet import Quiet

from yoj.calibration._probabilities import CalibrationJob, calibrate
from yoj.export.bundle.install import install
from yoj.export.tensorrt._compile import CompileJob, compile_bundle
from yoj.runtime import BundleError, Scorer
from yoj.runtime import manifest as m
from yoj.runtime.bundle import Bundle

OLD = Path(__file__).parents[2] / "data" / "bundles" / "molmo2-0.1"


@pytest.fixture
def old(tmp_path) -> Path:
    return shutil.copytree(OLD, tmp_path / "old.yoj")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "new" / "notes").mkdir(parents=True)
    (tmp_path / "new" / "notes" / "more.txt").write_text("more")
    return tmp_path / "new"


@pytest.fixture
def newer(old) -> Path:
    """A bundle of this schema in which a newer yoj has written fields of its own."""
    content = json.loads(m.encode(Bundle.open(old).manifest))
    content["limits"]["audio"] = 3
    content["engines"][0]["graphs"]["vision"]["tiles"] = [1]
    content["digest"] = hashlib.sha256(m.canonical(content | {"digest": ""})).hexdigest()
    (old / m.MANIFEST_NAME).write_bytes(msgspec.json.encode(content))
    return old


def content_of(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_bundle_of_an_older_schema_takes_new_files_in_the_present_one(old, folder):
    before = Bundle.open(OLD).manifest
    written = install(old, folder, lambda manifest: manifest)
    content = json.loads((old / m.MANIFEST_NAME).read_bytes())
    assert (content["schema_version"], content["min_reader"]) == (m.SCHEMA_VERSION, "0.2.0")
    assert Bundle.open(old).manifest == written
    assert written.files.keys() == before.files.keys() | {"notes/more.txt"}
    kept = {"files": before.files, "digest": before.digest}
    assert msgspec.structs.replace(written, **kept) == before
    prompt, responses = "Which?", ["one", "two words"]
    assert Scorer.load(old).score(prompt, responses).scores == Scorer.load(OLD).score(prompt, responses).scores


def test_a_bundle_with_fields_of_a_newer_yoj_takes_no_files_and_names_the_fields(newer, folder):
    before = content_of(newer)
    with pytest.raises(BundleError, match=r"limits\.audio.*Upgrade yoj") as caught:
        install(newer, folder, lambda manifest: manifest)
    assert "engines[0].graphs.vision.tiles" in str(caught.value)
    assert content_of(newer) == before


def test_no_plan_is_built_for_a_bundle_that_could_not_take_it(newer):
    with pytest.raises(BundleError, match="newer yoj"):
        compile_bundle(CompileJob(newer, "tensorrt-rtx", targets=["sm86"]), Quiet())


def test_no_ranking_is_scored_for_a_bundle_that_could_not_take_temperatures(newer, tmp_path):
    rankings = tmp_path / "rankings.jsonl"
    rankings.write_text('{"prompt": "?", "responses": ["a", "b"], "rankings": [1, 2]}\n')
    scored: list[int] = []
    with pytest.raises(BundleError, match="newer yoj"):
        calibrate(CalibrationJob(newer, rankings), lambda count, total: scored.append(count))
    assert not scored


def test_settings_of_the_family_that_only_a_newer_yoj_knows_are_kept(old, folder):
    manifest = Bundle.open(old).manifest
    changed = msgspec.structs.replace(manifest, preprocessing=manifest.preprocessing | {"sharpen": {"b": 1, "a": 0.5}})
    (old / m.MANIFEST_NAME).write_bytes(m.encode(m.seal(changed)))
    assert install(old, folder, lambda manifest: manifest).preprocessing == changed.preprocessing
    assert Bundle.open(old).manifest.preprocessing["sharpen"] == {"b": 1, "a": 0.5}
