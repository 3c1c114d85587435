"""``yoj-train evaluate``: how good a checkpoint or a bundle is on held-out samples."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
import msgspec
from tqdm import tqdm

from yoj.runtime import Scorer
from yoj.runtime.manifest import MANIFEST_NAME, Mode
from yoj.runtime.options import Given, readable_errors, reading_options
from yoj.runtime.request import Method

from ._errors import DataError

if TYPE_CHECKING:
    from .evaluation import EvaluationMode, RankingFigures, Report
    from .samples import NumberedSample

SHOWN = 5
"""Most kinds of notices that are shown."""
CHUNK = 256
"""Number of samples that are read between two steps of the bar."""


@dataclass(frozen=True)
class Question:
    """Conditions under which a judge is evaluated."""

    mode: Mode | None
    orders: int
    text_alone: bool
    method: Method | None


Read: TypeAlias = "Callable[[Sequence[NumberedSample]], Report]"
"""Function that scores samples."""


@click.command()
@click.argument("judge", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("samples", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--base",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Base model of a checkpoint.  [default: the folder that its adapter names]",
)
@click.option("--mode", type=click.Choice(["joint", "isolated"]), help="Mode of reading.  [default: as trained]")
@click.option(
    "--orders",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Orders of the responses, over which centred scores are averaged.",
)
@click.option(
    "--n-method",
    type=click.Choice(["pack", "groups"]),
    default="pack",
    show_default=True,
    help="For bundles: more responses than in training are read in one pack, or in groups of as many.",
)
@click.option("--text-alone", is_flag=True, help="Leave the media out: what is right then owes nothing to them.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here, too.")
@reading_options
def evaluate(
    judge: Path, samples: Path, base: Path | None, mode: Any, orders: int, n_method: Any, text_alone: bool,
    out: Path | None, given: Given
) -> None:  # fmt: skip
    """Measure JUDGE on SAMPLES with rankings: best of N, pairs and Kendall's tau, in all and for each kind.

    Of a judge of several dimensions the pooled score is measured so, against the rankings of each dimension where a
    sample has no overall ones, and each dimension's scores by the pairs in it. A checkpoint that also learnt language
    tells its loss on texts, in nats a token.

    JUDGE is a checkpoint-N folder of yoj-train, which is run in PyTorch, or a bundle, which is run as it will be
    served. A sample that cannot be read ends the evaluation.

    \b
    yoj-train evaluate run/checkpoint-2000 held_out.jsonl
    yoj-train evaluate judge.yoj held_out.jsonl --orders 2
    """
    with readable_errors():
        from ._rankings import Needs
        from .evaluation import figures_by_kind
        from .samples import read_samples, refuse

        asked = Question(mode, orders, text_alone, "groups" if n_method == "groups" else None)
        needs = Needs(evaluated=True)
        found, problems = read_samples(samples, needs, given.media_root, sorted(given.ignore.fields))
        refuse(problems, samples, False, click.echo)
        if not found:
            raise DataError(f"{samples} holds no samples. Give at least one.")
        notices = Counter[str]()
        report = _in_chunks(_reader(judge, base, asked, notices), found)
        figures = figures_by_kind(report, found)
        if out is not None:
            out.write_text(json.dumps({kind: asdict(one) for kind, one in figures.items()}, indent=1) + "\n", "utf-8")
        click.echo(table(figures))
        for notice, count in notices.most_common(SHOWN):
            click.echo(f"{count} of {len(found)} samples: {notice}")


def table(figures: dict[str, RankingFigures]) -> str:
    """Figures as a table of text, a line for each kind, with the pairs of each dimension in a column."""
    names = list(dict.fromkeys(name for one in figures.values() for name in one.dimensions))
    widths = [max(9, len(name)) for name in names]
    loss = any(one.language_loss is not None for one in figures.values())
    titles = "".join(f" {name:>{width}}" for name, width in zip(names, widths, strict=True))
    titles += f" {'language':>9}" if loss else ""
    lines = [f"{'kind':16} {'requests':>8} {'best of N':>10} {'by chance':>10} {'pairwise':>9} {'tau-b':>6}{titles}"]
    for kind, one in figures.items():
        tau = "-" if math.isnan(one.tau) else f"{one.tau:.3f}"
        line = f"{kind:16} {one.requests:>8,} {one.best_of_n:>10.1%} {one.chance:>10.1%} {one.pairwise:>9.1%} {tau:>6}"
        for name, width in zip(names, widths, strict=True):
            line += f" {f'{one.dimensions[name].pairwise:.1%}' if name in one.dimensions else '-':>{width}}"
        if loss:
            line += f" {'-' if one.language_loss is None else f'{one.language_loss:.3f}':>9}"
        lines.append(line)
    return "\n".join(lines)


def _in_chunks(read: Read, samples: Sequence[NumberedSample]) -> Report:
    from .evaluation import Report

    reports: list[Report] = []
    with tqdm(total=len(samples), desc="evaluate", leave=False) as bar:
        for begin in range(0, len(samples), CHUNK):
            reports.append(read(samples[begin : begin + CHUNK]))
            bar.update(len(reports[-1].hits))
    return Report.joined(reports)


def _reader(judge: Path, base: Path | None, asked: Question, notices: Counter[str]) -> Read:
    """Function that scores samples with a bundle or a checkpoint, and counts the notices of a bundle's judgements."""
    from .evaluation import EvaluationMode

    if (judge / MANIFEST_NAME).is_file():
        if base is not None:
            raise DataError(f"--base is for checkpoints; {judge} is a bundle. Leave it out.")
        return partial(_read_bundle, Scorer.load(judge), asked, notices)
    if asked.method is not None:
        raise DataError(f"--n-method groups is for bundles; {judge} is none. Make one with yoj-export.")
    return _of_checkpoint(judge, base, EvaluationMode(asked.mode, asked.orders, not asked.text_alone), notices)


def _read_bundle(scorer: Scorer, asked: Question, notices: Counter[str], samples: Sequence[NumberedSample]) -> Report:
    from .evaluation import Report, hit
    from .samples import refuse_unknown, texts_alone

    requests = [numbered.request() for numbered in samples]
    requests = [texts_alone(request) if asked.text_alone else request for request in requests]
    requests = [replace(request, method=asked.method) for request in requests]
    judged = scorer.score_batch(requests, mode=asked.mode, orders=asked.orders)
    notices.update(notice for one in judged for notice in one.notices)
    scores = [list(one.scores) for one in judged]
    names = [dimension.name for dimension in scorer.manifest.value_head.dimensions]
    refuse_unknown(samples, names)
    dimensions = {name: [list(one.dimensions[k].scores) for one in judged] for k, name in enumerate(names)}
    return Report(scores, [hit(found, numbered) for found, numbered in zip(scores, samples, strict=True)], dimensions)


def _of_checkpoint(folder: Path, base: Path | None, reading: EvaluationMode, notices: Counter[str]) -> Read:
    """Function that scores samples with a checkpoint of a run, in PyTorch float32, and counts those of other N."""
    import torch

    from yoj.export.checkpoint.head import SETTINGS

    from ._feed import Feed
    from ._judge import Judge, open_base
    from ._preparer import make_preparer
    from ._recipe import learns_language
    from .checkpoints import load_judge, read_recipe_of
    from .evaluation import evaluate, evaluate_language
    from .samples import refuse_unknown

    recipe = msgspec.structs.replace(read_recipe_of(folder, base), precision="float32", base_precision="float32")
    checkpoint = open_base(recipe)
    judge = Judge(checkpoint, recipe)
    load_judge(folder, judge, recipe)
    judge.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    preparer = make_preparer(checkpoint, judge.family, recipe)
    settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text("utf-8"))
    least, most = settings.get("trained_n", (1, math.inf))

    def read(samples: Sequence[NumberedSample]) -> Report:
        sizes = [len(numbered.sample.responses) for numbered in samples]
        trained = f"the model was trained on N={least} to {most}"
        notices.update(f"read N={n} responses together; {trained}" for n in sizes if not least <= n <= most)
        refuse_unknown(samples, recipe.head.dimensions)
        report = evaluate(judge, preparer, samples, reading, recipe.head)
        if not (learns_language(recipe) and reading.media):
            return report
        return replace(report, losses=evaluate_language(judge, Feed(samples, preparer, recipe), samples))

    return read
