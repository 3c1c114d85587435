"""What each objective trains, and what a checkpoint holds of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
import torch
from recorded import ADAPTER
from safetensors.torch import load_file
from tiny_training import FAMILIES, Setup, open_run, train, weights
from transformers import AutoModelForImageTextToText

from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families.opening import open_family
from yoj.training import _objectives as objectives
from yoj.training._recipe import Head, Lora, Recipe
from yoj.training._trainer import Trainer, attention
from yoj.training.checkpoints import newest

pytestmark = pytest.mark.slow

OBJECTIVES = ("n_way", "plackett_luce", "bradley_terry", "joint", "language")


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup.make(tmp_path_factory.mktemp("judge"))


def settings_of(objective: str) -> dict[str, str]:
    return {"objective": objective, "trainable": "all" if objective == "language" else "lora"}


def is_trained(name: str, objective: str) -> bool:
    if objective == "language":
        return "value_head" not in name and ".rotary." not in name
    return "lora_" in name or "value_head" in name


def step_backward(trainer: Trainer, numbers: list[int]) -> dict[str, torch.Tensor | None]:
    """Gradients of one batch."""
    batch = trainer.feed.collate(numbers, 0)
    torch.manual_seed(0)
    trainer.judge.train().zero_grad()
    with attention(torch.device("cpu")):
        trainer._loss(trainer.judge(batch), batch).total.backward()
    return {name: parameter.grad for name, parameter in trainer.judge.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_steps_move_what_is_trained_and_nothing_else(objective, family, setup):
    recipe = setup.recipe(family, f"{objective}-{family}", batch_size=6, **settings_of(objective))
    trainer = open_run(recipe)
    before = weights(trainer)
    trainer.run(lambda _: None)
    for name, value in weights(trainer).items():
        moved = not torch.equal(value, before[name])
        # Rows of tokens that do not occur stay; some biases have no effect on the loss.
        assert moved <= is_trained(name, objective), name
    moved = {n for n, value in weights(trainer).items() if not torch.equal(value, before[n])}
    expected = {n for n, p in trainer.judge.named_parameters() if p.requires_grad}
    assert expected == {n for n, _ in trainer.judge.named_parameters() if is_trained(n, objective)}
    # The last bias of a head shifts all scores alike, which no ranking notices; the same goes for keys' biases.
    without = {n for n in expected - moved if not n.endswith("bias")}
    assert without == set()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_are_where_they_should_be(objective, family, setup):
    trainer = open_run(setup.recipe(family, "none", **settings_of(objective)))
    for name, gradient in step_backward(trainer, [0, 6, 9]).items():
        assert (gradient is not None) == is_trained(name, objective), name
        assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", ["n_way", "language"])
def test_recomputed_activations_give_the_same_gradients(objective, family, setup):
    found = []
    for recomputed in (False, True):
        recipe = setup.recipe(family, "none", gradient_checkpointing=recomputed, **settings_of(objective))
        found.append(step_backward(open_run(recipe), [0, 7]))
    kept, again = found
    for name, gradient in kept.items():
        assert (gradient is None) == (again[name] is None)
        assert gradient is None or torch.equal(gradient, again[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_joint_objective_is_the_weighted_sum(family, setup):
    found = dict[float, float]()
    for share in (0.0, 0.7, 1.0):
        recipe = setup.recipe(family, "none", objective="joint", language_share=share, lora=Lora(4, 16, 0.0))
        trainer = open_run(recipe)
        batch = trainer.feed.collate([0, 7, 9], 0)
        with torch.inference_mode():
            outputs = trainer.judge.eval()(batch)
            found[share] = float(trainer._loss(outputs, batch).total)
    mean, log_sigma = outputs.heads_RNJK[:, :, 0].unbind(-1)
    assert found[0.0] == pytest.approx(float(objectives.gaussian(mean, log_sigma, batch.rankings_JRN[0])), abs=1e-6)
    assert found[0.7] == pytest.approx(0.3 * found[0.0] + 0.7 * found[1.0], abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_stock_model(family, setup):
    recipe = setup.recipe(family, "none", objective="joint")
    trainer = open_run(recipe)
    batch = trainer.feed.collate([9], 0)
    with torch.inference_mode():
        logits = trainer.judge.eval()(batch).logits_TW
        length = batch.tokens["input_ids"].shape[1]
        row = batch.tokens["input_ids"][1:]
        stock = AutoModelForImageTextToText.from_pretrained(recipe.base, dtype=torch.float32).eval()
        expected = stock(input_ids=row, mm_token_type_ids=torch.zeros_like(row)).logits[0]
    torch.testing.assert_close(logits, expected[batch.label_place_T - length], atol=1e-5, rtol=0)


# Checkpoints.


@pytest.fixture(scope="module")
def trained(setup):
    """trained(family) -> the checkpoint of a few steps, and the trainer."""
    made: dict[str, tuple[Path, Trainer]] = {}

    def make(family: str) -> tuple[Path, Trainer]:
        if family not in made:
            trainer = train(setup.recipe(family, f"kept-{family}", max_steps=3))
            folder = newest(Path(trainer.recipe.out))
            assert folder is not None
            made[family] = folder, trainer
        return made[family]

    return make


def patterns(names) -> set[str]:
    return {re.sub(r"\.\d+\.", ".N.", name) for name in names}


def test_an_adapter_has_the_names_of_the_reference(trained):
    folder, trainer = trained("molmo2")
    ours, theirs = load_file(folder / "adapter_model.safetensors"), load_file(ADAPTER / "adapter_model.safetensors")
    assert patterns(ours) == patterns(theirs)
    layers = {int(re.findall(r"\.(\d+)\.", name)[0]) for name in ours}
    assert layers == set(range(len(trainer.judge.blocks)))
    assert {tensor.dtype for tensor in ours.values()} == {torch.float32}
    assert {min(tensor.shape) for tensor in ours.values()} == {4}


def test_an_adapter_says_what_the_reference_says(trained):
    folder, _ = trained("molmo2")
    ours, theirs = (json.loads((f / "adapter_config.json").read_text("utf-8")) for f in (folder, ADAPTER))
    same = {"peft_type", "bias", "task_type", "target_modules", "fan_in_fan_out", "use_dora", "use_rslora",
            "rank_pattern", "alpha_pattern", "modules_to_save", "init_lora_weights"}  # fmt: skip
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert (ours["r"], ours["lora_alpha"], ours["lora_dropout"]) == (4, 16, 0.1)
    assert (folder / ours["base_model_name_or_path"] / "config.json").is_file()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_is_stored_as_in_the_reference(family, trained):
    folder, _ = trained(family)
    settings = json.loads((folder / "reward_model_config.json").read_text("utf-8"))
    reference = json.loads((ADAPTER / "reward_model_config.json").read_text("utf-8"))
    assert reference.keys() <= settings.keys()
    assert {name: settings[name] for name in reference} == {
        "value_head_type": "mlp",
        "value_head_hidden_dim": 16,
        "value_head_activation": "silu",
        "value_head_input_dim": 128,
        "resp_repr_mode": "last",
    }
    stored = torch.load(folder / "value_head.pt", weights_only=True)
    theirs = torch.load(ADAPTER / "value_head.pt", weights_only=True)
    assert stored.keys() == theirs.keys()
    assert {n: t.shape for n, t in stored.items()} == {
        "0.weight": (16, 128), "0.bias": (16,), "2.weight": (1, 16), "2.bias": (1,)
    }  # fmt: skip
    again = load_file(folder / "value_head.safetensors")
    assert all(torch.equal(again[name], value) for name, value in stored.items())


def test_files_of_the_reference_that_a_run_needs_are_there(trained):
    for family in FAMILIES:
        names = {file.name for file in trained(family)[0].iterdir()}
        assert names >= {
            "adapter_config.json", "adapter_model.safetensors", "reward_model_config.json", "value_head.pt",
            "tokenizer.json", "training_state.json", "preprocessor_config.json", "chat_template.jinja",
        }  # fmt: skip
        state = json.loads((trained(family)[0] / "training_state.json").read_text("utf-8"))
        reference = json.loads((ADAPTER / "training_state.json").read_text("utf-8"))
        assert state["global_step"] == 3
        assert state.keys() >= reference.keys()


def test_the_stock_libraries_merge_the_adapter_to_the_same_weights(trained):
    peft = pytest.importorskip("peft")
    from transformers import Qwen3VLForConditionalGeneration

    folder, trainer = trained("qwen3_vl")
    whole = Qwen3VLForConditionalGeneration.from_pretrained(trainer.recipe.base, dtype=torch.float32)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    merged = peft.PeftModel.from_pretrained(whole, folder).merge_and_unload().state_dict()
    checkpoint = Checkpoint.open([folder])
    sources = {s for spec in open_family(checkpoint).graphs for made_of in spec.sources.values() for s in made_of.names}
    changed = set()
    for source in sources:
        torch.testing.assert_close(checkpoint.weights.read(source), merged[source], rtol=0, atol=1e-6)
        if not torch.equal(merged[source], before[source]):
            changed.add(source.rsplit(".", 2)[-2])
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", [Head("linear", readout="first_last_concat"), Head("mlp", 8, "gelu", "response_mean")])
def test_any_head_is_read_back(head, family, setup):
    out = f"head-{family}-{head.readout}"
    trainer = train(setup.recipe(family, out, head=head, hidden_state="pre_norm", max_steps=1))
    checkpoint = Checkpoint.open([Path(trainer.recipe.out)])
    assert (checkpoint.head.type, checkpoint.head.readout) == (head.type, head.readout)
    assert checkpoint.training == Training("pre_norm", None, trained_n=(2, 4))
    resumed = open_run(msgspec.structs.replace(trainer.recipe))
    assert all(torch.equal(value, weights(trainer)[name]) for name, value in weights(resumed).items())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_is_saved_as_it_is_released(family, setup):
    recipe: Recipe = setup.recipe(family, f"base-{family}", objective="language", trainable="all", batch_size=6)
    trainer = train(recipe)
    folder = newest(Path(recipe.out))
    assert folder is not None
    before, after = (load_file(f / "model.safetensors") for f in (Path(recipe.base), folder))
    assert {n: (t.shape, t.dtype) for n, t in before.items()} == {n: (t.shape, t.dtype) for n, t in after.items()}
    same = [n for n in before if torch.equal(before[n], after[n]) and "bias" not in n]
    assert same == []
    # Opened again as a base it is the model that was trained, under a judge too.
    again = open_run(setup.recipe(family, "none", base=str(folder), objective="language", trainable="all"))
    theirs = weights(again)
    for name, value in weights(trainer).items():
        assert "value_head" in name or torch.equal(value, theirs[name]), name
    train(setup.recipe(family, f"over-{family}", base=str(folder), max_steps=1))
