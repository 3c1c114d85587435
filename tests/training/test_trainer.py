"""Runs: killed and resumed, stopped by what is no number, finished, and worth their time."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiers import with_variants
from tiny_training import FAMILIES, LONG, Lines, Setup, differing, open_run, stored, train

from yoj.training._errors import TrainingError
from yoj.training._recipe import Head, Lora, Optimiser, Recipe
from yoj.training._trainer import right, schedule
from yoj.training.checkpoints import best, by_step, newest, read_state
from yoj.training.evaluation import evaluate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup.make(tmp_path_factory.mktemp("trainer"))


@pytest.mark.parametrize(
    ("family", "changes", "stop"),
    with_variants(
        [
            ("qwen3_vl", {}, "step 5 "),
            ("molmo2", {"optimiser": Optimiser(kind="muon", learning_rate=0.01, warmup=0.2)}, "step 3 "),
            # One step of 4 batches an epoch, and 2 batches left over: checkpoints lie at an epoch's end.
            ("qwen3_vl", {"accumulation": 4, "save_every": 1}, "step 2 "),
            ("molmo2", {"objective": "language", "trainable": "all", "keep": 1}, "step 5 "),
            ("molmo2", {"objective": "joint"}, "step 7 "),
            ("qwen3_vl", {"ties": "random", "workers": 1}, "step 4 "),
            ("qwen3_vl", {"objective": "language", "trainable": "all"}, "step 3 "),
        ],
        always=4,
    ),
    ids=str,
)
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(family, changes, stop, setup, tmp_path):
    whole, parted = (setup.recipe(family, str(tmp_path / name), **LONG | changes) for name in ("whole", "parted"))
    uninterrupted, interrupted, resumed = Lines(), Lines(stop), Lines()
    train(whole, uninterrupted)
    with pytest.raises(KeyboardInterrupt):
        train(parted, interrupted)
    train(parted, resumed)
    assert differing(whole, parted) == []
    # The log goes on as if nothing had happened: the same losses, from the same batches.
    without_time = [
        [line.rsplit(",", 1)[0] for line in lines.spec if line.startswith("step ")]
        for lines in (uninterrupted, interrupted, resumed)
    ]
    assert without_time[2] == without_time[0][-len(without_time[2]) :]
    assert len(without_time[0]) < len(without_time[1]) + len(without_time[2])


@pytest.mark.thorough
def test_a_killed_process_leaves_what_can_be_resumed(setup, tmp_path):
    whole, parted = (setup.recipe("qwen3_vl", str(tmp_path / name), **LONG | {"epochs": 12}) for name in "ab")
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(msgspec.to_builtins(parted)), "utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "yoj.training.cli", "run", str(file), "--trust-data"]
    # Sums are rounded otherwise with another number of threads, which earlier tests of this process may have set.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 120
    while (newest(Path(parted.out)) is None) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    folder = newest(Path(parted.out))
    assert folder is not None
    assert read_state(folder).global_step < 36
    train(parted)
    train(whole)
    assert read_state(newest(Path(parted.out)) or folder).global_step == 36
    assert differing(whole, parted) == []


def test_a_finished_run_is_not_trained_further(setup, tmp_path):
    recipe = setup.recipe("qwen3_vl", str(tmp_path / "run"), held_out=str(setup.folder / "train.jsonl"))
    first = open_run(recipe).run(lambda _: None)
    before, notes = stored(recipe), Lines()
    again = open_run(recipe).run(notes)
    assert again == first
    assert "is trained to step 2 already" in notes.spec[0]
    assert all(torch.equal(value, before[name]) for name, value in stored(recipe).items())


def test_checkpoints_of_another_shape_are_refused(setup, tmp_path):
    recipe = setup.recipe("qwen3_vl", str(tmp_path / "run"))
    train(recipe)
    with pytest.raises(TrainingError, match=r"lora.rank was 4 and is 8"):
        open_run(msgspec.structs.replace(recipe, lora=Lora(8, 16, 0.1)))
    with pytest.raises(TrainingError, match=r"does not fit the recipe.*Give the recipe the head and the base"):
        open_run(msgspec.structs.replace(recipe, objective="joint"))


def test_a_run_says_what_begins_and_what_it_goes_on_from(setup, tmp_path):
    recipe, first, second = setup.recipe("qwen3_vl", str(tmp_path / "run")), Lines(), Lines()
    train(recipe, first)
    assert first.spec[0].startswith("12 samples, ")
    assert first.spec[0].endswith(f"parameters to train, 2 steps; {tmp_path / 'run'}")
    train(msgspec.structs.replace(recipe, max_steps=3, seed=7, keep=9), second)
    changed = "Changed since: max_steps 2 -> 3; seed 0 -> 7."
    assert second.spec[1] == f"Goes on from {tmp_path / 'run' / 'checkpoint-2'}. {changed}"


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt", "training_state.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_is_named(name, damage, setup, tmp_path):
    recipe = setup.recipe("qwen3_vl", str(tmp_path / "run"))
    train(recipe)
    file = tmp_path / "run" / "checkpoint-2" / name
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.unlink()
    with pytest.raises(TrainingError, match=r"checkpoint-2 is not a whole checkpoint: .*Move it away"):
        open_run(recipe)


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(setup, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    lines = Lines()
    with pytest.raises(TrainingError, match=r"Checkpoints cannot be written to .*file.run"):
        train(setup.recipe("qwen3_vl", str(tmp_path / "file" / "run"), log_every=1), lines)
    assert lines.spec == []


def test_as_many_checkpoints_are_kept_as_asked_for(setup, tmp_path):
    (tmp_path / "run" / "checkpoint-best").mkdir(parents=True)
    train(setup.recipe("qwen3_vl", str(tmp_path / "run"), max_steps=5, save_every=1, keep=2))
    assert [folder.name for folder in by_step(tmp_path / "run")] == ["checkpoint-4", "checkpoint-5"]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"checkpoint-4", "checkpoint-5", "checkpoint-best"}


def test_two_seeds_are_two_runs(setup, tmp_path):
    recipes = [setup.recipe("qwen3_vl", str(tmp_path / str(k)), seed=k // 2) for k in (0, 1, 2)]
    for recipe in recipes:
        train(recipe)
    assert differing(recipes[0], recipes[1]) == []
    assert len(differing(recipes[1], recipes[2])) == len(stored(recipes[1]))


# Accounts of a run.


def test_accumulated_batches_are_one_large_batch(setup, tmp_path):
    """The mean of the losses of equal batches is the loss of all, but for the order of sums."""
    settings = {"max_steps": 2, "lora": Lora(4, 16, 0.0), "optimiser": Optimiser(learning_rate=1e-3)}
    for name, sizes in (("small", {"batch_size": 2, "accumulation": 3}), ("large", {"batch_size": 6})):
        train(setup.recipe("qwen3_vl", str(tmp_path / name), **settings | sizes))
    small, large = (stored(setup.recipe("qwen3_vl", str(tmp_path / name))) for name in ("small", "large"))
    # A shift of all scores has no gradient, of which Adam makes steps all the same.
    for name in small.keys() - {"value_head.safetensors/2.bias"}:
        # Likewise where a gradient happens to be about zero.
        value = small[name]
        assert ((value - large[name]).abs() > 1e-5).float().mean() < 0.02


def test_the_log_names_the_mean_over_the_steps_that_it_is_of(setup, tmp_path):
    settings = {"max_steps": 5, "optimiser": Optimiser(learning_rate=1e-9), "head": Head(hidden=4, init_std=0.0)}
    lines = Lines()
    train(setup.recipe("qwen3_vl", str(tmp_path), accumulation=2, batch_size=1, log_every=3, **settings), lines)
    said = [line for line in lines.spec if line.startswith("step")]
    assert [line.split(":")[0] for line in said] == ["step 3 of 5", "step 5 of 5"]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in said]
    # All scores are 0, so the loss of a request is the logarithm of its number of responses, 2 to 4.
    assert all(math.log(2) < loss < math.log(4) for loss in losses)


def test_evaluations_come_every_k_steps_and_at_the_end(setup, tmp_path):
    held_out, lines = str(setup.folder / "train.jsonl"), Lines()
    recipe = setup.recipe("qwen3_vl", str(tmp_path), held_out=held_out, max_steps=5, evaluate_every=2, log_every=99)
    train(recipe, lines)
    found = [line for line in lines.spec if line.startswith("held out")]
    assert [line.split(":")[0] for line in found] == [f"held out after step {k}" for k in (2, 4, 5)]
    result = json.loads((tmp_path / "checkpoint-5" / "evaluation.json").read_text("utf-8"))
    assert result["requests"] == 12
    assert found[-1].endswith(f": best_of_n {result['best_of_n']:.4g}, requests 12")


def test_curves_go_to_tensorboard(setup, tmp_path):
    pytest.importorskip("tensorboard")
    held_out = str(setup.folder / "train.jsonl")
    train(setup.recipe("qwen3_vl", str(tmp_path), held_out=held_out, log="tensorboard", log_every=1))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = tmp_path.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file.parent)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert [event.step for event in events.Scalars("held_out/best_of_n")] == [2]


def test_schedules():
    rates = {kind: [schedule(kind, 0.25, step, 8) for step in range(8)] for kind in ("linear", "cosine", "constant")}
    assert all(values[:2] == [0.5, 1.0] for values in rates.values())
    assert rates["linear"][2:] == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert rates["cosine"][2:] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * k / 6) for k in range(6)])
    assert set(rates["constant"][2:]) == {1.0}


def test_a_hit_is_the_highest_score_on_a_best_response():
    nan = math.nan
    rankings = torch.tensor([[2.0, 1, nan], [1, 1, 2], [2, 1, 3], [1, nan, nan]])
    scores = torch.tensor([[0.0, 1, 9], [0, 5, 4], [3, 2, 1], [-4, 0, 0]])
    assert right(scores, rankings).tolist() == [3, 4]


# What is no number.


def failed(recipe: Recipe) -> tuple[str, list[dict]]:
    with pytest.raises(TrainingError) as caught:
        train(recipe)
    files = sorted(Path(recipe.out).glob("failed-batch-*.json"))
    reports = [json.loads(file.read_text("utf-8")) for file in files]
    assert all(len(report["samples"]) == len(set(report["lines"])) for report in reports)
    return str(caught.value), reports


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_a_base_with_infinite_weights_stops_the_run_at_once(family, setup, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for file in (setup.folder / family).iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    tensors = load_file(base / "model.safetensors")
    name = next(
        name for name in tensors if name.endswith(("layers.1.mlp.down_proj.weight", "blocks.1.mlp.ff_out.weight"))
    )
    tensors[name][0, 0] = math.inf
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    recipe = setup.recipe(family, str(tmp_path / "run"), base=str(base), batch_size=3)
    message, (saved,) = failed(recipe)
    assert saved["loss"] == "nan"
    assert (len(saved["lines"]), saved["step"], saved["epoch"]) == (3, 1, 0)
    assert "The loss is nan at step 1, on lines " + ", ".join(map(str, saved["lines"])) in message
    assert set(saved["lines"]) <= set(range(1, 13))
    assert newest(tmp_path / "run") is None


def test_a_learning_rate_that_is_too_high_leaves_no_checkpoint_without_numbers(setup, tmp_path):
    huge = Optimiser(learning_rate=1e30, schedule="constant")
    recipe = setup.recipe("qwen3_vl", str(tmp_path), optimiser=huge, max_steps=6, save_every=1)
    message, (saved,) = failed(recipe)
    assert "lower the learning rate" in message
    assert saved["step"] >= 1
    for folder in by_step(tmp_path):
        assert all(t.isfinite().all() for f in folder.glob("*.safetensors") for t in load_file(f).values())


def test_a_gradient_that_is_no_number_stops_the_run_before_its_step(setup, tmp_path):
    recipe = setup.recipe("qwen3_vl", str(tmp_path), accumulation=2, save_every=1)
    trainer = open_run(recipe)
    parameter = next(p for p in trainer.judge.parameters() if p.requires_grad)
    parameter.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError, match=r"The gradient's norm is (nan|inf) at step 1"):
        trainer.run(lambda _: None)
    (file,) = tmp_path.glob("failed-batch-*.json")
    assert len(json.loads(file.read_text("utf-8"))["lines"]) == 4
    assert newest(tmp_path) is None


# Worth its time.


def write_colours(folder: Path) -> None:
    """Pick the answer that names the colour of the prompt; nothing in the answers alone says which."""
    colours = ("red", "blue", "green", "yellow")
    for name, count in (("train", 512), ("held_out", 64)):
        draw, lines = random.Random(name), []
        for _ in range(count):
            wanted, shown = draw.choice(colours), draw.sample(colours, 4)
            ranks = [1 if colour == wanted else 2 for colour in shown]
            lines.append({"prompt": f"Pick {wanted}.", "responses": shown, "rankings": ranks})
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")


@pytest.mark.thorough
@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_a_short_run_learns_its_task(family, tmp_path):
    setup, lines = Setup.make(tmp_path, write_colours), Lines()
    recipe = setup.recipe(
        family, "run", held_out=str(tmp_path / "held_out.jsonl"), batch_size=16, max_steps=120, epochs=99,
        lora=Lora(16, 32, 0.0), head=Head(hidden=32, init_std=0.2), log_every=40, evaluate_every=40,
        optimiser=Optimiser(learning_rate=2e-3, betas=(0.9, 0.98), schedule="cosine", warmup=0.05),
    )  # fmt: skip
    trainer = open_run(recipe)
    trainer.judge.eval()
    before = evaluate(trainer.judge, trainer.preparer, trainer.held_out)
    assert before.right / before.requests < 0.5
    assert trainer.run(lines)["best_of_n"] >= 0.8, lines.spec


def test_the_best_checkpoint_stays(setup, tmp_path, monkeypatch):
    """Whatever comes after it, and where it is no step to save at."""
    from yoj.training import _trainer

    shares, reals = iter([0.5, 0.9, 0.9, 0.2, 0.3]), _trainer.evaluate

    def graded(*arguments):
        report = reals(*arguments)
        right = round(next(shares) * len(report.hits))
        return type(report)(report.scores, [k < right for k in range(len(report.hits))])

    monkeypatch.setattr(_trainer, "evaluate", graded)
    settings = {"held_out": str(setup.folder / "train.jsonl"), "evaluate_every": 1, "save_every": 5, "keep": 1}
    recipe, lines = setup.recipe("qwen3_vl", str(tmp_path), max_steps=5, **settings), Lines()
    train(recipe, lines)
    assert [path.name for path in by_step(tmp_path)] == ["checkpoint-3", "checkpoint-5"]
    assert best(tmp_path) == tmp_path / "checkpoint-3"
    assert lines.spec[-1] == f"best on the held-out samples: {tmp_path / 'checkpoint-3'}"


def test_a_run_may_begin_with_another_judge(setup, tmp_path):
    first = setup.recipe("qwen3_vl", str(tmp_path / "first"))
    train(first)
    last = newest(Path(first.out))
    still = {"optimiser": Optimiser(learning_rate=1e-30), "max_steps": 1}
    second = setup.recipe("qwen3_vl", str(tmp_path / "second"), init_from=str(last), seed=7, **still)
    train(second)
    assert differing(first, second) == []
    # A run of its own goes on from its own checkpoint.
    third = setup.recipe("qwen3_vl", str(tmp_path / "second"), init_from=str(tmp_path / "none"), max_steps=2)
    train(third)


@pytest.mark.parametrize("content", [None, "no tensors"])
def test_a_judge_to_begin_with_that_is_none(content, setup, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    if content is not None:
        (folder / "adapter_model.safetensors").write_text(content)
    with pytest.raises(TrainingError, match=r"init_from .* holds no weights of yoj-train for this recipe"):
        open_run(setup.recipe("qwen3_vl", str(tmp_path / "run"), init_from=str(folder)))
