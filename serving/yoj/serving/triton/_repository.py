"""Writer of model repositories for Triton."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from yoj.runtime.bundle import Bundle
from yoj.runtime.engines import ENGINES
from yoj.runtime.engines.select import select

from .._errors import ServingError

FORMS = {
    "json": (
        (("REQUEST", "TYPE_STRING", "1", True), ("REQUEST_UTF8", "TYPE_UINT8", "-1", True)),
        (("JUDGEMENT", "TYPE_STRING", "1"), ("JUDGEMENT_UTF8", "TYPE_UINT8", "-1")),
    ),
    "tensors": (
        (
            ("PROMPT", "TYPE_STRING", "1", False),
            ("RESPONSES", "TYPE_STRING", "-1", False),
            ("IMAGES", "TYPE_STRING", "-1", True),
        ),
        (("SCORES", "TYPE_FP32", "-1"), ("PROBABILITIES", "TYPE_FP32", "-1"), ("BEST", "TYPE_INT32", "1")),
    ),
}
"""Form of requests -> inputs (name, type, size, optional) and outputs (name, type, size) of its model."""


@dataclass(frozen=True)
class TritonSettings:
    """Settings of a model repository."""

    name: str
    engine: str | None = None
    precision: str | None = None
    threads: int | None = None
    instances: int = 1
    """Copies of the model, each with the weights in its own process."""
    max_batch: int = 16
    max_queue: int = 64
    """Most requests that wait; one more is refused."""
    max_delay: float = 0.002
    """Most seconds that a request waits for others to be scored with it."""
    copy: bool = False
    """Whether the bundle is copied into the repository; else the models name its place on this machine."""


def write_repository(bundle: Path, out: Path, settings: TritonSettings) -> list[str]:
    """Write a repository with one model for each form of requests.

    Args:
        bundle: the bundle's folder.
        out: folder of the repository; other models in it stay.
        settings: names and limits.

    Returns:
        Names of the models.

    Raises:
        BundleError: the bundle is missing or damaged.
        EngineError: it has no such engine.
        ServingError: a model of that name is there already.
    """
    with Bundle.opening(bundle) as opened:
        chosen = settings.engine or opened.manifest.engines[0].engine
        if settings.engine is not None and ENGINES[settings.engine].library is None:
            select(opened, settings.engine, settings.precision)
    names = [settings.name, f"{settings.name}_tensors"]
    if there := [name for name in names if (out / name).exists()]:
        raise ServingError(f"{out} holds {' and '.join(there)} already. Remove them, or choose another --name.")
    place = os.path.realpath(bundle)
    for name, form in zip(names, FORMS, strict=True):
        folder = out / name
        (folder / "1").mkdir(parents=True)
        shutil.copyfile(Path(__file__).with_name("model.py"), folder / "1" / "model.py")
        if settings.copy and form == "json":
            shutil.copytree(bundle, folder / "judge.yoj")
        told = place if not settings.copy else "judge.yoj" if form == "json" else f"../{names[0]}/judge.yoj"
        (folder / "config.pbtxt").write_text(_config(name, form, told, settings, ENGINES[chosen].gpu), "utf-8")
    return names


def _config(name: str, form: str, bundle: str, settings: TritonSettings, gpu: bool) -> str:
    inputs, outputs = FORMS[form]
    parameters = {
        "form": form,
        "bundle": bundle,
        "engine": settings.engine or "",
        "precision": settings.precision or "",
        "threads": str(settings.threads or ""),
    }
    blocks = [
        f'name: "{name}"',
        'backend: "python"',
        f"max_batch_size: {settings.max_batch}",
        *(
            f'input {{ name: "{n}" data_type: {kind} dims: [ {size} ] allow_ragged_batch: true'
            f"{' optional: true' if optional else ''} }}"
            for n, kind, size, optional in inputs
        ),
        *(f'output {{ name: "{n}" data_type: {kind} dims: [ {size} ] }}' for n, kind, size in outputs),
        "dynamic_batching {",
        f"  max_queue_delay_microseconds: {round(settings.max_delay * 1e6)}",
        "  default_queue_policy {",
        f"    timeout_action: REJECT max_queue_size: {settings.max_queue}",
        "  }",
        "}",
        f"instance_group [ {{ count: {settings.instances} kind: {'KIND_GPU' if gpu else 'KIND_CPU'} }} ]",
        *(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in parameters.items()),
    ]
    return "\n".join(blocks) + "\n"
