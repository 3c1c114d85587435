"""``yoj-train``: what a person sees."""

from __future__ import annotations

import json

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result
from tiny_training import FAMILIES, Setup, fresh_process

from yoj.export.cli import main as export
from yoj.runtime import Scorer
from yoj.training._precision import this_machine
from yoj.training._recipe import Recipe
from yoj.training.cli import PRESETS, main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup.make(tmp_path_factory.mktemp("command"))


@pytest.fixture(autouse=True)
def _other_precisions():
    fresh_process()
    yield
    fresh_process()


@pytest.fixture
def file(setup, tmp_path):
    """A recipe of two steps in a file."""
    settings = msgspec.to_builtins(setup.recipe("qwen3_vl", str(tmp_path / "run"), held_out="train.jsonl"))
    settings["held_out"] = str(setup.folder / "train.jsonl")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    return tmp_path / "recipe.yaml"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one message of a command that failed on purpose."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.output.split("Error: ", 1)[1]


def test_a_run_prints_its_evaluation(file, tmp_path):
    result = run("run", file)
    assert result.exit_code == 0, result.output
    assert "step 2 of 2: loss " in result.output
    assert "held out after step 2: best_of_n 0." in result.output
    assert (tmp_path / "run" / "checkpoint-2" / "adapter_model.safetensors").is_file()


def test_settings_are_changed_on_the_command_line(file, tmp_path):
    result = run("run", file, "--set", "max_steps=1", "--set", "lora.rank=2", "--trust-data")
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "run" / "checkpoint-1" / "adapter_config.json").read_text("utf-8"))
    assert config["r"] == 2


def test_files_of_a_checkpoint_may_be_read_by_the_same_people(file, tmp_path):
    assert run("run", file, "--set", "max_steps=1", "--trust-data").exit_code == 0
    assert len({path.stat().st_mode for path in (tmp_path / "run" / "checkpoint-1").iterdir()}) == 1


def test_a_check_counts_samples_and_trains_nothing(file, tmp_path):
    result = run("check", file)
    assert result.exit_code == 0, result.output
    assert "12 samples to train on, 12 held out." in result.output
    assert not (tmp_path / "run").exists()


@pytest.fixture
def bad(setup, file):
    """Data with a bad line."""
    lines = (setup.folder / "train.jsonl").read_text("utf-8").splitlines()
    path = setup.folder / "bad.jsonl"
    path.write_text("\n".join([lines[0], '{"prompt": "Which?"}', *lines[1:]]), "utf-8")
    return path


@pytest.mark.parametrize("command", ["check", "run"])
def test_held_out_samples_that_are_trained_on_are_told(command, file):
    result = run(command, file)
    assert result.exit_code == 0, result.output
    assert "held-out samples are trained on too (line 1 of " in result.output


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["head.readout=response_mean"], "head.readout was 'last' and is 'response_mean'"),
        (["lora.rank=3"], "lora.rank was 4 and is 3"),
        (["lora.alpha=7"], "lora.alpha was 16.0 and is 7.0"),
        (["head.hidden=24"], " and is 24"),
    ],
)
def test_a_beginning_with_another_head_or_other_adapters_is_refused(command, changes, said, file, tmp_path):
    assert run("run", file).exit_code == 0
    words = [word for change in [*changes, "init_from=run/checkpoint-2", "out=other"] for word in ("--set", change)]
    message = refused(command, file, *words)
    assert "was trained with another head or other adapters: " in message
    assert said in message


def test_a_run_does_not_go_on_with_another_readout(file):
    assert run("run", file).exit_code == 0
    message = refused("run", file, "--set", "head.readout=response_mean", "--set", "max_steps=3")
    assert "head.readout was 'last' and is 'response_mean'" in message


def test_an_export_in_another_layout_than_in_training_is_refused(file, tmp_path):
    assert run("run", file).exit_code == 0
    recipe = yaml.safe_load(file.read_text("utf-8"))
    words = [str(tmp_path / "run" / "checkpoint-2"), "--base", recipe["base"], "--layout", "user", "--out"]
    done = CliRunner().invoke(export, [*words, str(tmp_path / "judge.yoj")])
    assert done.exit_code == 1
    assert "the responses stood in the layout 'assistant' in training" in done.output
    assert "Give --layout assistant." in done.output


def test_less_than_a_step_is_refused_by_the_check_too(file):
    assert "12 samples are less than one step of 100" in refused("check", file, "--set", "batch_size=100")


@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_samples_are_named(command, file, bad, tmp_path):
    message = refused(command, file, "--set", f"data={bad}")
    assert "bad.jsonl: 1 samples cannot be trained on (1 not a sample):\n  line 2: " in message
    assert not (tmp_path / "run").exists()


def test_bad_samples_are_left_out_where_that_was_asked_for(file, bad):
    result = run("check", file, "--set", f"data={bad}", "--skip-invalid")
    assert result.exit_code == 0, result.output
    assert "They are left out." in result.output
    assert "12 samples to train on" in result.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("rank=3", "unknown field `rank`"),
        ("epochs=0", "epochs is 0"),
        ("base=nowhere", "holds no config.json. Give the folder of a base model"),
        ("data=nothing.jsonl", "nothing.jsonl cannot be read"),
        ("batch_size=100", "12 samples are less than one step of 100"),
        ("max_length=20", "12 too long"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_message(change, words, file):
    assert words in refused("run", file, "--set", change)


def test_no_recipe(tmp_path):
    assert "cannot be read" in refused("run", tmp_path / "none.yaml")


def test_a_loss_that_is_no_number_is_said_in_one_message(file):
    message = refused("run", file, "--set", "optimiser.learning_rate=1e30", "--set", "max_steps=6")
    assert "The loss is nan at step" in message


@pytest.mark.parametrize("name", [path.stem for path in sorted(PRESETS.glob("*.yaml"))])
def test_presets_are_printed_as_they_are(name):
    result = run("preset", name)
    assert result.exit_code == 0
    assert result.output == (PRESETS / f"{name}.yaml").read_text("utf-8")
    settings = yaml.safe_load(result.output)
    if "base" in settings:
        msgspec.convert(settings, Recipe)


def test_an_unknown_preset(tmp_path):
    result = run("preset", "large")
    assert result.exit_code == 2
    assert all(path.stem in result.output for path in PRESETS.glob("*.yaml"))


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (["small", "qwen3_vl", ".judges", "--seed", 1], "python -m experiments.small_judge qwen3_vl .judges --seed 1"),
        (["shapes", "--help"], "python -m experiments.shapes --help"),
    ],
)
def test_commands_that_moved_say_where_they_are(words, now):
    message = refused(*words)
    assert f"yoj-train {words[0]} is now `{now}`" in message
    assert len(message.splitlines()) == 1
    assert f"  {words[0]} " not in run("--help").output


@pytest.mark.parametrize("family", FAMILIES)
def test_either_family_is_trained_by_the_same_recipe(family, setup, file):
    result = run("run", file, "--set", f"base={setup.folder / family}", "--set", "precision=bfloat16",
                 "--set", "base_precision=bfloat16", "--set", "gradient_checkpointing=true")  # fmt: skip
    assert result.exit_code == 0, result.output


def test_auto_is_resolved_said_and_kept(file, tmp_path):
    fast = "bfloat16" if this_machine().fast_bfloat16 else "float32"
    result = run("run", file, "--set", "precision=auto", "--set", "base_precision=auto", "--trust-data")
    assert result.exit_code == 0, result.output
    assert f"Products in {fast} (auto), weights of the base in {fast}; {this_machine().device}, " in result.output
    assert "Warning" not in result.output
    kept = json.loads((tmp_path / "run" / "checkpoint-2" / "recipe.json").read_text("utf-8"))
    assert (kept["precision"], kept["base_precision"]) == (fast, fast)


def test_a_run_that_goes_on_in_another_precision_says_so(file):
    """As on another machine: what is compared is what ``auto`` came to."""
    fast = "bfloat16" if this_machine().fast_bfloat16 else "float32"
    other = "float32" if fast == "bfloat16" else "bfloat16"
    settings = ["--trust-data", "--set", "base_precision=float32"]
    first = run("run", file, *settings, "--set", f"precision={other}", "--set", "max_steps=1")
    assert first.exit_code == 0, first.output
    assert ("Warning: precision is bfloat16. " in first.output) == (other == "bfloat16")
    fresh_process()
    again = run("run", file, *settings, "--set", "precision=auto")
    assert again.exit_code == 0, again.output
    assert f"Changed since: max_steps 1 -> 2; precision {other} -> {fast}." in again.output


@pytest.mark.export
def test_a_checkpoint_and_its_bundle_are_evaluated_alike(file, setup, tmp_path):
    assert run("run", file).exit_code == 0
    last, samples = tmp_path / "run" / "checkpoint-2", setup.folder / "train.jsonl"
    bundle = tmp_path / "judge.yoj"
    made = CliRunner().invoke(export, [str(last), "--layout", "assistant", "--out", str(bundle), "--no-compare"])
    assert made.exit_code == 0, made.output
    found = []
    for judge in (last, bundle):
        result = run("evaluate", judge, samples, "--json", tmp_path / "figures.json")
        assert result.exit_code == 0, result.output
        found.append(json.loads((tmp_path / "figures.json").read_text("utf-8")))
        assert "best of N" in result.output
    assert set(found[0]) == {"all", "identify", "specific", "moves"}
    assert found[0]["all"]["requests"] == 12
    for kind, figures in found[0].items():
        assert (figures.pop("dimensions"), figures.pop("language_loss")) == ({}, None)
        assert (found[1][kind].pop("dimensions"), found[1][kind].pop("language_loss")) == ({}, None)
        assert found[1][kind] == pytest.approx(figures, abs=1e-9)
    assert Scorer.load(bundle).manifest.trained_n == (2, 4)
    alone = run("evaluate", bundle, samples, "--text-alone", "--n-method", "groups", "--orders", "2")
    assert alone.exit_code == 0, alone.output
    settings = last / "reward_model_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"trained_n": [2, 3]}))
    told = run("evaluate", last, samples).output
    assert "of 12 samples: read N=4 responses together; the model was trained on N=2 to 3" in told


def test_what_cannot_be_evaluated(file, setup, tmp_path):
    samples = setup.folder / "train.jsonl"
    assert "is neither a bundle nor a checkpoint-N folder" in refused("evaluate", setup.folder / "qwen3_vl", samples)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    assert "holds no samples" in refused("evaluate", setup.folder / "qwen3_vl", empty)
    (tmp_path / "wrong.jsonl").write_text('{"prompt": "a", "responses": ["b"], "rankings": [1, 2]}\n')
    assert "2 rankings for 1 responses" in refused("evaluate", setup.folder / "qwen3_vl", tmp_path / "wrong.jsonl")
