"""Precisions that this machine computes fast, for recipes that leave the choice to it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import torch

from yoj.runtime.machine import instruction_sets

from ._errors import TrainingError
from ._processes import gather
from ._recipe import Recipe

BFLOAT16_SETS = ("avx512_bf16", "amx_bf16")
"""Instruction sets with which PyTorch's products in bfloat16 are faster than those in float32."""
NAMES = ("precision", "base_precision")
"""Settings of a recipe that may be ``auto``."""


@dataclass(frozen=True)
class Machine:
    """Machine on which a process trains."""

    device: str
    """Name for a person: that of the GPU, or ``CPU`` with its instruction sets."""
    fast_bfloat16: bool
    """Whether products in bfloat16 are faster than those in float32."""


def this_machine() -> Machine:
    """Device that accelerate will take in this process: the GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine(f"{torch.cuda.get_device_name()} (compute capability {major}.{minor})", fast)
    if torch.accelerator.is_available():
        return Machine(str(torch.accelerator.current_accelerator()), False)
    return machine_of_cpu(instruction_sets())


def machine_of_cpu(sets: tuple[str, ...]) -> Machine:
    """Machine of a CPU with these instruction sets, named as Linux names them."""
    named = f"CPU ({', '.join(sets)})" if sets else "CPU (instruction sets unknown)"
    return Machine(named, any(name in sets for name in BFLOAT16_SETS))


def resolve(recipe: Recipe, machine: Machine) -> Recipe:
    """The recipe with a precision in the place of every ``auto``: bfloat16 where it is fast, else float32.

    Weights are held in bfloat16 only where products are computed in it.
    """
    fast = "bfloat16" if machine.fast_bfloat16 else "float32"
    products = fast if recipe.precision == "auto" else recipe.precision
    held = recipe.base_precision
    if held == "auto":
        held = fast if products == "bfloat16" else "float32"
    return msgspec.structs.replace(recipe, precision=products, base_precision=held)


def slowness(recipe: Recipe, machine: Machine) -> str | None:
    """Warning where a resolved recipe asks for bfloat16 on a machine that is slow at it; None elsewhere."""
    slow = [name for name in NAMES if getattr(recipe, name) == "bfloat16" and _is_used(recipe, name)]
    if machine.fast_bfloat16 or not slow:
        return None
    return (
        f"Warning: {' and '.join(slow)} {'is' if len(slow) == 1 else 'are'} bfloat16. PyTorch computes that fast on "
        f"GPUs of compute capability 8.0 and above and on CPUs with {' or '.join(BFLOAT16_SETS)}; on others steps can "
        f"take several times as long as in float32. This is {machine.device}. Set "
        f"{' and '.join(f'{name}=auto' for name in slow)}, or float32, unless you want the numbers of bfloat16."
    )


def agree_on_precision(recipe: Recipe) -> None:
    """Refuse processes whose machines chose different precisions.

    Raises:
        TrainingError: they differ; raised on each of them.
    """
    found = sorted(set(gather([" and ".join(getattr(recipe, name) for name in NAMES)])))
    if len(found) > 1:
        raise TrainingError(
            f"Processes would compute in different precisions ({', '.join(NAMES)}: {'; '.join(found)}), since their "
            "machines differ. Set both to float32 or bfloat16."
        )


def _is_used(recipe: Recipe, name: str) -> bool:
    """Whether a precision is used: weights that are all trained are float32, whatever ``base_precision`` says."""
    return name == "precision" or recipe.trainable == "lora"
