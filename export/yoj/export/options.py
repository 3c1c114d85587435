"""Options of every command that opens a checkpoint, for facts that its files may not say; set-up of libraries."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any

import click

from yoj.runtime.options import HubFolder


def checkpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the argument CHECKPOINTS and the options that describe a checkpoint's training."""
    options = (
        click.argument("checkpoints", nargs=-1, required=True, type=HubFolder("checkpoint")),
        click.option(
            "--base",
            type=HubFolder("checkpoint"),
            help="The base model under LoRA adapters.  [default: the folder that the adapter names]",
        ),
        click.option(
            "--layout",
            required=True,
            type=click.Choice(["assistant", "user"]),
            help="Turn in which the responses stood in training; the published training code uses "
            "assistant, its README's inference example user. Rankings differ.",
        ),
        click.option(
            "--mode",
            type=click.Choice(["joint", "isolated"]),
            help="Mode of the training: joint, all responses in one sequence, or isolated, one response at a time "
            "(a classic reward model, as TRL, verl, OpenRLHF, LLaMA-Factory and ms-swift train it). A model with a "
            "separator scores in both.  "
            "[default: isolated for what those trainers wrote, else what reward_model_config.json says, else joint]",
        ),
        click.option(
            "--hidden-state",
            type=click.Choice(["post_norm", "pre_norm"]),
            help="Whether the head was trained on the trunk's output after or before its final norm; needed for "
            "Qwen3-VL where the head read hidden_states[-1] (multi-response training, LLaMA-Factory, TRL's value "
            "head): transformers 4.57 gave pre_norm and 5.x post_norm.  "
            "[default: what reward_model_config.json says, else post_norm for Molmo2 and for score.weight of TRL, "
            "ms-swift, verl and OpenRLHF]",
        ),
        click.option(
            "--video-expansion",
            type=click.Choice(["flat", "nested"]),
            help="Whether a video's outer vision markers were replaced in training (flat, transformers 4.57) or stayed "
            "around its frames (nested, 5.x); for Qwen3-VL.  "
            "[default: what reward_model_config.json says, else flat]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def prepare_libraries() -> None:
    """Check that the extra ``export`` is installed, silence other libraries' loggers and forbid downloads.

    Raises:
        click.ClickException: a library is not installed.
    """
    missing = [name for name in ("torch", "transformers", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f"{', '.join(missing)} is not installed. Run: pip install 'yoj[export]'")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("torch").setLevel(logging.ERROR)
