"""A bundle is used only when it is complete and unchanged, and every refusal names the file."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import msgspec
import pytest

from yoj.runtime import Scorer
from yoj.runtime import manifest as m
from yoj.runtime._manifest_schema import schema
from yoj.runtime.bundle import WEIGHTS, Bundle, sha256
from yoj.runtime.errors import BundleError, EngineError
from yoj.runtime.version import __version__, release


@pytest.fixture(scope="module")
def original(bundle) -> Path:
    return bundle("merged", "assistant")


@pytest.fixture
def copy(original, tmp_path) -> Path:
    """A bundle that a test may damage."""
    return shutil.copytree(original, tmp_path / "judge.yoj")


def refusal(path: Path, load=Bundle.open, error=BundleError) -> str:
    with pytest.raises(error) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    return text


def reseal(path: Path, **changes) -> None:
    """Write a manifest with other values and a digest that fits them, as only a wrong exporter or an attacker would."""
    manifest = m.decode((path / m.MANIFEST_NAME).read_bytes(), "manifest")
    (path / m.MANIFEST_NAME).write_bytes(m.encode(m.seal(msgspec.structs.replace(manifest, **changes))))


def edit(path: Path, change) -> None:
    """Change the manifest's JSON and leave its digest."""
    content = json.loads((path / m.MANIFEST_NAME).read_bytes())
    change(content)
    (path / m.MANIFEST_NAME).write_text(json.dumps(content), "utf-8")


def rewrite(path: Path, change) -> None:
    """Change the manifest's JSON as a newer or a wrong exporter would write it, with a digest that fits."""
    content = json.loads((path / m.MANIFEST_NAME).read_bytes())
    change(content)
    content["digest"] = digest_of(content)
    (path / m.MANIFEST_NAME).write_text(json.dumps(content, indent=1), "utf-8")


def digest_of(content: dict) -> str:
    """By Python's own JSON."""
    text = json.dumps(content | {"digest": ""}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", ["nowhere", "x" * 300, "a/" * 3000, "org/judge:main", "https://example.org/judge"])
def test_what_is_not_there_is_said_to_be_no_bundle(name):
    with pytest.raises(BundleError, match=r"nothing of that name is here.*org/name@revision"):
        Scorer.load(name)


def test_an_unchanged_copy_is_opened_and_scores(copy):
    assert Bundle.open(copy).manifest.family == "molmo2"
    assert len(Scorer.load(str(copy)).score("Which?", ["one", "two"]).scores) == 2


def test_the_manifest_lists_every_other_file(original):
    found = {file.relative_to(original).as_posix() for file in original.rglob("*") if file.is_file()}
    assert found == set(Bundle.open(original).manifest.files) | {m.MANIFEST_NAME}


# Damage


def test_one_changed_byte_in_any_file_is_refused_and_the_file_named(copy):
    names = list(Bundle.open(copy).manifest.files)
    assert {"tokenizer.json", "onnx/weights.data", "onnx/vision.onnx", "onnx/scorer.joint.onnx"} <= set(names)
    for name in names:
        before = (copy / name).read_bytes()
        for place in (0, len(before) // 2, len(before) - 1):
            after = bytearray(before)
            after[place] ^= 1
            (copy / name).write_bytes(after)
            text = refusal(copy)
            assert f"{name}: its content changed" in text
            assert [other for other in names if f"{other}:" in text] == [name]
        (copy / name).write_bytes(before)
    Bundle.open(copy)


def change_a_byte(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("place", [0, 5000, -1])
def test_no_scorer_comes_of_weights_that_changed(place, copy):
    pickled = pickle.dumps(Scorer.load(copy))
    change_a_byte(copy / WEIGHTS, place)
    assert f"{WEIGHTS}: its content changed" in refusal(copy, Scorer.load)
    assert f"{WEIGHTS}: its content changed" in refusal(copy, lambda _: pickle.loads(pickled).score("?", ["a", "b"]))


def test_weights_alone_may_be_read_before_their_hash_is_known(copy):
    for name in Bundle.open(copy).manifest.files:
        if name != WEIGHTS:
            before = (copy / name).read_bytes()
            change_a_byte(copy / name, len(before) // 2)
            with pytest.raises(BundleError, match="its content changed"), Bundle.opening(copy):
                pytest.fail(f"{name} could be used")
            (copy / name).write_bytes(before)
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:-1])  # mapped, reading behind the end would crash
    with pytest.raises(BundleError, match="bytes instead of"), Bundle.opening(copy):
        pytest.fail("weights that are too short could be used")


def test_changed_weights_are_named_whatever_else_fails(copy):
    change_a_byte(copy / WEIGHTS, 0)
    with pytest.raises(BundleError, match=f"{WEIGHTS}: its content changed"), Bundle.opening(copy):
        raise EngineError("numbers that make no sense")


def put_in_place(new: Path, path: Path) -> None:
    """As every export does it with --force: the folder is another one afterwards."""
    path.rename(path.with_suffix(".old"))
    shutil.copytree(new, path)
    shutil.rmtree(path.with_suffix(".old"))


@pytest.mark.parametrize("when", ["before the first score", "after it"])
def test_a_scorer_keeps_the_bundle_that_it_opened(when, copy, bundle):
    """Also for the mode whose graph is opened later: never one bundle's graph beside another's weights."""
    kept, live = Scorer.load(bundle("merged", "assistant")), Scorer.load(copy)
    if when == "after it":
        live.score("Which?", ["one", "two"])
    put_in_place(bundle("adapter", "assistant"), copy)
    for mode in ("isolated", "joint"):
        expected = kept.score("Which?", ["one", "two"], mode=mode)
        found = live.score("Which?", ["one", "two"], mode=mode)
        assert (found.scores, found.provenance) == (expected.scores, expected.provenance)
    assert Scorer.load(copy).score("Which?", ["one", "two"]).scores != expected.scores


@pytest.mark.parametrize("name", [WEIGHTS, "onnx/scorer.segmented.onnx"])
def test_a_bundle_that_is_written_into_while_it_is_open_is_refused(name, copy):
    """Copied over in place: what is mapped changes under the scorer."""
    scorer = Scorer.load(copy)
    scorer.score("Which?", ["one", "two"])
    os.utime(copy / name, ns=(0, 0))  # a clock tick may be as long as a test
    change_a_byte(copy / name, 5000)
    for mode in ("joint", "isolated"):
        with pytest.raises(BundleError, match=f"{name} was written into while the bundle was open.*Load it again"):
            scorer.score("Which?", ["one", "two"], mode=mode)


@pytest.mark.parametrize("flip", [0x01, 0x08, 0x20, 0x80])
def test_one_changed_byte_anywhere_in_the_manifest_is_refused(flip, original):
    text = (original / m.MANIFEST_NAME).read_bytes()
    manifest = m.decode(text, "there/manifest.json")
    for place in range(len(text)):
        changed = bytearray(text)
        changed[place] ^= flip
        try:
            read = m.decode(bytes(changed), "there/manifest.json")
        except BundleError as error:
            outcome = str(error)
        else:
            # White space may become other white space; then nothing has changed.
            outcome = "there/manifest.json reads the same" if read == manifest else "another manifest"
        assert "there/manifest.json" in outcome


def test_a_manifest_cut_at_any_byte_is_refused(original):
    text = (original / m.MANIFEST_NAME).read_bytes().rstrip()
    for length in range(len(text)):
        with pytest.raises(BundleError, match=r"there/manifest\.json is damaged"):
            m.decode(text[:length], "there/manifest.json")


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b"PK\x03\x04"])
def test_a_manifest_that_is_something_else_is_refused(text, copy):
    (copy / m.MANIFEST_NAME).write_bytes(text)
    assert "manifest.json is damaged" in refusal(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["limits"].update(L=10**9),
        lambda content: content["probabilities"].update(temperature=0.5, calibrated=True),
        lambda content: content["layout"].update(separator_id=5),
        lambda content: content["preprocessing"].update(max_crops=1),
        lambda content: content["value_head"].update(readout="first"),
        lambda content: content["engines"][0].update(precision="float16"),
        lambda content: content["files"].pop("onnx/weights.data"),
        lambda content: content["files"]["onnx/weights.data"].update(sha256="0" * 64),
        lambda content: content.update(digest=""),
    ],
)
def test_a_changed_value_in_the_manifest_is_refused(change, copy):
    edit(copy, change)
    text = refusal(copy)
    assert "manifest.json" in text
    assert "changed" in text


def test_a_missing_file_is_refused_and_named(copy):
    (copy / "onnx" / "weights.data").unlink()
    assert "onnx/weights.data: missing" in refusal(copy)


def test_a_file_cut_short_is_refused_with_both_sizes(copy):
    weights = copy / "onnx" / "weights.data"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-100])
    assert f"onnx/weights.data: {size - 100} bytes instead of {size}" in refusal(copy)


def test_all_damaged_files_are_named_at_once(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "onnx" / "vision.onnx").write_bytes(b"")
    (copy / "README.md").write_text("Trust me.")
    text = refusal(copy)
    assert all(name in text for name in ("tokenizer.json", "onnx/vision.onnx", "README.md"))
    assert "weights.data" not in text


def test_a_folder_in_place_of_a_file_is_refused(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer.json").mkdir()
    assert "tokenizer.json: missing" in refusal(copy)


def test_loading_checks_the_files_too(copy):
    weights = copy / "onnx" / "weights.data"
    weights.write_bytes(weights.read_bytes()[::-1])
    assert "onnx/weights.data" in refusal(copy, Scorer.load)


# Another schema, another reader


def test_a_newer_schema_version_asks_for_a_newer_yoj_and_names_both_versions(copy):
    edit(copy, lambda content: content.update(schema_version=m.SCHEMA_VERSION + 1, something_new={"a": 1}))
    text = refusal(copy)
    assert f"schema version {m.SCHEMA_VERSION + 1}" in text
    assert f"reads up to {m.SCHEMA_VERSION}: upgrade yoj" in text


def test_a_bundle_for_a_newer_reader_asks_for_it_and_names_both_versions(copy):
    rewrite(copy, lambda content: content.update(min_reader="12.3.4", something_new={"a": 1}))
    assert f"needs yoj >= 12.3.4, this is yoj {__version__}: upgrade yoj" in refusal(copy)


@pytest.mark.parametrize("least", ["0.0.1", "0.1.99", m.MIN_READER, __version__])
def test_a_bundle_for_this_reader_or_an_older_one_is_opened(least, copy):
    rewrite(copy, lambda content: content.update(min_reader=least))
    assert Bundle.open(copy).manifest.min_reader == least


@pytest.mark.parametrize("least", ["", "1", "1.2", "soon", 1, None, ["0.2.0"]])
def test_a_least_reader_that_is_no_version_is_refused(least, copy):
    rewrite(copy, lambda content: content.update(min_reader=least))
    assert "manifest.json is damaged: `min_reader`" in refusal(copy)


def test_a_manifest_without_a_least_reader_is_refused(copy):
    rewrite(copy, lambda content: content.pop("min_reader"))
    assert "manifest.json is damaged: `min_reader`" in refusal(copy)


def test_what_is_written_needs_no_newer_reader_than_this_one(original):
    assert Bundle.open(original).manifest.min_reader == m.MIN_READER
    assert release(m.MIN_READER) <= release(__version__)


@pytest.mark.parametrize("version", [0, -1, "1", None, True, 1.5])
def test_a_schema_version_that_never_was_is_refused(version, copy):
    edit(copy, lambda content: content.update(schema_version=version))
    text = refusal(copy)
    assert "manifest.json is damaged" in text
    assert "schema_version" in text or "schema version" in text


def graph_of(content: dict) -> dict:
    return content["engines"][0]["graphs"]["scorer.joint"]


UNKNOWN = {
    "": lambda content: content,
    "layout.": lambda content: content["layout"],
    "layout.text_only.": lambda content: content["layout"]["text_only"],
    "layout.text_only.before.user[0].": lambda content: content["layout"]["text_only"]["before"]["user"][0],
    "value_head.": lambda content: content["value_head"],
    "limits.": lambda content: content["limits"],
    "preprocessing.": lambda content: content["preprocessing"],
    "engines[0].": lambda content: content["engines"][0],
    "engines[0].graphs.scorer.joint.": graph_of,
    "engines[0].graphs.scorer.joint.inputs[0].": lambda content: graph_of(content)["inputs"][0],
    "probabilities.": lambda content: content["probabilities"],
    "provenance.": lambda content: content["provenance"],
    "files.tokenizer.json.": lambda content: content["files"]["tokenizer.json"],
}
"""Places where a newer yoj may write an optional field, by the beginning of the field's name."""


@pytest.mark.parametrize("place", UNKNOWN)
def test_an_unknown_optional_field_is_left_alone_and_covered_by_the_digest(place, copy, original):
    rewrite(copy, lambda content: UNKNOWN[place](content).update(surprise={"b": [1, None], "a": "ü"}))
    before, after = Bundle.open(original).manifest, Bundle.open(copy).manifest
    changed = {"digest": after.digest, "preprocessing": after.preprocessing}
    assert after == msgspec.structs.replace(before, **changed)
    edit(copy, lambda content: UNKNOWN[place](content).update(surprise={"b": [1, 0], "a": "ü"}))
    assert "changed" in refusal(copy)


@pytest.mark.parametrize("place", UNKNOWN)
def test_unknown_fields_that_a_rewriting_would_lose_are_named(place, copy):
    rewrite(copy, lambda content: UNKNOWN[place](content).update(surprise=1))
    text = (copy / m.MANIFEST_NAME).read_bytes()
    named = [] if place == "preprocessing." else [f"{place}surprise"]  # a map keeps all that is in it
    assert m.unknown_fields(text, "manifest") == named


def test_a_default_that_is_written_out_is_no_unknown_field(copy):
    rewrite(copy, lambda content: content["value_head"].update(outputs=1))
    assert m.unknown_fields((copy / m.MANIFEST_NAME).read_bytes(), "manifest") == []


def test_a_bundle_with_unknown_fields_everywhere_scores_as_before(copy, original):
    def change(content):
        for place in UNKNOWN.values():
            place(content)["surprise"] = 1

    rewrite(copy, change)
    prompt, responses = "Which?", ["one", "two words"]
    assert Scorer.load(copy).score(prompt, responses).scores == Scorer.load(original).score(prompt, responses).scores


def test_the_digest_is_that_of_the_sorted_json(original):
    content = json.loads((original / m.MANIFEST_NAME).read_bytes())
    assert content["digest"] == digest_of(content)


def test_the_order_of_fields_and_white_space_do_not_matter(copy, original):
    content = json.loads((copy / m.MANIFEST_NAME).read_bytes())
    (copy / m.MANIFEST_NAME).write_text(json.dumps(content, sort_keys=True), "utf-8")
    assert Bundle.open(copy).manifest == Bundle.open(original).manifest


def test_a_missing_field_is_refused_and_named(copy):
    rewrite(copy, lambda content: content.pop("limits"))
    assert "manifest.json is damaged: Object missing required field `limits`" in refusal(copy)


def test_a_missing_digest_is_refused_and_named(copy):
    edit(copy, lambda content: content.pop("digest"))
    assert "manifest.json is damaged: it has no field `digest`" in refusal(copy)


def test_a_value_of_the_wrong_type_is_refused_and_its_place_named(copy):
    rewrite(copy, lambda content: content["limits"].update(N="many"))
    assert "limits.N" in refusal(copy)


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, "1e999", str(2**70)])
def test_a_value_that_nothing_can_hold_is_refused(value, copy):
    text = (copy / m.MANIFEST_NAME).read_text("utf-8")
    (copy / m.MANIFEST_NAME).write_text(text.replace('"limits": {', '"surprise": ' + value + ', "limits": {'), "utf-8")
    assert "manifest.json" in refusal(copy)


def test_the_manifest_reads_back_as_it_was_written(original):
    text = (original / m.MANIFEST_NAME).read_bytes()
    manifest = m.decode(text, "manifest")
    assert m.encode(manifest) == text
    assert m.seal(manifest) == manifest


def test_the_published_schema_is_that_of_the_structs():
    published = Path(m.__file__).with_name("manifest.schema.json").read_bytes()
    assert json.loads(published) == json.loads(schema())


# No bundle


@pytest.mark.parametrize("make", ["nothing", "empty folder", "file", "folder named manifest.json"])
def test_what_is_no_bundle_is_refused_and_told_how_to_make_one(make, tmp_path):
    path = tmp_path / "judge.yoj"
    if make == "file":
        path.write_text("{}")
    elif make != "nothing":
        (path / (m.MANIFEST_NAME if make.startswith("folder") else "")).mkdir(parents=True)
    text = refusal(path)
    assert "not a bundle" in text
    assert "yoj-export" in text


# A manifest that fits its digest and still cannot be trusted


def listed(file: Path) -> m.File:
    return m.File(bytes=file.stat().st_size, sha256=sha256(file))


def test_a_path_that_leaves_the_bundle_is_refused(copy, tmp_path):
    outside = tmp_path / "outside.data"
    outside.write_text("secret")
    files = Bundle.open(copy).manifest.files
    for name in ("../outside.data", "onnx/../../outside.data", str(outside)):
        reseal(copy, files=files | {name: listed(outside)})
        assert f"{name}: a path that leaves the bundle" in refusal(copy)


def with_graph(original: Path, role: str, file: str) -> tuple[m.EngineEntry, ...]:
    (engine,) = Bundle.open(original).manifest.engines
    graph = msgspec.structs.replace(engine.graphs[role], file=file)
    return (msgspec.structs.replace(engine, graphs=engine.graphs | {role: graph}),)


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_a_graph_whose_hash_the_manifest_does_not_give_is_never_loaded(place, copy, original):
    unlisted = copy / "onnx" / "other.onnx" if place == "inside" else copy.parent / "other.onnx"
    shutil.copy(copy / "onnx" / "vision.onnx", unlisted)
    name = "onnx/other.onnx" if place == "inside" else "../other.onnx"
    reseal(copy, engines=with_graph(original, "vision", name))
    assert name in refusal(copy, Scorer.load)


def test_a_tokenizer_whose_hash_the_manifest_does_not_give_is_never_loaded(copy):
    files = dict(Bundle.open(copy).manifest.files)
    del files["tokenizer.json"]
    reseal(copy, files=files)
    assert "tokenizer.json" in refusal(copy, Scorer.load)


def test_an_unknown_family_is_refused_and_the_known_ones_listed(copy):
    reseal(copy, family="llava")
    text = refusal(copy, Scorer.load)
    assert "llava" in text
    assert "molmo2" in text


def test_settings_of_the_family_that_do_not_fit_are_refused(copy):
    reseal(copy, preprocessing=Bundle.open(copy).manifest.preprocessing | {"crop_size": "large"})
    assert "crop_size" in refusal(copy, Scorer.load)


def test_an_engine_without_a_graph_that_it_needs_is_refused(copy):
    (engine,) = Bundle.open(copy).manifest.engines
    graphs = {"vision": engine.graphs["vision"]}
    reseal(copy, engines=(msgspec.structs.replace(engine, graphs=graphs),))
    assert "scorer.joint" in refusal(copy, Scorer.load)


# Engines


@pytest.mark.parametrize(
    "wanted", [{"engine": "tensorrt"}, {"precision": "int8"}, {"engine": "onnxruntime", "precision": "float16"}]
)
def test_an_engine_that_the_bundle_lacks_is_refused_and_what_is_there_listed(wanted, original):
    with pytest.raises(EngineError) as caught:
        Scorer.load(original, **wanted)
    text = str(caught.value)
    assert all(value in text for value in wanted.values())
    assert "holds: onnxruntime float32" in text


@pytest.mark.parametrize("wanted", [{}, {"engine": "onnxruntime"}, {"precision": "float32"}])
def test_an_engine_that_the_bundle_holds_is_found_by_name_precision_or_neither(wanted, original):
    engine = Bundle.open(original).engine(**wanted)
    assert (engine.engine, engine.precision) == ("onnxruntime", "float32")


def test_an_engine_that_this_version_cannot_run_is_refused(copy):
    (engine,) = Bundle.open(copy).manifest.engines
    reseal(copy, engines=(msgspec.structs.replace(engine, engine="quantum"),))
    text = refusal(copy, Scorer.load, EngineError)
    assert "quantum" in text
    assert "onnxruntime" in text


def test_a_listed_file_that_is_no_graph_is_refused_and_named(copy):
    (copy / "onnx" / "vision.onnx").write_bytes(b"not a graph")
    reseal(copy, files=files_now(copy))
    with pytest.raises(EngineError, match=r"onnx/vision\.onnx"):
        Scorer.load(copy)


def files_now(path: Path) -> dict[str, m.File]:
    manifest = m.decode((path / m.MANIFEST_NAME).read_bytes(), "manifest")
    return {name: listed(path / name) for name in manifest.files}


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content" * 100_000)
    assert sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()
