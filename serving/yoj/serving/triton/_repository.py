"""Writer of model repositories for Triton."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from yoj.runtime.bundle import Bundle
from yoj.runtime.engines import ENGINES

from .._errors import ServingError

INPUTS = {
    "json": (("REQUEST", "TYPE_STRING", 1, False),),
    "tensors": (
        ("PROMPT", "TYPE_STRING", 1, False),
        ("RESPONSES", "TYPE_STRING", -1, False),
        ("IMAGES", "TYPE_STRING", -1, True),
    ),
    "utf8": (("REQUEST", "TYPE_UINT8", -1, False),),
}
"""Form of requests -> inputs of its model: name, type, size (-1: any), whether it may be left out."""
OUTPUTS = {
    "json": (("JUDGEMENT", "TYPE_STRING", 1),),
    "tensors": (("SCORES", "TYPE_FP32", -1), ("PROBABILITIES", "TYPE_FP32", -1), ("BEST", "TYPE_INT32", 1)),
    "utf8": (("JUDGEMENT", "TYPE_UINT8", -1),),
}
"""Form of requests -> outputs of its model: name, type, size."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class TritonSettings:
    """Settings of a model repository."""

    name: str
    """Name of the JSON model; those of other forms have ``_`` and the form after it."""
    forms: tuple[str, ...] = ("json", "tensors")
    """Forms of requests, each of which is a model of its own."""
    engine: str | None = None
    precision: str | None = None
    threads: int | None = None
    instances: int = 1
    """Copies of each model, each with the weights in its own process."""
    max_batch: int = 16
    """Most requests that are scored together."""
    max_queue: int = 64
    """Most requests that wait; one more is refused."""
    max_delay: float = 0.0
    """Most seconds that a request waits for others to be scored with it, while an instance is free."""
    copy: bool = False
    """Whether the bundle is copied into the repository; else the models name its place on this machine."""


def write_repository(bundle: Path, out: Path, settings: TritonSettings) -> list[Path]:
    """Write a repository with one model for each form of requests.

    Args:
        bundle: the bundle's folder.
        out: folder of the repository; other models in it stay.
        settings: names and limits.

    Returns:
        Folders of the models, one for each form.

    Raises:
        BundleError: the bundle is missing or damaged.
        EngineError: it has no such engine.
        ServingError: the name is none that Triton takes, or a model of that name is there already.
    """
    if not NAME.fullmatch(settings.name):
        raise ServingError(f"{settings.name!r} is no name of a model. Give letters, digits, dots, - and _ as --name.")
    wanted = settings.engine and ENGINES[settings.engine].executes
    with Bundle.opening(bundle) as opened:
        entry = opened.engine(wanted, settings.precision)
    gpu = ENGINES[settings.engine or entry.engine].gpu
    names = [settings.name if form == "json" else f"{settings.name}_{form}" for form in settings.forms]
    if there := [name for name in names if (out / name).exists()]:
        raise ServingError(f"{out} holds {' and '.join(there)} already. Remove them, or choose another --name.")
    place = f"../{names[0]}/judge.yoj" if settings.copy else os.path.realpath(bundle)
    for name, form in zip(names, settings.forms, strict=True):
        (out / name / "1").mkdir(parents=True)
        shutil.copyfile(Path(__file__).with_name("_model.py"), out / name / "1" / "model.py")
        (out / name / "config.pbtxt").write_text(_config(name, form, place, settings, gpu), "utf-8")
    if settings.copy:
        shutil.copytree(bundle, out / names[0] / "judge.yoj")
    return [out / name for name in names]


def _config(name: str, form: str, bundle: str, settings: TritonSettings, gpu: bool) -> str:
    parameters = {
        "form": form,
        "bundle": bundle,
        "engine": settings.engine or "",
        "precision": settings.precision or "",
        "threads": str(settings.threads or ""),
    }
    kind = "kind: KIND_GPU gpus: [ 0 ]" if gpu else "kind: KIND_CPU"
    lines = [
        f'name: "{name}"',
        'backend: "python"',
        f"max_batch_size: {settings.max_batch}",
        *(
            f'input {{ name: "{n}" data_type: {type_} dims: [ {size} ] allow_ragged_batch: true'
            f"{' optional: true' if optional else ''} }}"
            for n, type_, size, optional in INPUTS[form]
        ),
        *(f'output {{ name: "{n}" data_type: {type_} dims: [ {size} ] }}' for n, type_, size in OUTPUTS[form]),
        "dynamic_batching {",
        f"  max_queue_delay_microseconds: {round(settings.max_delay * 1e6)}",
        f"  default_queue_policy {{ timeout_action: REJECT max_queue_size: {settings.max_queue} }}",
        "}",
        f"instance_group [ {{ count: {settings.instances} {kind} }} ]",
        # A string of the text format has the escapes of one of JSON.
        *(
            f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value, ensure_ascii=False)} }} }}'
            for key, value in parameters.items()
        ),
    ]
    return "\n".join(lines) + "\n"
