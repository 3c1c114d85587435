"""Bundles that a stranger wrote, with hashes that fit: one `BundleError` at load, before anything is scored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from yoj.runtime import Scorer
from yoj.runtime import manifest as m
from yoj.runtime.bundle import sha256
from yoj.runtime.errors import BundleError, EngineError
from yoj.runtime.manifest import Piece


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    """A bundle that a test may damage."""
    return shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")


def reseal(path: Path, **changes) -> None:
    """Write a manifest with other values, of which every hash fits."""
    manifest = m.decode((path / m.MANIFEST_NAME).read_bytes(), "manifest")
    files = {n: m.File(bytes=(path / n).stat().st_size, sha256=sha256(path / n)) for n in manifest.files}
    changed = msgspec.structs.replace(manifest, files=files, **changes)
    (path / m.MANIFEST_NAME).write_bytes(m.encode(m.seal(changed)))


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as error:
        Scorer.load(path)
    return str(error.value)


def change_token(content: dict, name: str, **values) -> None:
    next(token for token in content["added_tokens"] if token["content"] == name).update(values)


TOKENIZERS = {
    "separator not special": (lambda c: change_token(c, "<|resp_sep|>", special=False), "<|resp_sep|> is not special"),
    "separator normalised": (lambda c: change_token(c, "<|resp_sep|>", normalized=True), "<|resp_sep|> is normalised"),
    "end of turn not special": (lambda c: change_token(c, "<|im_end|>", special=False), "<|im_end|> is not special"),
    "image patch not special": (lambda c: change_token(c, "<im_patch>", special=False), "<im_patch> is not special"),
    "id beyond the table": (lambda c: c["model"]["vocab"].update(h=10**6), "has the id 1000000"),
    "regular expression": (
        lambda c: c.update(normalizer={"type": "Replace", "pattern": {"Regex": "(("}, "content": ""}), "Oniguruma"
    ),
    "a panic of Rust": (
        lambda c: c.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "precompiled_charsmap"
    ),
    "merges at random": (lambda c: c["model"].update(dropout=0.5), "leaves out merges at random"),
    "bytes that are not there": (lambda c: c["model"].update(vocab={}, merges=[]), "of the 256 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_is_broken_or_could_be_forged_is_refused(name, copy):
    change, told = TOKENIZERS[name]
    file = copy / "tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    change(content)
    file.write_text(json.dumps(content), "utf-8")
    reseal(copy)
    assert told in refusal(copy)


MEDIA, INDEX, MEDIUM = Piece(kind="media"), Piece(kind="index"), Piece(kind="medium")


@pytest.mark.parametrize(
    ("pieces", "told"),
    [((MEDIA,), "has a piece media, which has no meaning there"), ((MEDIUM,) * 2, "shows its medium more than once")],
)
@pytest.mark.parametrize("field", ["one_image", "each_image", "video"])
def test_a_layout_that_nests_media_in_media_is_refused(field, pieces, told, copy):
    layout = m.decode((copy / m.MANIFEST_NAME).read_bytes(), "manifest").layout
    reseal(copy, layout=msgspec.structs.replace(layout, **{field: pieces}))
    assert f"layout.{field} {told}" in refusal(copy)


@pytest.mark.parametrize("piece", [INDEX, MEDIUM])
@pytest.mark.parametrize("place", ["after", "before"])
def test_a_layout_with_pieces_where_they_mean_nothing_is_refused(place, piece, copy):
    layout = m.decode((copy / m.MANIFEST_NAME).read_bytes(), "manifest").layout
    turns = layout.with_media
    changed = (piece,) if place == "after" else {**turns.before, "user": (piece,)}
    reseal(copy, layout=msgspec.structs.replace(layout, with_media=msgspec.structs.replace(turns, **{place: changed})))
    assert f"has a piece {piece.kind}, which has no meaning there" in refusal(copy)


def test_a_token_of_the_layout_that_the_tokenizer_lacks_is_refused(copy):
    layout = m.decode((copy / m.MANIFEST_NAME).read_bytes(), "manifest").layout
    turns = msgspec.structs.replace(layout.text_only, after=(Piece(kind="token", value="<|no_such|>"),))
    reseal(copy, layout=msgspec.structs.replace(layout, text_only=turns))
    assert "no token <|no_such|>" in refusal(copy)


def test_a_graph_that_takes_weights_from_another_file_is_refused(copy):
    graph = copy / "onnx" / "vision.onnx"
    (copy / "secre.bin").write_bytes((copy / "onnx" / "weights.data").read_bytes())
    content = graph.read_bytes()
    assert b"weights.data" in content
    graph.write_bytes(content.replace(b"weights.data", b"../secre.bin"))
    reseal(copy)
    with pytest.raises(EngineError, match=r"cannot load onnx/vision\.onnx: .*secre\.bin"):
        Scorer.load(copy)
