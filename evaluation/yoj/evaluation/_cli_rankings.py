"""``yoj-eval rankings`` and ``yoj-eval items``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from yoj.runtime.options import readable_errors

from ._errors import EvaluationError
from .rankings import (
    Method,
    RankingSettings,
    SampleSettings,
    encode_ranking,
    has_item,
    rank,
    read_prompts,
    read_votes,
    sample_items,
    summarise,
)
from .rankings._summary import table
from .rankings._votes_file import SHOWN

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT = click.Path(dir_okay=False, path_type=Path)


@click.command("rankings")
@click.argument("votes", type=FILE)
@click.option(
    "--method",
    type=click.Choice(get_args(Method)),
    default="bt",
    show_default=True,
    help="Ranking that is written: Bradley-Terry, Plackett-Luce, or preference graphs without their cycles.",
)
@click.option("--out", required=True, type=OUT, help="Rankings, JSON lines; OUT.summary.json gets their summary.")
@click.option(
    "--by",
    type=click.Choice(["item", "all"]),
    default="item",
    show_default=True,
    help="One ranking for each item, or one from the votes on all.",
)
@click.option(
    "--alpha",
    default=RankingSettings.alpha,
    show_default=True,
    help="Regularisation of bt and pl: about as much as twice this number of votes of each over each other.",
)
@click.option(
    "--resamples",
    default=RankingSettings.resamples,
    show_default=True,
    help="Times that the votes are drawn anew for intervals of bt and pl; 0 for none.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of these draws.")
def rankings(votes: Path, method: Method, out: Path, by: str, alpha: float, resamples: int, seed: int) -> None:
    """Rank all candidates from votes on some of them.

    VOTES has one vote a line, {"item", "a", "b", "winner": "a", "b" or "tie", "annotator"} or {"item", "ranking":
    [best, ...], "annotator"}. The table shows how far all three methods agree.
    """
    with readable_errors():
        settings = RankingSettings(method, alpha, resamples, seed)
        beside = out.with_name(f"{out.name}.summary.json")
        _check_free(out, beside)
        found = [rank(comparisons, settings) for comparisons in read_votes(votes, together=by == "all")]
        summary = summarise(found, settings)
        _write_lines(out, [encode_ranking(ranking, settings) for ranking in found])
        beside.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", "utf-8")
    click.echo(table(found, settings, summary))
    click.echo(f"in {out} and {beside}")


@click.command("items")
@click.argument("rankings", type=FILE)
@click.argument("responses", type=FILE)
@click.option("--n", required=True, type=int, help="Responses of an item.")
@click.option("--count", type=int, help="Items in all, spread evenly over the prompts.  [default: one of each prompt]")
@click.option("--strict-best", is_flag=True, help="One response of each item is better than all others.")
@click.option("--skip-invalid", is_flag=True, help="Leave out prompts of which no item can be made, and say so.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@click.option("--out", required=True, type=OUT, help="Items, JSON lines that yoj-score reads.")
def items(rankings: Path, responses: Path, out: Path, skip_invalid: bool, **sample: Any) -> None:
    """Sample items of N responses from full rankings, in random order.

    RANKINGS is what `yoj-eval rankings` writes. RESPONSES has {"item", "prompt", "responses": {candidate: response}} in
    each line, and image or video where there are any.
    """
    with readable_errors():
        settings = SampleSettings(**sample)
        _check_free(out)
        ranked = read_prompts(rankings, responses)
        prompts = [prompt for prompt in ranked if has_item(prompt, settings)] if skip_invalid else ranked
        if not prompts:
            raise EvaluationError(f"All {len(ranked)} prompts would be left out: none has an item of {settings.n}.")
        sampled = sample_items(prompts, settings)
        _write_lines(out, sampled)
    number = f"{len(sampled)} items of {settings.n} responses to {len(prompts)} prompts"
    click.echo(f"{number}, seed {settings.seed}, in {out}")
    kept = {prompt.item for prompt in prompts}
    if left := [prompt.item for prompt in ranked if prompt.item not in kept]:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        named = ", ".join(str(item) for item in left[:SHOWN])
        click.echo(f"prompts left out, of which no item can be made: {len(left)} of {len(ranked)}: {named}{more}")
    tied = sum(item["rankings"].count(1) > 1 for item in sampled)
    click.echo(f"items whose best response is tied: {tied}")
    equal = sum(_has_equal(item) for item in sampled)
    if equal:
        click.echo(f"items with equal responses of different ranks: {equal}; a judge gives them the same score")
    if out.parent.resolve() != responses.parent.resolve() and any({"image", "video"} & {*item} for item in sampled):
        click.echo(f"paths of media begin at {responses.parent}: yoj-score --media-root {responses.parent}")


def _has_equal(item: dict[str, Any]) -> bool:
    ranks: dict[str, set[int]] = {}
    for response, own in zip(item["responses"], item["rankings"], strict=True):
        ranks.setdefault(json.dumps(response, sort_keys=True), set()).add(own)
    return any(len(own) > 1 for own in ranks.values())


def _check_free(*files: Path) -> None:
    if taken := next((file for file in files if file.exists()), None):
        raise EvaluationError(f"{taken} is there already. Give another name, or remove it.")


def _write_lines(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
