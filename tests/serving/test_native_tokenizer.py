"""A tokenizer with a C interface, for hosts without Python; see docs/native.md."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import onnxruntime
import pytest
from recorded import MERGED

from yoj.runtime.text import TextEncoder

ROOT = Path(__file__).parents[2]
TOKENIZERS = {"molmo2": MERGED, "qwen3_vl": ROOT / "checkpoints" / "shapes-qwen3_vl"}
ALPHABET = "ab cdEFG 0189 .,!?'\n\t éüñ ½ Å 漢字 한국 عرب 😀 \u0301\u0308"
MARKS = ["<|im_end|>", "<|resp_sep|>", "<|im_start|>"]
CONFIG = {
    "model": {
        "type": "qwen2", "vocab_size": 1, "context_length": 1, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
        "decoder": {
            "filename": "none.onnx", "head_size": 1, "hidden_size": 1, "num_attention_heads": 1, "num_hidden_layers": 1,
            "num_key_value_heads": 1,
        },
    },
    "search": {},
}  # fmt: skip
"""Content of ``genai_config.json``: the library wants these fields, and uses none of them for a tokenizer."""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """ONNX Runtime GenAI's library beside a link to ONNX Runtime's, where it looks for it."""
    spec = importlib.util.find_spec("onnxruntime_genai_core")
    if spec is None:
        pytest.skip("no tokenizer with a C interface: pip install --no-deps onnxruntime-genai-core")
    (found,) = [*Path(str(spec.origin)).parent.rglob("libonnxruntime-genai.so")] or [None]
    runtime = [*Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.1.*")]
    if found is None or not runtime:
        pytest.skip("the wheels of ONNX Runtime and its GenAI have no .so here")
    folder = tmp_path_factory.mktemp("genai")
    (folder / "libonnxruntime.so").symlink_to(runtime[0])
    copy = folder / found.name
    copy.write_bytes(found.read_bytes())
    return copy


def texts() -> list[str]:
    draw = random.Random(0)
    pieces = [*ALPHABET, *MARKS]
    return ["".join(draw.choices(pieces, k=draw.randint(1, 40))) for _ in range(2000)]


@pytest.mark.slow
@pytest.mark.parametrize("family", TOKENIZERS)
def test_without_added_tokens_and_after_nfc_it_encodes_as_the_runtime(family, library, tmp_path):
    file = TOKENIZERS[family] / "tokenizer.json"
    fields = json.loads(file.read_text("utf-8"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields | {"added_tokens": []}), "utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Qwen2Tokenizer"}))
    (tmp_path / "genai_config.json").write_text(json.dumps(CONFIG))
    given = texts()
    script = [sys.executable, ROOT / "tests" / "support" / "genai_tokenizer.py", library, tmp_path]
    normalised = [unicodedata.normalize("NFC", text) for text in given]
    assert normalised != given
    done = subprocess.run(script, input=json.dumps(normalised), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = TextEncoder.open(file).encode(given)
    assert json.loads(done.stdout) == [expected[text].ids.tolist() for text in given]
