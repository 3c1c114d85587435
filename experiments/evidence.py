"""Evidence for the objectives and modes, measured on the small task over several seeds.

    python -m experiments.evidence FOLDER --family qwen3_vl --out checkpoints/evidence.json

FOLDER is that of ``python -m experiments.small_judge``: its data and its base model are used, and
each seed trains every judge anew.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from yoj.training import EvaluationMode, Report, Trainer, evaluate, load_samples, read_recipe
from yoj.training.samples import NumberedSample, read_samples
from yoj.training.setup import open_preparer

from .shapes import ShapesConfig, write_items
from .small_judge import RECIPES

SIZES = (2, 4, 8, 16, 32)
SWEEP_KINDS = ("identify", "front", "moves")
"""Kinds of the task that have items of every size."""
SWEEP_ITEMS = 500
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for a two-sided interval of 95 % of a mean, by the number of seeds."""


@dataclass(frozen=True)
class Run:
    """Training of a judge: its name and the changes of the recipe."""

    name: str
    changes: tuple[str, ...]
    tokens_of_single_passes: bool = False
    """Fraction of the steps, so that separate passes would have read as many tokens as the joint ones of the other
    runs."""


RUNS = (
    Run("n_way", ("objective=n_way",)),
    Run("bradley_terry, equal steps", ("objective=bradley_terry",)),
    Run("bradley_terry, equal tokens", ("objective=bradley_terry",), tokens_of_single_passes=True),
    Run("joint, a = 0.7", ("objective=joint", "language_share=0.7")),
    Run("plain ranking, a = 0", ("objective=joint", "language_share=0.0")),
)
SWEPT = RUNS[:2]
"""Runs that are also measured against N."""


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--family", default="qwen3_vl", show_default=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Results; goes on there.")
@click.option("--steps", default=1200, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--only", default=None, help="One seed alone, to share the work between processes.", type=int)
def main(folder: Path, family: str, out: Path, steps: int, seeds: int, only: int | None) -> None:
    """Train and measure what is missing in the results, then print the tables."""
    results: dict[str, Any] = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    for seed in range(seeds) if only is None else [only]:
        for run in RUNS:
            key = f"{run.name} / {seed}"
            if key not in results:
                results[key] = measure(folder, family, run, steps, seed)
                out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
                click.echo(f"{key}: {results[key]['best_of_4']:.3f}")
    click.echo(tables(results))


def measure(folder: Path, family: str, run: Run, steps: int, seed: int) -> dict[str, Any]:
    """Train one judge and read the held-out items in every mode that it is made for."""
    if run.tokens_of_single_passes:
        steps = round(steps / token_ratio(folder, family))
    trainer = _train(folder, family, run, steps, seed)
    judge, preparer = trainer.judge.eval(), trainer.preparer
    held_out, _ = read_samples(folder / "held_out.jsonl")

    def read(samples: Sequence[NumberedSample], reading: EvaluationMode | None = None) -> Report:
        return evaluate(judge, preparer, samples, reading)

    plain = read(held_out)
    values: dict[str, Any] = {"best_of_4": _share(plain), "steps": steps, "kinds": _by_kind(plain, held_out)}
    if run in SWEPT:
        values["sizes"] = {n: _share(read(_sweep(folder, n))) for n in SIZES}
    if run.name == "n_way":
        turned = read(held_out, EvaluationMode(orders=4))
        values["slots"] = _by_slot(plain, held_out)
        values["slots, 4 orders"] = _by_slot(turned, held_out)
        values["4 orders"] = _share(turned)
        values["isolated"] = _share(read(held_out, EvaluationMode(mode="isolated")))
        values["text alone"] = _share(read(held_out, EvaluationMode(media=False)))
    elif run.name.startswith("bradley_terry"):
        values["joint"] = _share(read(held_out, EvaluationMode(mode="joint")))
    return values


def token_ratio(folder: Path, family: str) -> float:
    """Tokens of N separate passes over those of one joint pass, in the training items."""
    recipe = read_recipe(_recipe_file(folder), [f"base=base-{family}"])
    samples = read_samples(folder / "train.jsonl")[0][:500]
    preparer = open_preparer(recipe)
    joint = sum(preparer.prepare(s.request(), "joint").tokens for s in samples)
    single = sum(preparer.prepare(s.request([text])).tokens for s in samples for text in s.sample.responses)
    return single / joint


def tables(results: dict[str, Any]) -> str:
    """Tables as Markdown: means over seeds with intervals of 95 %."""
    lines = ["| trained with | best of 4 | steps |", "|---|---|---|"]
    for run in RUNS:
        found = _of(results, run.name)
        if found:
            lines.append(f"| {run.name} | {interval([f['best_of_4'] for f in found])} | {found[0]['steps']} |")
    lines += ["", "| N | n_way | bradley_terry, equal steps |", "|---|---|---|"]
    for n in SIZES:
        cells = [interval([f["sizes"][str(n)] for f in _of(results, run.name)]) for run in SWEPT]
        lines.append(f"| {n} | {' | '.join(cells)} |")
    found = _of(results, "n_way")
    lines += ["", "| place of the best answer | one order | 4 orders averaged |", "|---|---|---|"]
    for slot in range(4):
        cells = [interval([f[name][slot] for f in found]) for name in ("slots", "slots, 4 orders")]
        lines.append(f"| {slot + 1} | {' | '.join(cells)} |")
    lines += ["", "| the n_way judge reads | best of 4 |", "|---|---|"]
    for name, key in (("joint", "best_of_4"), ("joint, 4 orders averaged", "4 orders"), ("isolated", "isolated"),
                      ("text alone, no picture", "text alone")):  # fmt: skip
        lines.append(f"| {name} | {interval([f[key] for f in found])} |")
    return "\n".join(lines)


def interval(shares: Sequence[float]) -> str:
    """Mean over seeds and the half width of its 95 % interval, in per cent."""
    if not shares:
        return "-"
    mean, half = 100 * statistics.mean(shares), half_width(shares)
    return f"{mean:.1f}" if half is None else f"{mean:.1f} ± {100 * half:.1f}"


def half_width(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of a mean over seeds (Student); None for a number of seeds not in `T_95`."""
    count = len(values)
    return T_95[count] * statistics.stdev(values) / math.sqrt(count) if count in T_95 else None


def _train(folder: Path, family: str, run: Run, steps: int, seed: int) -> Trainer:
    name = "".join(c if c.isalnum() else "-" for c in run.name)
    changes = [*run.changes, f"base=base-{family}", f"out=evidence/{family}-{name}-{seed}", f"seed={seed}"]
    changes += [f"max_steps={steps}", "held_out=null", f"save_every={steps}"]
    recipe = read_recipe(_recipe_file(folder), changes)
    trainer = Trainer(recipe, load_samples(recipe, skip=False, packs=False, note=click.echo)[0], [])
    trainer.run(click.echo)
    return trainer


def _recipe_file(folder: Path) -> Path:
    file = folder / "small-judge.yaml"
    file.write_text((RECIPES / "small-judge.yaml").read_text("utf-8"), "utf-8")
    return file


def _sweep(folder: Path, n: int) -> list[NumberedSample]:
    """Held-out items of N answers, of the same kinds for every N."""
    name = f"sweep-{n}"
    if not (folder / f"{name}.jsonl").is_file():
        write_items(folder, name, ShapesConfig(SWEEP_ITEMS, 0, n, SWEEP_KINDS), lambda _: None)
    return read_samples(folder / f"{name}.jsonl")[0]


def _of(results: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(value)) for key, value in results.items() if key.rpartition(" / ")[0] == name]


def _share(report: Report) -> float:
    return report.right / report.requests


def _by(report: Report, keys: Sequence[Any]) -> dict[Any, float]:
    total, right = Counter(keys), Counter(key for key, hit in zip(keys, report.hits, strict=True) if hit)
    return {key: right[key] / total[key] for key in sorted(total)}


def _by_kind(report: Report, samples: Sequence[NumberedSample]) -> dict[str, float]:
    return _by(report, [numbered.sample.kind for numbered in samples])


def _by_slot(report: Report, samples: Sequence[NumberedSample]) -> list[float]:
    rankings = [numbered.sample.rankings or [] for numbered in samples]
    return list(_by(report, [ranks.index(min(ranks)) for ranks in rankings]).values())


if __name__ == "__main__":
    main()
