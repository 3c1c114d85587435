"""Runs that are asked to stop: what they keep, how they end, and that they go on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import msgspec
import pytest
from tiny_training import LONG, Lines, Setup, differing, open_run, train

from yoj.training._recipe import Recipe
from yoj.training._signals import Stopped
from yoj.training.checkpoints import by_step, newest, read_state

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup.make(tmp_path_factory.mktemp("stopping"))


class Asking(Lines):
    """Lines of a log; a signal comes to this process where one of them begins with a word."""

    def __init__(self, word: str, number: int):
        super().__init__()
        self.word, self.number = word, number

    def __call__(self, text: str) -> None:
        super().__call__(text)
        if text.startswith(self.word):
            os.kill(os.getpid(), self.number)


def stopped(recipe: Recipe, word: str, number: int = signal.SIGTERM) -> tuple[int | str | None, list[str]]:
    """Status and log of a run that is asked to stop."""
    lines, handlers = Asking(word, number), [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    trainer = open_run(recipe)
    with pytest.raises(Stopped) as caught:
        trainer.run(lines)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    return caught.value.code, lines.spec


@pytest.fixture(scope="module")
def whole(setup, tmp_path_factory) -> Recipe:
    """A run that was not stopped."""
    recipe = setup.recipe("qwen3_vl", str(tmp_path_factory.mktemp("whole")), **LONG | {"save_every": 99})
    train(recipe)
    return recipe


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_asked_to_stop_keeps_its_last_whole_step(number, status, whole, tmp_path):
    """The signal comes in the middle of a step: its first batch of two is thrown away, and read again later."""
    recipe = msgspec.structs.replace(whole, out=str(tmp_path))
    code, said = stopped(recipe, "step 4 ", number)
    assert code == status
    assert said[-1] == (
        f"Stopped by {signal.Signals(number).name} after step 4 of 9. {tmp_path / 'checkpoint-4'} holds all whole "
        "steps. Run the same command again to go on from there."
    )
    assert [folder.name for folder in by_step(tmp_path)] == ["checkpoint-4"]
    lines = Lines()
    train(recipe, lines)
    assert next(line.split(":")[0] for line in lines.spec if line.startswith("step ")) == "step 5 of 9"
    assert differing(whole, recipe) == []


def test_a_checkpoint_that_is_there_is_not_written_again(whole, tmp_path):
    recipe = msgspec.structs.replace(whole, out=str(tmp_path), save_every=2, max_steps=5)
    stopped(recipe, "step 3 ")
    assert [folder.name for folder in by_step(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
    again = tmp_path / "checkpoint-3"
    before = again.stat().st_ino
    # It begins with step 4, whose first batch is not a whole step yet.
    stopped(msgspec.structs.replace(recipe, batch_size=1, accumulation=4), "Goes on from")
    assert again.stat().st_ino == before
    assert newest(tmp_path) == again


def test_before_the_first_whole_step_there_is_nothing_to_keep(whole, tmp_path):
    code, said = stopped(msgspec.structs.replace(whole, out=str(tmp_path)), "Products in")
    assert code == 143
    assert said[-1].startswith("Stopped by SIGTERM after step 0 of 9. There was no whole step yet.")
    assert by_step(tmp_path) == []


def test_an_evaluation_is_broken_off(setup, whole, tmp_path):
    held_out = str(setup.folder / "train.jsonl")
    recipe = msgspec.structs.replace(whole, out=str(tmp_path), held_out=held_out, evaluate_every=3)
    _, said = stopped(recipe, "step 3 ")
    assert said[-2:-1] == ["The evaluation after step 3 is left out."]
    assert "after step 3 of 9" in said[-1]
    assert not any(line.startswith("held out") for line in said)
    train(recipe)
    assert differing(whole, recipe) == []


@pytest.mark.thorough
def test_a_process_group_that_is_terminated_says_so_in_its_log(setup, tmp_path):
    """As schedulers and ``timeout`` do it: processes that load data get the signal too."""
    settings = LONG | {"epochs": 30, "save_every": 500, "workers": 2}
    recipe = setup.recipe("qwen3_vl", str(tmp_path / "run"), **settings)
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(msgspec.to_builtins(recipe)), "utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "yoj.training.cli", "run", str(file), "--trust-data"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    said = list[str]()
    for line in process.stdout:
        said.append(line)
        if line.startswith("About "):  # read while the run goes on: lines do not wait in a buffer
            os.killpg(process.pid, signal.SIGTERM)
            break
    rest, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert "Stopped by SIGTERM after step " in rest
    assert "SIGTERM: the run stops after the work in hand" in errors
    assert "Traceback" not in errors
    assert said[1].startswith("Products in float32, weights of the base in float32; ")
    assert " for the 87 steps to come, nothing is evaluated; " in said[-1]
    folder = newest(tmp_path / "run")
    assert folder is not None
    assert 3 <= read_state(folder).global_step < 90
    # Processes that load data have gone with the run.
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


SLEEPER = """
import os, signal, sys, time
from yoj.training._signals import ONE_REQUEST, StopRequest
stop = StopRequest()
with stop.listening():
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    print(stop.number, flush=True)
    time.sleep(ONE_REQUEST + 0.1)
    os.kill(os.getpid(), int(sys.argv[1]))
    print("still here", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_request_ends_at_once(number):
    done = subprocess.run([sys.executable, "-c", SLEEPER, str(int(number))], capture_output=True, text=True)
    assert done.returncode == -number
    assert done.stdout == f"{int(signal.SIGTERM)}\n"  # signals of one moment are one request


def test_signals_that_are_ignored_stay_so():
    from yoj.training._signals import StopRequest

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest().listening() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == 0
    finally:
        signal.signal(signal.SIGINT, before)
