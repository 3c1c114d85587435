"""Training loop: batches in, checkpoints out.

Every step is a function of the recipe and the step's number, so that a run that was killed and goes on ends with the
weights of a run that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from yoj.runtime.error_texts import shorten

from . import _objectives as objectives
from ._batch import Batch
from ._errors import TrainingError
from ._estimate import Estimate, RunSize
from ._facts import facts_of
from ._feed import Feed, steps_in_epoch
from ._judge import Judge, Outputs, open_base
from ._optimisers import make_optimizers
from ._precision import agree_on_precision, resolve, slowness, this_machine
from ._preparer import make_preparer
from ._processes import (
    Together,
    agree,
    distribute,
    first_signal,
    load_optimizer,
    open_accelerator,
    place,
    whole_optimizer,
    whole_weights,
)
from ._recipe import Recipe, learns_language, ranks
from ._signals import Stopped, StopRequest
from .checkpoints import (
    BEST_OF_N,
    EVALUATION,
    LANGUAGE_LOSS,
    State,
    best,
    by_step,
    goodness,
    load_judge,
    newest,
    read_state,
    recipe_changes,
    require_same_reading,
    results_of,
    save_judge,
    write_recipe,
    write_state,
)
from .evaluation import evaluate, evaluate_language
from .samples import NumberedSample

UNREADABLE = (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError, UnpicklingError)
"""Errors of the libraries that read a checkpoint."""


@dataclass(frozen=True)
class Loss:
    """Loss of one batch."""

    total: torch.Tensor
    right: torch.Tensor
    """Number of rankings whose best response, or one of them, has the highest score, and number of rankings; one for
    each request and dimension, float32 [2]."""


class Trainer:
    """One run of one recipe."""

    def __init__(self, recipe: Recipe, samples: list[NumberedSample], held_out: list[NumberedSample]):
        """Load the base model, and the newest checkpoint of the run where there is one."""
        self.asked, self.machine = recipe, this_machine()
        self.recipe, self.held_out = (recipe := resolve(recipe, self.machine)), held_out
        self.out = Path(recipe.out)
        self.accelerator, here = open_accelerator(recipe), place()
        agree_on_precision(recipe)
        torch.manual_seed(recipe.seed)
        self.checkpoint = open_base(recipe)
        self.judge = Judge(self.checkpoint, recipe)
        self.state = State(processes=here.processes)
        self.stop = StopRequest()
        self.lines: list[int] = []  # of the step under way
        self.last, kept = newest(self.out), best(self.out)
        self.goodness = None if kept is None else goodness(results_of(kept))
        optimizer_state = self._go_on(self.last) if self.last is not None else None
        if self.last is None and recipe.init_from is not None:
            require_same_reading(Path(recipe.init_from), self.checkpoint.head, recipe)
            _init(self.judge, recipe.init_from, recipe)
        agree(self.state.global_step, recipe.out)
        self.preparer = make_preparer(self.checkpoint, self.judge.family, recipe)
        self.facts = facts_of(samples, recipe) if self.accelerator.is_main_process else None
        self.feed = Feed(samples, self.preparer, recipe, here)
        self.steps = self._count_steps()
        optimizers = make_optimizers(self.judge, recipe.optimiser)
        self.model, self.optimizers = distribute(self.accelerator, self.judge, optimizers)
        if optimizer_state is not None:
            load_optimizer(self.model, self.optimizers, optimizer_state)
        if recipe.log == "tensorboard":
            self.accelerator.init_trackers("yoj")

    def _go_on(self, last: Path) -> Any:
        """Load weights and progress of a checkpoint; returns the optimizers' state."""
        try:
            self.state = read_state(last).on(place().processes)
            require_same_reading(last, self.checkpoint.head, self.recipe)
            load_judge(last, self.judge, self.recipe)
            return torch.load(last / "optimizer.pt", weights_only=True)
        except TrainingError:
            raise
        except UNREADABLE as error:
            raise TrainingError(
                f"{last} is not a whole checkpoint: {shorten(str(error), 200)} Move it away to go on from the one "
                "before it, or train into another folder."
            ) from error

    def run(self, note: Callable[[str], None]) -> dict[str, Any]:
        """Train to the end. SIGTERM and SIGINT end the run before: the last whole step is kept in a checkpoint.

        SIGTERM and SIGINT end it before: the last whole step is kept in a checkpoint.

        Args:
            note: function that takes lines for a person.

        Returns:
            Last evaluation.

        Raises:
            TrainingError: the loss is not a number; the batch's samples are saved beside the checkpoints.
            Stopped: a signal asked the run to stop.
        """
        if self.state.global_step >= self.steps:
            if self.accelerator.is_main_process:
                note(f"{self.out} is trained to step {self.state.global_step} already.")
            return self._evaluate(note)
        try:
            with self.stop.listening():
                return self._train(note)
        finally:
            self.accelerator.end_training()

    def _train(self, note: Callable[[str], None]) -> dict[str, Any]:
        """Step to the end; returns the last evaluation."""
        main = self.accelerator.is_main_process
        if main:
            self._introduce(note)
        bar = tqdm(total=self.steps, initial=self.state.global_step, disable=None if main else True)
        results: dict[str, Any] = {}
        seen = torch.zeros(4, device=self.accelerator.device)
        begin = time.perf_counter()
        estimate = Estimate(self._work())
        whole = self.state
        for batch in self._batches():
            tokens = batch.tokens_without_padding
            step_ended, seen = self._learn(batch.to(self.accelerator.device), seen)
            if (told := estimate.add(len(batch.lines), tokens)) and main:
                note(told)
            if step_ended:
                whole = self.state = replace(self.state, global_step=self.state.global_step + 1)
                bar.update()
            self._stop_if_asked(whole, step_ended, note)
            if not step_ended:
                continue
            step = whole.global_step
            if step % self.recipe.log_every == 0 or step == self.steps:
                self._log(seen, step, time.perf_counter() - begin, note)
                seen, begin = torch.zeros_like(seen), time.perf_counter()
            results = self._finish_step(note)
            estimate.go_on()
            if step == self.steps:
                break
        bar.close()
        return results

    def _finish_step(self, note: Callable[[str], None]) -> dict[str, Any]:
        """Evaluate and save where it is time to."""
        step, recipe, results = self.state.global_step, self.recipe, dict[str, Any]()
        if step % recipe.evaluate_every == 0 or step == self.steps:
            try:
                # Several processes evaluate together, so that none may leave alone.
                with self.stop.at_once() if self.accelerator.num_processes == 1 else nullcontext():
                    results = self._evaluate(note)
            except Stopped:
                note(f"The evaluation after step {step} is left out.")
                self._stop_if_asked(self.state, True, note)
        found = goodness(results)
        if improved := found is not None and (self.goodness is None or found >= self.goodness):
            self.goodness = found
        if improved or step % recipe.save_every == 0 or step == self.steps:
            self._save(results)
        if step == self.steps and self.accelerator.is_main_process and (kept := best(self.out)) is not None:
            note(f"best on the held-out samples: {kept}")
        return results

    def _stop_if_asked(self, whole: State, step_ended: bool, note: Callable[[str], None]) -> None:
        """Keep the last whole step and end the run, where a signal has come to any of the processes.

        Raises:
            Stopped: a signal has come.
        """
        if self.accelerator.num_processes > 1 and not step_ended:
            return  # they are together again at the end of a step
        number = first_signal(self.stop.number, self.accelerator.device)
        if not number:
            return
        # Between steps weights and optimizer stay as they are: what a part of a step added are gradients.
        self.state = whole
        step = whole.global_step
        last = newest(self.out)
        kept = last is not None and last.name == f"checkpoint-{step}"
        if step and not kept:
            self._save({})
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            left = f"{self.out / f'checkpoint-{step}'} holds all whole steps" if step else "There was no whole step yet"
            note(
                f"Stopped by {signal.Signals(number).name} after step {step} of {self.steps}. {left}. Run the same "
                "command again to go on from there."
            )
        raise Stopped(number)

    def _work(self) -> RunSize:
        """Work that is left, for an estimate."""
        begin, every, n = self.state.global_step, self.recipe.evaluate_every, len(self.held_out)
        evaluations = self.steps // every - begin // every + (self.steps % every > 0)
        left_out = f", without {evaluations:,} evaluations of {n:,} samples" if n else ", nothing is evaluated"
        how = f"{self.recipe.precision} on {self.machine.device}"
        return RunSize(self.steps - begin, self.recipe.accumulation, self.accelerator.num_processes, left_out, how)

    def _introduce(self, note: Callable[[str], None]) -> None:
        """Report the start, and find out before the first step whether its checkpoints can be written."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.out).close()
        except OSError as error:
            raise TrainingError(
                f"Checkpoints cannot be written to {self.out}: {error.strerror}. Change out."
            ) from error
        trained = sum(parameter.numel() for parameter in self.judge.parameters() if parameter.requires_grad)
        note(f"{len(self.feed.samples):,} samples, {trained:,} parameters to train, {self.steps:,} steps; {self.out}")
        if self.last is not None:
            changes = recipe_changes(self.last, self.recipe)
            note(f"Goes on from {self.last}." + (f" Changed since: {'; '.join(changes)}." if changes else ""))
        recipe, chosen = self.recipe, " (auto)" if self.asked.precision == "auto" else ""
        held = "float32" if recipe.trainable == "all" else recipe.base_precision
        note(
            f"Products in {recipe.precision}{chosen}, weights of the base in {held}; {self.machine.device}, "
            f"{torch.get_num_threads()} threads, {self.accelerator.num_processes} processes."
        )
        if warning := slowness(recipe, self.machine):
            note(warning)

    def _count_steps(self) -> int:
        steps = self.recipe.epochs * steps_in_epoch(len(self.feed.samples), self.recipe, self.feed.place.processes)
        return min(steps, self.recipe.max_steps or steps)

    def _batches(self) -> Iterator[Batch]:
        """Batches from where the run is to its end; epochs are whole steps long."""
        whole = self.feed.batches // self.recipe.accumulation * self.recipe.accumulation
        while True:
            if self.state.step_in_epoch >= whole:
                self.state = replace(self.state, epoch=self.state.epoch + 1, step_in_epoch=0)
            begin = self.state.step_in_epoch
            for number, batch in enumerate(self.feed.epoch(self.state.epoch, begin), begin + 1):
                self.state = replace(self.state, step_in_epoch=number)
                yield batch
                if number == whole:
                    break

    def _learn(self, batch: Batch, seen: torch.Tensor) -> tuple[bool, torch.Tensor]:
        """Run forward and backward of one batch, and the step where the batch completes one."""
        self._seed()
        self.model.train()
        settings = self.recipe.optimiser
        with self.accelerator.accumulate(self.model), attention(self.accelerator.device):
            loss = self._loss(self.model(batch), batch)
            if not loss.total.isfinite():
                self._stop(batch.lines, "loss", float(loss.total.detach()))
            self.accelerator.backward(loss.total)
            self.lines += batch.lines
            ended = self.accelerator.sync_gradients
            if ended:
                norm = self.accelerator.clip_grad_norm_(self.model.parameters(), settings.clip)
                if norm is not None and not torch.isfinite(torch.as_tensor(norm)):
                    self._stop(self.lines, "gradient's norm", float(norm))
                factor = schedule(settings.schedule, settings.warmup, self.state.global_step, self.steps)
                for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                    group["lr"] = settings.learning_rate * factor
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            self.lines = [] if ended else self.lines
        return ended, seen + torch.cat([loss.total.detach().reshape(1), loss.right, loss.right.new_ones(1)])

    def _loss(self, outputs: Outputs, batch: Batch) -> Loss:
        recipe, zero = self.recipe, torch.zeros((), device=self.accelerator.device)
        text = zero if outputs.logits_TW is None else objectives.language(outputs.logits_TW, batch.labels_T)
        if outputs.heads_RNJK is None:
            return Loss(text, torch.zeros(2, device=zero.device))
        # A request counts once in each dimension, so that the mean over requests is one over dimensions, too.
        heads_RNK = outputs.heads_RNJK.permute(2, 0, 1, 3).flatten(0, 1).float()
        rankings = given = batch.rankings_JRN.flatten(0, 1)
        if recipe.ties == "random":
            rankings = objectives.draw_best(rankings, torch.Generator().manual_seed(_number(recipe, batch.lines)))
        scores = heads_RNK[..., 0]
        if recipe.objective == "joint":
            ranking = objectives.gaussian(scores, heads_RNK[..., 1], rankings)
            total = (1 - recipe.language_share) * ranking + recipe.language_share * text
        else:
            total = getattr(objectives, recipe.objective)(scores, rankings)
        return Loss(total, right(scores.detach(), given))

    def _seed(self) -> None:
        """Seed dropout for a batch from the recipe and the place in the run alone, however many processes train."""
        here = self.feed.place
        number = (self.state.step_in_epoch - 1) * here.processes + here.rank
        torch.manual_seed(_number(self.recipe, (self.state.epoch, number)))

    def _stop(self, lines: Sequence[int], what: str, value: float) -> None:
        step = self.state.global_step + 1
        file = self.out / f"failed-batch-{step}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        failed = {what: str(value), "lines": list(lines), "epoch": self.state.epoch, "step": step}
        kept = set(lines)
        samples = [msgspec.to_builtins(n.sample) for n in self.feed.samples if n.line in kept]
        file.write_text(json.dumps(failed | {"samples": samples}, indent=1) + "\n", "utf-8")
        raise TrainingError(
            f"The {what} is {value} at step {step}, on lines {', '.join(map(str, lines))} of "
            f"{self.recipe.data}, which are kept in {file}. Look at them; then lower the learning rate, or set "
            "precision to float32, and run again: it goes on from the newest checkpoint."
        )

    def _log(self, seen: torch.Tensor, step: int, seconds: float, note: Callable[[str], None]) -> None:
        total = self.accelerator.reduce(seen, "sum")
        steps = float(total[3]) / (self.recipe.accumulation * self.accelerator.num_processes)
        values = {"loss": float(total[0] / total[3]), "learning_rate": self.optimizers[0].param_groups[0]["lr"]}
        if total[2] > 0:
            values["accuracy"] = float(total[1] / total[2])
        if self.recipe.log == "tensorboard":
            self.accelerator.log(values, step)
        if self.accelerator.is_main_process:
            note(f"step {step} of {self.steps}: {_shown(values)}, {seconds / steps:.2f} s a step")

    def _evaluate(self, note: Callable[[str], None]) -> dict[str, Any]:
        if not self.held_out:
            return {}
        self.model.eval()
        model = Together(self.model, self.accelerator.device) if self.accelerator.is_fsdp2 else self.judge
        mine = self.held_out[self.feed.place.rank :: self.feed.place.processes]
        counts = self._count(model, mine)
        if isinstance(model, Together):
            model.finish(self.feed.collate([0], 0).to(self.accelerator.device))
        device = self.accelerator.device
        sums = self.accelerator.reduce(torch.tensor(list(counts.values()), dtype=torch.float32, device=device), "sum")
        found = {name: (float(total), float(of)) for name, (total, of) in zip(counts, sums, strict=True)}
        results: dict[str, Any] = {name: total / of for name, (total, of) in found.items() if of}
        if BEST_OF_N in found:
            results["requests"] = int(found[BEST_OF_N][1])
        if self.accelerator.is_main_process:
            note(f"held out after step {self.state.global_step}: {_shown(results)}")
        if self.recipe.log == "tensorboard":
            self.accelerator.log({f"held_out/{name}": value for name, value in results.items()}, self.state.global_step)
        return results

    def _count(self, model: nn.Module, samples: Sequence[NumberedSample]) -> dict[str, tuple[float, float]]:
        """Figure -> sum over samples, and number of what was added up."""
        counts = dict[str, tuple[float, float]]()
        if ranks(self.recipe):
            report = evaluate(model, self.preparer, samples, None, self.recipe.head)
            counts[BEST_OF_N] = report.right, report.requests
            for name in self.recipe.head.dimensions:
                counts[f"pairwise/{name}"] = report.pairs(samples, name)
        if learns_language(self.recipe):
            losses = evaluate_language(model, self.feed, samples)
            counts[LANGUAGE_LOSS] = sum(loss for loss, _ in losses), sum(tokens for _, tokens in losses)
        return counts

    def _save(self, results: dict[str, Any]) -> None:
        """Write a checkpoint under another name and rename it; remove the oldest beyond ``keep``, but not the best."""
        weights, optimizer = whole_weights(self.model), whole_optimizer(self.model, self.optimizers)
        if not self.accelerator.is_main_process:
            return
        assert self.facts is not None
        folder = self.out / f".checkpoint-{self.state.global_step}.tmp"
        shutil.rmtree(folder, ignore_errors=True)
        save_judge(folder, self.judge, weights, self.checkpoint, self.recipe, self.facts)
        torch.save(optimizer, folder / "optimizer.pt")
        write_state(folder, self.state)
        write_recipe(folder, self.recipe)
        (folder / EVALUATION).write_text(json.dumps(results) + "\n", "utf-8")
        target = self.out / f"checkpoint-{self.state.global_step}"
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
        kept = best(self.out)
        for old in by_step(self.out)[: -self.recipe.keep]:
            if old != kept:
                shutil.rmtree(old)


def _init(judge: Judge, folder: str, recipe: Recipe) -> None:
    try:
        load_judge(Path(folder), judge, recipe)
    except TrainingError:
        raise
    except UNREADABLE as error:
        raise TrainingError(
            f"init_from {folder} holds no weights of yoj-train for this recipe: {shorten(str(error), 200)} Give "
            "a checkpoint-N folder of a run over the same base, with the same trainable."
        ) from error


def attention(device: torch.device) -> AbstractContextManager[Any]:
    """Kernels of attention. On a CPU the fused one takes most of a backward pass in bfloat16, at short lengths."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def schedule(kind: str, warmup: float, step: int, steps: int) -> float:
    """Factor of the learning rate at a step, counted from 0: linear rise over the warm-up, then decay to 0."""
    begin = round(warmup * steps)
    if step < begin:
        return (step + 1) / begin
    done = (step - begin) / max(1, steps - begin)
    return {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}[kind]


def right(scores_RN: torch.Tensor, rankings_RN: torch.Tensor) -> torch.Tensor:
    """Number of rows whose highest score is one of the best-ranked, and number of rows with ranks: float32 [2]."""
    absent = rankings_RN.isnan()
    best = scores_RN.masked_fill(absent, -math.inf).argmax(dim=1, keepdim=True)
    ranks = rankings_RN.masked_fill(absent, math.inf)
    judged = ~absent.all(dim=1)
    hits = (ranks.gather(1, best).squeeze(1) == ranks.min(dim=1).values) & judged
    return torch.stack([hits.sum().float(), judged.sum().float()])


def _shown(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _number(recipe: Recipe, of: tuple[int, ...]) -> int:
    return int.from_bytes(hashlib.sha256(repr((recipe.seed, *of)).encode()).digest()[:6], "little")
