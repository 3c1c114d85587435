"""Cooperation of a run's processes: how the judge is spread over them, which of them saves, and what they exchange.

A checkpoint does not show how many processes wrote it, nor whether the weights were sharded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import MixedPrecisionPolicy

from ._batch import Batch
from ._errors import TrainingError
from ._feed import ProcessRank
from ._judge import Judge, Outputs
from ._recipe import Recipe

T = TypeVar("T")
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


def open_accelerator(recipe: Recipe) -> Accelerator:
    """Join the processes that the launcher started; one process where it started none."""
    precision = "bf16" if recipe.precision == "bfloat16" else "no"
    # State of a run before this one in the process, with another precision; accelerate has no public way to drop it.
    state: Any = AcceleratorState
    if state._shared_state and state().mixed_precision != precision:
        state._reset_state()
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    # No casts: adapters and rotary frequencies stay float32, and autocast does what it does without shards.
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, mixed_precision_policy=MixedPrecisionPolicy())
    accelerator = Accelerator(
        # Without it, processes on a machine without an accelerator do not find each other.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=precision,
        gradient_accumulation_steps=recipe.accumulation,
        log_with="tensorboard" if recipe.log == "tensorboard" else None,
        project_dir=recipe.out,
        step_scheduler_with_optimizer=False,
        fsdp_plugin=plugin if sharded else None,
    )
    if sharded and accelerator.distributed_type == DistributedType.MULTI_CPU:
        # Accelerate takes up the plugin on accelerators only; PyTorch shards over gloo as well.
        PartialState().distributed_type = accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
    return accelerator


def distribute(
    accelerator: Accelerator, judge: Judge, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[nn.Module, list[Any]]:
    """Wrap the judge and its optimizers as the processes train them: each a whole copy, or each a share of the weights.

    Raises:
        TrainingError: an optimizer needs whole matrices and the processes hold shares.
    """
    if accelerator.is_fsdp2:
        if any(isinstance(optimizer, torch.optim.Muon) for optimizer in optimizers):
            raise TrainingError("Muon needs whole matrices, FSDP shares them. Set optimiser.kind to adamw, or use DDP.")
        # The decoder layers are units of their own, the rest is one: a batch without media runs no vision tower, and
        # a unit that only some processes gather stops them all.
        judge._no_split_modules = [type(judge.blocks[0]).__name__]  # type: ignore[assignment]
        judge.forward = accelerator.autocast()(judge.forward)  # which accelerate leaves out with shards
    model, *prepared = accelerator.prepare(judge, *optimizers)
    return model, prepared


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every trained weight, on the CPU of the first process; nothing on the others, which all have to call."""
    return get_model_state_dict(model, options=WHOLE)  # type: ignore[return-value]


def whole_optimizer(model: nn.Module, optimizers: Sequence[Any]) -> dict[str, Any]:
    """State of the optimizers by the weights' names, gathered as by `whole_weights`."""
    return get_optimizer_state_dict(model, [prepared.optimizer for prepared in optimizers], options=WHOLE)  # type: ignore[return-value]


def load_optimizer(model: nn.Module, optimizers: Sequence[Any], state: dict[str, Any]) -> None:
    """Load what `whole_optimizer` gave, read by every process."""
    set_optimizer_state_dict(model, [prepared.optimizer for prepared in optimizers], state, options=WHOLE)


def place() -> ProcessRank:
    """Rank of this process and number of processes."""
    return ProcessRank(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ProcessRank()


def gather(items: list[T]) -> list[T]:
    """Items of all processes, the same on each."""
    if not dist.is_initialized():
        return items
    parts: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def first_signal(number: int, device: torch.device) -> int:
    """Number of a signal that any process has received, the same on each; 0 for none."""
    if not dist.is_initialized():
        return number
    found = torch.tensor(number, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def agree(step: int, out: str) -> None:
    """Refuse processes that go on from different checkpoints.

    Raises:
        TrainingError: they differ; raised on each of them.
    """
    steps = sorted(set(gather([step])))
    if len(steps) > 1:
        raise TrainingError(
            f"Processes found checkpoints of the steps {', '.join(map(str, steps))} in {out}. Let all see one folder."
        )


class Together(nn.Module):
    """Sharded judge in an evaluation. Each forward pass needs all processes, and some have fewer batches."""

    def __init__(self, model: nn.Module, device: torch.device):
        super().__init__()
        self.judge, self._device = model, device
        self._last: Batch | None = None

    def forward(self, batch: Batch) -> Outputs:
        """Run a batch of this process."""
        self._last = batch
        self._busy(1)
        return self.judge(batch)

    @torch.inference_mode()
    def finish(self, spare: Batch) -> None:
        """Take part in forward passes until no process has a batch left, for the shares of weights that they need.

        Args:
            spare: batch to run where this process had none at all.
        """
        while self._busy(0):
            self.judge(self._last or spare)

    def _busy(self, mine: int) -> int:
        count = torch.tensor(mine, device=self._device)
        dist.all_reduce(count)
        return int(count)
