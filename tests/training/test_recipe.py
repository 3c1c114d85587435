"""Recipes: what is read, what is changed on the way, and what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from yoj.training._errors import RecipeError
from yoj.training._recipe import Recipe, check, read_recipe

PRESETS = sorted((Path(__file__).parents[2] / "training" / "yoj" / "training" / "presets").glob("*.yaml"))
LEAST = "base: base\ndata: train.jsonl\nout: run\n"


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(LEAST, "utf-8")
    return file


def refused(file: Path, text: str, *changes: str) -> str:
    file.write_text(LEAST + text, "utf-8")
    with pytest.raises(RecipeError) as caught:
        read_recipe(file, changes)
    return str(caught.value)


def test_paths_are_relative_to_the_file(file, tmp_path):
    recipe = read_recipe(file, ["held_out=/elsewhere/held_out.jsonl"])
    assert recipe.base == str(tmp_path / "base")
    assert recipe.data == str(tmp_path / "train.jsonl")
    assert recipe.out == str(tmp_path / "run")
    assert recipe.held_out == "/elsewhere/held_out.jsonl"


def test_settings_are_changed_one_by_one(file):
    file.write_text(LEAST + "lora: {rank: 8, alpha: 4}\nseed: 3\n", "utf-8")
    changes = ["lora.rank=64", "head.activation=relu", "optimiser.betas=[0.8, 0.9]", "max_steps=5", "epochs=2"]
    recipe = read_recipe(file, changes)
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.seed) == (64, 4, 3)
    assert (recipe.head.activation, recipe.optimiser.betas) == ("relu", (0.8, 0.9))
    assert (recipe.max_steps, recipe.epochs) == (5, 2)
    assert read_recipe(file, ["max_steps=5", "max_steps=null"]).max_steps is None


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_numbers_may_be_written_with_an_exponent(file, text):
    assert read_recipe(file, [f"optimiser.learning_rate={text}"]).optimiser.learning_rate == 1e-4
    file.write_text(LEAST + f"optimiser:\n  learning_rate: {text}\n", "utf-8")
    assert read_recipe(file).optimiser.learning_rate == 1e-4


@pytest.mark.parametrize(
    "change", ["rank", "=3", "lora.=3", "seed.rank=1", "seed.rank.more=1", "lora={", "epochs=[1", "objective.x=1"]
)
def test_a_change_that_is_none(file, change):
    file.write_text(LEAST + "seed: 3\nobjective: n_way\n", "utf-8")
    with pytest.raises(RecipeError, match=r"--set .* is not name=value"):
        read_recipe(file, [change])


def test_unknown_settings_are_named_with_those_that_there_are(file):
    message = refused(file, "learning_rate: 1.0\n")
    assert "`learning_rate`" in message
    assert "Known settings: base, data, out, held_out, init_from, objective" in message
    assert "`ranks`" in refused(file, "lora: {ranks: 3}\n")
    assert "Known settings: rank, alpha, dropout." in refused(file, "lora: {ranks: 3}\n")
    assert "`ranks`" in refused(file, "", "lora.ranks=3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs: many\n", ["Expected `int`", "epochs"]),
        ("objective: pairwise\n", ["pairwise", "objective"]),
        ("layout: system\n", ["system", "layout"]),
        ("optimiser: {betas: [0.9]}\n", ["betas"]),
        ("precision: float16\n", ["float16", "precision"]),
    ],
)
def test_values_of_another_type(file, text, words):
    message = refused(file, text)
    assert all(word in message for word in [str(file), *words])
    assert "Known settings" not in message


def test_all_wrong_values_are_named_at_once(file):
    message = refused(
        file,
        "epochs: 0\naccumulation: -1\nlog_every: 0\nmax_steps: 0\nlanguage_share: 1.5\nworkers: -1\n"
        "max_vision_tokens: -5\nlora: {dropout: 1.0}\nhead: {hidden: 0}\noptimiser: {learning_rate: 0}\n",
    )
    for part in (
        "epochs is 0", "accumulation is -1", "log_every is 0", "max_steps is 0", "language_share is 1.5",
        "workers is -1", "max_vision_tokens is -5", "lora.dropout is 1.0", "head.hidden is 0",
        "optimiser.learning_rate is 0",
    ):  # fmt: skip
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "optimiser: {learning_rate: .nan}\n",
        "optimiser: {weight_decay: -0.1}\n",
        "optimiser: {betas: [0.9, 1.0]}\n",
        "optimiser: {betas: [-0.1, 0.9]}\n",
        "optimiser: {clip: 0}\n",
        "optimiser: {warmup: 1}\n",
        "lora: {rank: 0}\n",
        "lora: {alpha: .nan}\n",
        "head: {init_std: -1}\n",
        "language_share: .nan\n",
        "keep: 0\n",
    ],
)
def test_values_that_no_run_can_have(file, text):
    assert text.split(":")[0] in refused(file, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("objective: language\n", "set trainable to all"),
        ("head: {pooling: min}\n", "head.pooling min is for head.dimensions, of which there are none"),
        ("head: {dimensions: [a, a]}\n", "head.dimensions is ['a', 'a'], which names one twice"),
        ("head: {dimensions: [a.b]}\n", "head.dimensions has 'a.b'; a name begins with a letter"),
        ("head: {dimensions: [forward]}\n", "head.dimensions has 'forward'"),
        ("head: {dimensions: [a]}\nobjective: language\ntrainable: all\n", "language trains no value head"),
        ("head: {readout: token}\n", "head.readout token needs head.token"),
        ("head: {token: <|im_end|>}\n", "head.token and head.ask are for head.readout token, which is last"),
        ("head: {ask: 'Why?'}\n", "head.token and head.ask are for head.readout token, which is last"),
        ("head: {readout: token, token: <|im_end|>}\n", "head.readout token needs head.dimensions, if only one"),
        ("rationale_prompt: ' '\n", "rationale_prompt is empty"),
        ("max_pixels: 0\n", "max_pixels is 0"),
        ("objective: joint\nhidden_state: pre_norm\n", "needs hidden_state post_norm"),
        ("objective: plackett_luce\nties: random\n", "ties random is for objective n_way"),
        ("n: [1, 4]\n", "n is [1, 4], expected the fewest and the most responses, from 2"),
        ("n: [8, 4]\n", "n is [8, 4]"),
        ("n: [2, 4]\nobjective: language\ntrainable: all\n", "n is for objectives that rank"),
        ("init_from: run/checkpoint-5\nobjective: language\ntrainable: all\n", "init_from is for judges"),
    ],
)
def test_settings_that_do_not_fit_together(file, text, reason):
    assert reason in refused(file, text)


@pytest.mark.parametrize("text", ["", "- base\n", "base: [\n", "just words\n"])
def test_a_file_without_settings(file, text):
    file.write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        read_recipe(file)


def test_no_file(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "recipe.yaml")


def test_defaults_are_a_recipe():
    check(Recipe("base", "data", "out"), "defaults")
    settings = msgspec.to_builtins(Recipe("base", "data", "out"))
    assert settings["objective"] == "n_way"
    assert settings["language_share"] == 0.7
    assert settings["lora"] == {"rank": 128, "alpha": 16, "dropout": 0.05}


@pytest.mark.parametrize(
    "preset", [file for file in PRESETS if "base:" in file.read_text("utf-8")], ids=lambda f: f.stem
)
def test_presets_are_recipes(preset):
    read_recipe(preset)
