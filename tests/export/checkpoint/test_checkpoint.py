"""Checkpoints of both layouts: what is found in them, and what is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer
from torch import nn

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import SEPARATOR, Checkpoint
from yoj.export.families import ExportFamily
from yoj.export.families.opening import open_family
from yoj.export.graph.traced import materialise
from yoj.export.prompts.layout import render_layout
from yoj.export.verification.stock_model import read_out

DATA = Path(__file__).parents[2] / "golden" / "data"
MERGED, ADAPTER = DATA / "checkpoint-merged", DATA / "checkpoint-adapter"
BASE_ROWS, SEPARATOR_ID = 960, 970
WTE = "model.transformer.wte."


@pytest.fixture
def merged(tmp_path) -> Path:
    """A copy of the merged checkpoint."""
    return shutil.copytree(MERGED, tmp_path / "merged")


@pytest.fixture
def adapter(tmp_path) -> Path:
    """A copy of the adapter and, in ``base``, of its base model."""
    return shutil.copytree(ADAPTER, tmp_path / "adapter")


def edit(file: Path, change) -> None:
    """Rewrite a JSON file or a file of tensors after ``change`` worked on what it holds."""
    if file.suffix == ".json":
        values = json.loads(file.read_text("utf-8"))
        change(values)
        file.write_text(json.dumps(values), "utf-8")
    else:
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)


def edit_config(folder: Path, section: str, **values) -> None:
    edit(folder / "config.json", lambda config: config[section].update(values))


def remove(folder: Path, pattern: str) -> None:
    for file in list(folder.rglob(pattern)):
        file.unlink()


def open_all(*paths, base=None) -> tuple[Checkpoint, ExportFamily]:
    """Everything that is checked before graphs are written."""
    checkpoint = Checkpoint.open(paths, base)
    family = open_family(checkpoint)
    render_layout(checkpoint, "assistant", family.markup())
    return checkpoint, family


def refusal(*paths, base=None) -> str:
    with pytest.raises(CheckpointError) as error:
        open_all(*paths, base=base)
    return str(error.value)


@torch.inference_mode()
def traced_scores(checkpoint: Checkpoint, family: ExportFamily) -> torch.Tensor:
    """Scores of a text with every kind of token, from the module that is traced."""
    ids, ends = sample()
    scorer = materialise(next(spec for spec in family.graphs if spec.role == "scorer.joint"), checkpoint)
    zeros = torch.zeros_like(ids)
    features = torch.zeros(1, checkpoint.config["text_config"]["hidden_size"])
    return scorer(ids, torch.arange(ids.shape[1])[None], zeros, zeros, features, ends)[0]


@torch.inference_mode()
def stock_scores(checkpoint: Checkpoint, family: ExportFamily) -> torch.Tensor:
    """The same from the Hugging Face model."""
    ids, ends = sample()
    model = family.stock_model()
    if model is None:
        pytest.skip("this transformers has no Molmo2 to compare with")
    hidden = model(input_ids=ids, mm_token_type_ids=torch.zeros_like(ids)).last_hidden_state[0]
    rows = read_out(checkpoint.head.readout, hidden, ends[0].numpy(), ends[0].numpy())
    return checkpoint.head.module()(rows).squeeze(-1) / hidden.shape[-1] ** 0.5


def sample() -> tuple[torch.Tensor, torch.Tensor]:
    words = torch.randint(0, BASE_ROWS, (60,), generator=torch.Generator().manual_seed(0))
    words[[5, 20, 40]] = SEPARATOR_ID
    words[30:35] = torch.arange(963, 968)
    return words[None], torch.tensor([[4, 19, 39, 59]])


def assert_scores(checkpoint: Checkpoint, family: ExportFamily, expected: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(traced_scores(checkpoint, family), expected, rtol=0, atol=atol)
    torch.testing.assert_close(stock_scores(checkpoint, family), expected, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def scores() -> torch.Tensor:
    """Of the merged checkpoint as it is."""
    return stock_scores(*open_all(MERGED))


# Layouts.


@pytest.mark.slow
def test_merged_layout(scores):
    checkpoint, family = open_all(MERGED)
    assert (checkpoint.folders, checkpoint.base, checkpoint.trunk) == ((MERGED,), None, MERGED)
    assert checkpoint.family == "molmo2"
    assert checkpoint.head.type == "mlp"
    assert scores.std() > 0.1
    assert_scores(checkpoint, family, scores)


def test_paths_may_be_strings():
    assert Checkpoint.open([str(MERGED)]).folders == (MERGED,)
    assert Checkpoint.open([str(ADAPTER)], str(ADAPTER / "base")).base == ADAPTER / "base"


@pytest.mark.slow
def test_adapter_layout_with_the_base_that_it_names():
    checkpoint, family = open_all(ADAPTER)
    assert checkpoint.folders == (ADAPTER,)
    assert checkpoint.base == checkpoint.trunk == ADAPTER / "base"
    assert_scores(checkpoint, family, stock_scores(checkpoint, family))


def test_the_base_named_may_be_absolute(adapter, tmp_path):
    elsewhere = shutil.move(adapter / "base", tmp_path / "elsewhere")
    edit(adapter / "adapter_config.json", lambda config: config.update(base_model_name_or_path=str(elsewhere)))
    assert Checkpoint.open([adapter]).base == elsewhere


@pytest.mark.slow
def test_a_given_base_comes_before_the_one_named(adapter, tmp_path):
    other = shutil.copytree(adapter / "base", tmp_path / "other")
    edit(other / "model.safetensors", lambda tensors: tensors.update({WTE + "embedding": torch.ones(960, 64)}))
    checkpoint, _ = open_all(adapter, base=other)
    assert checkpoint.base == other
    assert torch.equal(checkpoint.weights.read(WTE + "embedding"), torch.ones(960, 64))


def linear_tree(tensors: dict[str, torch.Tensor], names) -> nn.Module:
    """Linear layers under their names in the released checkpoints, for PEFT to work on."""
    root = nn.Module()
    root.prepare_inputs_for_generation = lambda: None  # PEFT asks for it
    for name in names:
        *path, leaf = name.removesuffix(".weight").split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        layer = nn.Linear(*tensors[name].shape[::-1], bias=False)
        layer.weight.data = tensors[name].clone()
        module.add_module(leaf, layer)
    return root


@pytest.mark.slow
def test_several_adapters_are_merged_in_order_as_peft_does(adapter, tmp_path):
    tensors = load_file(adapter / "base" / "model.safetensors")
    names = [name for name in tensors if name.startswith("model.transformer.blocks.") and "norm" not in name]
    second = tmp_path / "second"
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        once = PeftModel.from_pretrained(linear_tree(tensors, names), adapter).merge_and_unload()
        config = LoraConfig(r=3, lora_alpha=5, use_rslora=True, target_modules=["att_proj"], init_lora_weights=False)
        trained = get_peft_model(once, config)
        trained.save_pretrained(second)
        expected = trained.merge_and_unload().state_dict()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(adapter / name, second / name)
    head = {"weight": torch.randn(1, 64), "bias": torch.randn(1)}
    torch.save(head, second / "value_head.pt")
    settings = {"value_head_type": "linear", "value_head_activation": None, "resp_repr_mode": "first"}
    (second / "reward_model_config.json").write_text(json.dumps(settings))

    checkpoint, _ = open_all(adapter, second)
    assert checkpoint.folders == (adapter, second)
    assert checkpoint.base == adapter / "base"
    for name in names:
        torch.testing.assert_close(checkpoint.weights.read(name), expected[name], rtol=0, atol=1e-6)
    assert not torch.equal(expected[names[0]], tensors[names[0]])
    # The head and its settings are those of the last.
    assert (checkpoint.head.type, checkpoint.head.readout) == ("linear", "first")
    assert torch.equal(checkpoint.head.tensors["weight"], head["weight"])
    assert checkpoint.file("tokenizer.json").parent == second
    assert checkpoint.file("config.json").parent == adapter / "base"


@pytest.mark.slow
def test_the_last_adapter_needs_its_own_head(adapter, tmp_path):
    second = shutil.copytree(adapter, tmp_path / "second", ignore=shutil.ignore_patterns("base", "value_head.pt"))
    assert f"{second} has no value_head.safetensors or value_head.pt" in refusal(adapter, second)
    open_all(second, adapter, base=adapter / "base")


def test_a_training_folder_stands_for_its_newest_step(adapter, tmp_path):
    training = tmp_path / "training"
    for step in ("checkpoint-5", "checkpoint-20"):
        shutil.copytree(adapter, training / step)
    (training / "checkpoint-100").mkdir()  # begun, and never written
    (training / "checkpoint-best").mkdir()
    assert Checkpoint.open([training]).folders == (training / "checkpoint-20",)


def test_a_training_folder_that_is_an_adapter_is_used_itself(adapter):
    shutil.copytree(ADAPTER, adapter / "checkpoint-20")
    assert Checkpoint.open([adapter]).folders == (adapter,)


@pytest.mark.slow
def test_shards_with_an_index(merged, scores):
    tensors = load_file(merged / "model.safetensors")
    (merged / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {f"model-0000{i + 1}-of-00003.safetensors": names[i::3] for i in range(3)}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, merged / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (merged / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({names[0]: torch.zeros(1)}, merged / "left-over.safetensors")  # in no index
    checkpoint, family = open_all(merged)
    assert_scores(checkpoint, family, scores, atol=0)
    assert {file.name for file in checkpoint.files()} >= {*parts, "model.safetensors.index.json"}

    (merged / "model-00002-of-00003.safetensors").unlink()
    text = refusal(merged)
    assert "model.safetensors.index.json names shards that are not there" in text
    assert str(merged / "model-00002-of-00003.safetensors") in text
    assert "00001" not in text


def test_a_tokenizer_file_comes_from_the_adapter_or_else_from_the_base(adapter):
    assert Checkpoint.open([adapter]).file("tokenizer.json") == adapter / "tokenizer.json"
    (adapter / "tokenizer.json").unlink()
    checkpoint = Checkpoint.open([adapter])
    assert checkpoint.file("tokenizer.json") == adapter / "base" / "tokenizer.json"
    assert checkpoint.separator_id == SEPARATOR_ID


def test_every_file_that_matters_is_listed(adapter):
    listed = {file.relative_to(adapter).as_posix() for file in Checkpoint.open([adapter]).files()}
    assert listed >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "value_head.pt",
        "reward_model_config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "preprocessor_config.json",
        "base/config.json",
        "base/model.safetensors",
    }


# Embedding tables.


@pytest.mark.slow
def test_a_trimmed_table_scores_like_the_full_one(merged, scores):
    torch.manual_seed(0)
    full = torch.cat([load_file(merged / "model.safetensors")[WTE + "new_embedding"], torch.randn(117, 64)])
    edit(merged / "model.safetensors", lambda tensors: tensors.update({WTE + "new_embedding": full}))
    checkpoint, family = open_all(merged)
    assert checkpoint.weights.shape(WTE + "new_embedding") == (128, 64)
    assert_scores(checkpoint, family, scores, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [486, 11, 970])
def test_a_table_split_elsewhere_scores_the_same(rows, merged, scores):
    def split(tensors):
        table = torch.cat([tensors[WTE + "embedding"], tensors[WTE + "new_embedding"]])
        tensors[WTE + "embedding"], tensors[WTE + "new_embedding"] = table[:rows].clone(), table[rows:].clone()

    edit(merged / "model.safetensors", split)
    assert_scores(*open_all(merged), scores, atol=1e-6)


@pytest.mark.slow
def test_a_checkpoint_saved_again_by_transformers_scores_the_same(merged, scores):
    from transformers import Molmo2ForConditionalGeneration

    model = Molmo2ForConditionalGeneration.from_pretrained(merged, dtype=torch.float32)
    model.save_pretrained(merged)
    saved = load_file(merged / "model.safetensors")
    assert saved[WTE + "embedding"].shape[0] + saved[WTE + "new_embedding"].shape[0] == 971
    assert "vision_config" in json.loads((merged / "config.json").read_text())
    assert_scores(*open_all(merged), scores, atol=1e-6)


def test_a_separator_beyond_the_tables_is_refused(merged):
    edit(
        merged / "model.safetensors",
        lambda tensors: tensors.update({WTE + "new_embedding": tensors[WTE + "new_embedding"][:10].clone()}),
    )
    text = refusal(merged)
    assert str(merged) in text
    assert "token 970" in text
    assert "970 rows" in text


# The tokenizer.


def test_a_tokenizer_without_the_separator_gets_it_as_the_next_token():
    assert Tokenizer.from_file(str(MERGED / "tokenizer.json")).token_to_id(SEPARATOR) is None
    checkpoint = Checkpoint.open([MERGED])
    assert checkpoint.separator_id == SEPARATOR_ID
    ids = checkpoint.tokenizer.encode(f"a\n\n{SEPARATOR}\n\nb", add_special_tokens=False).ids
    assert ids.count(SEPARATOR_ID) == 1
    assert checkpoint.tokenizer.get_added_tokens_decoder()[SEPARATOR_ID].special


def test_a_tokenizer_with_the_separator_keeps_it(adapter):
    tokenizer = Tokenizer.from_file(str(adapter / "tokenizer.json"))
    assert tokenizer.token_to_id(SEPARATOR) == SEPARATOR_ID
    assert Checkpoint.open([adapter]).separator_id == SEPARATOR_ID
    # Also where it is not the last one.
    tokenizer.add_special_tokens([AddedToken("<|later|>", special=True)])
    tokenizer.save(str(adapter / "tokenizer.json"))
    checkpoint = Checkpoint.open([adapter])
    assert checkpoint.separator_id == SEPARATOR_ID
    assert checkpoint.tokenizer.get_vocab_size() == 972


def test_truncation_and_padding_of_the_tokenizer_are_dropped(merged):
    tokenizer = Tokenizer.from_file(str(merged / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(merged / "tokenizer.json"))
    text = "one two three four five six seven"
    before = Checkpoint.open([MERGED]).tokenizer.encode(text).ids
    assert len(before) > 4
    assert Checkpoint.open([merged]).tokenizer.encode(text).ids == before


# What is missing.

MISSING = {
    "value_head.pt": ("no value_head.safetensors or value_head.pt", "Copy the file from the training checkpoint"),
    "reward_model_config.json": ("reward_model_config.json is missing", "Copy it from the training checkpoint"),
    "tokenizer.json": ("tokenizer.json is missing", "Copy it from the model that was trained"),
    "chat_template.jinja": ("no chat template", "Copy it from the model that was trained"),
    "tokenizer_config.json": ("tokenizer_config.json is missing", "Copy it from the model that was trained"),
    "model.safetensors": ("holds no *.safetensors", "save_pretrained"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_a_missing_file_is_named_with_the_fix(name, kind, request):
    folder = request.getfixturevalue(kind)
    remove(folder, name)
    happened, fix = MISSING[name]
    text = refusal(folder)
    assert str(folder) in text
    assert happened in text
    assert fix in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_a_missing_image_setting_is_named(name, merged):
    (merged / name).unlink()
    _, family = open_all(merged)
    with pytest.raises(CheckpointError, match=name):
        family.preprocessing()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "adapter_config.json"])
@pytest.mark.parametrize("content", ["", "[]"])
def test_a_damaged_file_is_named(name, content, merged, adapter):
    folder = adapter if name == "adapter_config.json" else merged
    (folder / name).write_text(content)
    text = refusal(folder)
    assert str(folder / name) in text


@pytest.mark.parametrize("content", ["", "{}"])
def test_a_damaged_index_is_named(content, merged):
    (merged / "model.safetensors.index.json").write_text(content)
    assert str(merged / "model.safetensors.index.json") in refusal(merged)


def test_no_config_at_all(merged):
    (merged / "config.json").unlink()
    text = refusal(merged)
    assert f"{merged} is no checkpoint" in text
    assert "config.json" in text


def test_a_base_without_a_config(adapter):
    (adapter / "base" / "config.json").unlink()
    text = refusal(adapter)
    assert str(adapter / "adapter_config.json") in text
    assert "names the base model 'base'" in text
    assert "--base" in text


@pytest.mark.parametrize("named", ["allenai/Molmo2-4B", "", None])
def test_a_base_that_is_not_here(named, adapter):
    edit(adapter / "adapter_config.json", lambda config: config.update(base_model_name_or_path=named))
    text = refusal(adapter)
    assert str(adapter / "adapter_config.json") in text
    assert "Download it and give its folder with --base" in text
    assert named is None or repr(named) in text


def test_a_given_base_that_is_no_model(adapter, tmp_path):
    text = refusal(adapter, base=tmp_path)
    assert f"--base {tmp_path} holds no config.json" in text


def test_a_folder_that_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoint-7").mkdir()
    text = refusal(tmp_path)
    assert f"{tmp_path} is no checkpoint" in text
    assert "adapter_config.json" in text
    assert "checkpoint-N" in text


def test_a_path_that_is_no_folder(tmp_path):
    text = refusal(tmp_path / "absent")
    assert f"{tmp_path / 'absent'} is not a folder" in text
    assert "nothing is downloaded" in text
    assert "is not a folder" in refusal(MERGED / "config.json")


def test_nothing_given():
    assert "No checkpoint was given" in refusal()


@pytest.mark.parametrize("order", ["merged first", "adapter first", "with base", "two merged"])
def test_a_merged_checkpoint_stands_alone(order, merged, adapter):
    paths, base = {
        "merged first": ((merged, adapter), None),
        "adapter first": ((adapter, merged), None),
        "with base": ((merged,), adapter / "base"),
        "two merged": ((merged, merged), None),
    }[order]
    text = refusal(*paths, base=base)
    assert f"{merged} is a merged checkpoint" in text or f"{merged}, {merged}" in text
    assert "--base" in text
    assert str(adapter) not in text


# What does not fit.


def test_a_cut_off_file(merged):
    file = merged / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    text = refusal(merged)
    assert f"{file} is cut off" in text
    assert "Copy it again" in text
    file.write_bytes(content[:100])
    assert f"{file} is cut off: its header alone" in refusal(merged)


def test_a_missing_tensor_is_named(merged):
    names = ["model.transformer.blocks.1.mlp.ff_proj.weight", "model.vision_backbone.image_projector.w3.weight"]
    edit(merged / "model.safetensors", lambda tensors: [tensors.pop(name) for name in names])
    text = refusal(merged)
    assert str(merged) in text
    assert all(f"{name}: missing" in text for name in names)


def test_no_embedding_table(merged):
    edit(merged / "model.safetensors", lambda tensors: [tensors.pop(WTE + n) for n in ("embedding", "new_embedding")])
    text = refusal(merged)
    assert str(merged) in text
    assert "embedding" in text


def test_misshapen_tensors_are_named_with_both_shapes(merged):
    wrong = {
        "model.transformer.blocks.0.self_attn.att_proj.weight": torch.zeros(255, 64),
        "model.transformer.ln_f.weight": torch.zeros(65),
        "model.vision_backbone.image_vit.positional_embedding": torch.zeros(170, 48),
    }
    edit(merged / "model.safetensors", lambda tensors: tensors.update(wrong))
    text = refusal(merged)
    assert str(merged) in text
    assert "att_proj.weight: shape (255, 64), expected (256, 64)" in text
    assert "ln_f.weight: shape (65,), expected (64,)" in text
    assert "positional_embedding: shape (170, 48), expected (169, 48)" in text


def test_many_problems_are_counted(merged):
    edit_config(merged, "text_config", head_dim=16, intermediate_size=50, num_hidden_layers=9)
    text = refusal(merged)
    assert text.count("\n  ") == 21
    assert "more" in text.splitlines()[-1]


def test_a_table_of_another_width(merged):
    edit(merged / "model.safetensors", lambda tensors: tensors.update({WTE + "new_embedding": torch.zeros(11, 65)}))
    assert "wte.new_embedding" in refusal(merged)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"model_type": "molmo3", "text_config": {"hidden_size": 64}}, id="nested"),
        pytest.param({"model_type": "llama", "hidden_size": 64}, id="flat"),
        pytest.param({"model_type": "llava", "text_config": None}, id="null"),
    ],
)
def test_an_unknown_model_type_is_told_with_those_that_are_known(config, merged):
    (merged / "config.json").write_text(json.dumps(config))
    text = refusal(merged)
    assert str(merged / "config.json") in text
    assert repr(config["model_type"]) in text
    assert "molmo2" in text


def test_no_model_type(merged):
    edit(merged / "config.json", lambda config: config.pop("model_type"))
    assert f"{merged / 'config.json'} has no model_type" in refusal(merged)


def test_no_hidden_size(merged):
    edit(merged / "config.json", lambda config: config["text_config"].pop("hidden_size"))
    assert f"{merged / 'config.json'} has no text_config.hidden_size" in refusal(merged)


UNSUPPORTED = {
    "norm after": ("text_config", "norm_after", True),
    "olmo's norm of queries and keys": ("text_config", "qk_norm_type", "olmo"),
    "no norm of queries and keys": ("text_config", "use_qk_norm", False),
    "bias of queries": ("text_config", "qkv_bias", True),
    "old rope scaling": ("text_config", "rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
    "new rope scaling": ("text_config", "rope_parameters", {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}),
    "activation of the text": ("text_config", "hidden_act", "gelu"),
    "activation of the vision tower": ("vit_config", "hidden_act", "quick_gelu"),
    "fewer key heads in the vision tower": ("vit_config", "num_key_value_heads", 1),
    "no pooling mask": ("adapter_config", "pooling_attention_mask", False),
    "activation of the projector": ("adapter_config", "hidden_act", "relu"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", UNSUPPORTED)
def test_an_unsupported_variant_is_refused(what, merged):
    section, key, value = UNSUPPORTED[what]
    edit_config(merged, section, **{key: value})
    text = refusal(merged)
    assert f"{merged / 'config.json'} cannot be exported" in text
    assert section in text
    assert key in text or "key heads" in text


def test_all_unsupported_variants_are_told_at_once(merged):
    edit_config(merged, "text_config", norm_after=True, qk_norm_type="olmo", rope_scaling={"rope_type": "linear"})
    edit_config(merged, "vit_config", hidden_act="relu")
    edit(merged / "config.json", lambda config: config["adapter_config"].pop("head_dim"))
    text = refusal(merged)
    for part in (
        "text_config.norm_after is True, supported: False",
        "text_config.qk_norm_type is 'olmo', supported: 'qwen3'",
        "text_config.rope_scaling is {'rope_type': 'linear'}",
        "vit_config.hidden_act is 'relu'",
        "adapter_config.head_dim is missing",
    ):
        assert part in text


@pytest.mark.parametrize("section", ["vit_config", "adapter_config"])
def test_a_missing_section_is_told(section, merged):
    edit(merged / "config.json", lambda config: config.pop(section))
    assert f"{section} is missing" in refusal(merged)


@pytest.mark.slow
def test_an_image_processor_of_another_crop_size_is_refused(merged):
    edit(merged / "preprocessor_config.json", lambda config: config.update(size={"height": 378, "width": 378}))
    _, family = open_all(merged)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json does not fit .*378.*182"):
        family.preprocessing()
