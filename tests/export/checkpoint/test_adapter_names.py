"""Adapters on what only one of the backbones has, and bases that adapters cannot be merged into."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from adapters import ATTENTION, TRAINING, Base, assert_state, change, make_base, opened, refusal, stock_merge, train
from peft import PeftModel
from quiet import Quiet
from safetensors.torch import load_file, save_file

from yoj.export._errors import CheckpointError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.checkpoint.adapter_names import BaseNames
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.checkpoint.weights import read_folder
from yoj.export.verification.stock_model import read_out
from yoj.runtime import Request, Scorer

pytestmark = [pytest.mark.parity, pytest.mark.slow]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Base:
    return make_base("qwen3_vl", tmp_path_factory.mktemp("qwen3_vl") / "base")


@pytest.fixture(scope="module")
def molmo2(tmp_path_factory) -> Base:
    return make_base("molmo2", tmp_path_factory.mktemp("molmo2") / "base")


QWEN_CONFIGS = {
    "the convolution, by a suffix": {"target_modules": ["proj"]},
    "DoRA of the convolution": {"target_modules": ["proj", "qkv"], "use_dora": True},
    "the convolution and its bias": {"target_modules": ["proj"], "lora_bias": True},
    "the projector": {"target_modules": ATTENTION, "modules_to_save": ["merger"]},
    "the whole tower": {"target_modules": ATTENTION, "modules_to_save": ["visual"]},
    "tables of positions": {"target_modules": ["pos_embed", *ATTENTION]},
    "several parameters, of unlike alpha": {
        "target_modules": [],
        "target_parameters": ["v_proj.weight", "k_proj.weight", "down_proj.weight"],
        "alpha_pattern": {"v_proj.weight": 60, "down_proj": 30},
        "rank_pattern": {"k_proj.weight": 2},
    },
    "an alpha of zero": {"target_modules": ATTENTION, "alpha_pattern": {"q_proj": 0}},
    "one layer": {"target_modules": ATTENTION, "layers_to_transform": [1], "layers_pattern": "layers"},
    "without a layer": {"target_modules": "all-linear", "exclude_modules": r".*visual.*"},
}


@pytest.mark.parametrize("config", QWEN_CONFIGS.values(), ids=QWEN_CONFIGS)
def test_modules_of_qwen3_vl(config, qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", **config)
    assert_state(qwen, opened(qwen, adapter), stock_merge(qwen, adapter))


MOLMO2_CONFIGS = {
    "a parameter that is no weight": {"target_modules": [], "target_parameters": ["vision_tower.positional_embedding"]},
    "the projector": {"target_modules": ATTENTION, "modules_to_save": ["image_projector", "image_pooling_2d"]},
    "the whole tower": {"target_modules": ATTENTION, "modules_to_save": ["vision_tower"]},
    "halves of fused matrices, of unlike rank": {
        "target_modules": ["gate_proj", "up_proj", "k_proj"],
        "rank_pattern": {"up_proj": 3, "k_proj": 1},
        "use_dora": True,
    },
    "the matrices of a layer, whole": {
        "target_modules": ["o_proj"],
        "modules_to_save": ["layers.1.self_attn", "up_proj"],
    },
}


@pytest.mark.parametrize("config", MOLMO2_CONFIGS.values(), ids=MOLMO2_CONFIGS)
def test_modules_of_molmo2(config, molmo2, tmp_path):
    adapter = train(molmo2, tmp_path / "adapter", **config)
    assert_state(molmo2, opened(molmo2, adapter), stock_merge(molmo2, adapter))


def test_every_name_of_molmo2_in_transformers_is_found_where_transformers_finds_it(molmo2):
    """Rows of the released file, put together, are the tensor that stock transformers loads under that name."""
    stored, config = read_folder(molmo2.folder), json.loads((molmo2.folder / "config.json").read_text())
    names = BaseNames({name: tensor.shape for name, tensor in stored.items()}, config)
    for name, expected in molmo2.stock.state_dict().items():
        pieces = names.find(name)
        assert pieces, name
        rows = torch.cat([stored[piece.name].rows(piece.start, piece.stop) for piece in pieces])
        assert torch.equal(rows, expected), name


@pytest.mark.parametrize(
    "config", [{"target_modules": [*ATTENTION, "embed_tokens"]}, {"modules_to_save": ["embed_tokens"]}]
)
def test_tied_tables_that_are_trained_as_one(config, qwen, tmp_path):
    """The table is what the trained model looks up; PEFT's merge adds LoRA of a tied table to it twice."""
    adapter = train(qwen, tmp_path / "adapter", **{"target_modules": ATTENTION, "ensure_weight_tying": True} | config)
    trained = PeftModel.from_pretrained(qwen.load(), adapter)
    with torch.no_grad():
        table = trained.get_input_embeddings()(torch.arange(990))
    expected = stock_merge(qwen, adapter) | {"language_model.embed_tokens.weight": table}
    assert_state(qwen, opened(qwen, adapter), expected)


@pytest.mark.parametrize(
    "config", [{"target_modules": [*ATTENTION, "embed_tokens"]}, {"trainable_token_indices": [1095, 2]}]
)
def test_tables_that_were_resized_and_trained_by_one_adapter(config, qwen, tmp_path):
    def longer(model):
        torch.manual_seed(3)
        model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
        model.resize_token_embeddings(1100, mean_resizing=False)

    given = {"target_modules": ATTENTION, "save": {"save_embedding_layers": True}} | config
    adapter = train(qwen, tmp_path / "adapter", edit=longer, **given)
    held = load_file(adapter / "adapter_model.safetensors")
    assert any(tensor.shape == (1100, 64) for tensor in held.values())
    assert_state(qwen, opened(qwen, adapter), stock_merge(qwen, adapter, edit=longer))


@pytest.mark.parametrize("name", ["rank_pattern", "alpha_pattern"])
def test_an_expression_whose_matching_does_not_end_is_refused(name, qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=ATTENTION)
    for expression in ("(([a-z_0-9.]+)+)+!", "(a|a)*b", r"(\w+\.)*x!", "a" * 300):
        change(adapter / "adapter_config.json", **{name: {expression: 2}})
        assert f"{name} has {expression!r}, which may never end" in refusal(qwen, adapter)


@pytest.mark.parametrize("indices", [[5, 990], [5, -1], [5, 5], "all", [5]])
def test_rows_that_are_none_of_the_table_are_refused(indices, qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=ATTENTION, trainable_token_indices=[4, 5])
    change(adapter / "adapter_config.json", trainable_token_indices=indices)
    text = refusal(qwen, adapter)
    assert "trainable_tokens_delta: (2, 64) for a table (990, 64)" in text


def test_a_part_that_the_settings_name_and_the_file_lacks_is_told(qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=ATTENTION, modules_to_save=["merger"])
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({n: t for n, t in tensors.items() if "merger" not in n}, file)
    assert "modules_to_save names merger, but none of its tensors is there" in refusal(qwen, adapter)
    save_file({n: t for n, t in tensors.items() if "layers.1.self_attn.v_proj" not in n}, file)
    assert "layers.1.self_attn.v_proj.weight: no LoRA pair" in refusal(qwen, adapter)


@pytest.mark.parametrize("indices", [[4, 5], {"embed_tokens": [4, 5]}])
def test_rows_that_the_settings_name_and_the_file_lacks_are_told(indices, qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=ATTENTION)
    change(adapter / "adapter_config.json", trainable_token_indices=indices)
    assert "names embed_tokens, but its trainable_tokens_delta is not there" in refusal(qwen, adapter)


def test_biases_that_were_not_saved_are_said(qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=["qkv"])
    change(adapter / "adapter_config.json", bias="lora_only")
    checkpoint = opened(qwen, adapter)
    assert "bias is 'lora_only', but 2 are not in the file" in checkpoint.notes[0]
    assert_state(qwen, checkpoint, stock_merge(qwen, adapter))


@pytest.mark.parametrize("prefix", ["module.base_model.model.model.", "base_model.model."])
def test_a_tensor_under_two_names_is_refused(prefix, qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=ATTENTION, modules_to_save=["norm"])
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    first = {n: t for n, t in tensors.items() if "layers.0.self_attn.q_proj" in n or n.endswith("norm.weight")}
    second = {prefix + n.removeprefix("base_model.model.model."): t + 1 for n, t in first.items()}
    save_file(tensors | second, file)
    text = refusal(qwen, adapter)
    assert "the same" in text


def test_a_lost_layer_of_a_text_model_is_told(molmo2, tmp_path):
    adapter = train(molmo2, tmp_path / "adapter", part="model.language_model", target_modules=["o_proj"])
    file = adapter / "adapter_model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "layers.1." not in n}, file)
    assert "layers.1.self_attn.o_proj.weight: no LoRA pair" in refusal(molmo2, adapter)


@pytest.mark.thorough
@pytest.mark.export
@pytest.mark.slow
def test_an_export_says_what_it_left_out_and_scores_as_the_trained_model(qwen, tmp_path):
    """DoRA, a whole norm and a head of the language model, from the command's own build to scores."""
    config = {"target_modules": [*ATTENTION, "lm_head"], "use_dora": True, "modules_to_save": ["norm"]}
    adapter = train(qwen, tmp_path / "adapter", **config)
    said: list[str] = []
    progress = Quiet()
    progress.note = said.append
    recipe = ExportConfig([adapter], qwen.folder, "assistant", tmp_path / "judge.yoj", training=TRAINING, compare=False)
    build(recipe, progress)
    assert any("lm_head (" in line and "no score needs it" in line for line in said)
    trained = PeftModel.from_pretrained(qwen.load(), adapter).base_model.model.model
    scorer = Scorer.load(tmp_path / "judge.yoj")
    prepared = scorer.prepare(Request("Which?", ["a cat", "two dogs on a car", "red"]))
    (pack,) = prepared.packs
    ids = torch.from_numpy(pack.input_ids_L).long()[None]
    with torch.no_grad():
        hidden_LD = trained(input_ids=ids, mm_token_type_ids=torch.zeros_like(ids)).last_hidden_state[0]
        head = opened(qwen, adapter).head
        rows_ND = read_out(head.readout, hidden_LD, pack.response_start_N, pack.response_end_N)
        expected_N = head.module()(rows_ND)[:, 0] / math.sqrt(hidden_LD.shape[-1])
    torch.testing.assert_close(torch.tensor(scorer.score_prepared([prepared])[0].scores), expected_N, rtol=0, atol=1e-5)


# Quantised bases.

QUANTISED = {
    "fp8": (torch.float8_e4m3fn, "Judge-4B-FP8", "Judge-4B"),
    "bitsandbytes": (torch.uint8, "lab/Judge-4B-Instruct-unsloth-bnb-4bit", "Judge-4B-Instruct"),
    "gptq": (torch.int32, "Judge-8B-GPTQ-Int4", "Judge-8B"),
}


@pytest.mark.parametrize(("dtype", "name", "original"), QUANTISED.values(), ids=QUANTISED)
def test_a_quantised_base_names_the_one_to_take(dtype, name, original, qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=ATTENTION)
    quantised = shutil.copytree(qwen.folder, tmp_path / "quantised")
    tensors = load_file(quantised / "model.safetensors")
    for tensor in [n for n in tensors if n.endswith("q_proj.weight")]:
        tensors[tensor] = tensors[tensor].clamp(0, 1).to(dtype)
    save_file(tensors, quantised / "model.safetensors")
    change(quantised / "config.json", quantization_config={"quant_method": "some"})
    change(adapter / "adapter_config.json", base_model_name_or_path=name)
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open([adapter], quantised, TRAINING)
    text = str(error.value)
    assert f"{quantised} is quantised (some)" in text
    assert f"made from, {original} by its name, with --base" in text
    said = Checkpoint.open([adapter], qwen.folder, TRAINING).notes
    assert any(f"trained over {name}, which is quantised by its name" in note for note in said)
    with pytest.raises(CheckpointError, match="Train or merge over the 16-bit model"):
        Checkpoint.open([quantised], None, TRAINING)


@pytest.mark.parametrize(
    ("named", "told"),
    [("Qwen/Qwen3-VL-8B-Instruct", True), ("somewhere/{base}", False), ("a" * 40, False), ("", False)],
)
def test_a_base_of_another_name_than_the_adapters_is_told(named, told, qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=ATTENTION)
    name = named.format(base=qwen.folder.name)
    change(adapter / "adapter_config.json", base_model_name_or_path=name)
    notes = Checkpoint.open([adapter], qwen.folder, TRAINING).notes
    said = f"trained over {name} by its adapter_config.json, and merged into {qwen.folder.name}"
    assert any(said in note for note in notes) is told


def test_a_base_that_was_not_gathered_is_refused(qwen, tmp_path):
    adapter = train(qwen, tmp_path / "adapter", target_modules=ATTENTION)
    base = shutil.copytree(qwen.folder, tmp_path / "sharded")
    tensors = load_file(base / "model.safetensors")
    save_file({n: torch.empty(0) if "mlp" in n else t for n, t in tensors.items()}, base / "model.safetensors")
    for given in ([adapter], base), ([base], None):
        with pytest.raises(CheckpointError, match=r"model.safetensors: 14 of \d+ tensors are empty") as error:
            Checkpoint.open(*given, TRAINING)
        assert "zero_to_fp32.py" in str(error.value)
