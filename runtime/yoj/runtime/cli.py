"""``yoj-score``: score the responses given on the command line, or every line of a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from ._dump import Dump
from ._file_options import FileOptions, file_options, is_bulk
from ._jsonl import FileScoring, encode_rationales
from ._judgement import Judgement
from ._knockout import knockout
from ._page_options import PageOptions, page_options
from ._rationale import Explained, language_path
from ._scorer import Scorer
from ._source import Source
from .codec import encode_judgement
from .engines import ENGINES, GPU_ENGINES
from .manifest import Mode
from .options import Given, readable_errors, reading_options
from .orders import Orders
from .request import Method, Overflow, Placeholders, Request
from .version import __version__

if TYPE_CHECKING:  # what scores files is loaded where files are scored
    from ._page import FilePage
    from .bulk import Bulk, FileJob

EPILOG = """\b
Examples:
  yoj-score judge.yoj --image photo.jpg --prompt "What is shown?" \\
      --response "A cat." --response "A red bus."
  yoj-score judge.yoj --video frames/ --prompt "What happens?" \\
      --response "A ball rolls." --response "Nothing." --orders 2
  yoj-score judge.yoj --image photo.jpg --prompt "What is shown?" \\
      --response "A cat." --response "A red bus." --explain --html why.html
  yoj-score judge.yoj requests.jsonl --out scores.jsonl
  yoj-score judge.yoj shards/ --out scores/
  yoj-score judge.yoj 'in/*.parquet' --out best/ --best --keep all

\b
A line of requests.jsonl:
  {"prompt": "What is shown?", "image": "photo.jpg",
   "responses": ["A cat.", "A red bus."], "rankings": [2, 1]}
prompt is a text, a list of parts, or a conversation, [{"role", "content"}, ...],
also called messages; a response is a text or a list of parts. A part is a text,
{"type": "image", "image": X} or {"type": "video", "video": X}, or as servers
take it, {"type": "image_url", "image_url": {"url": X}}.
May be left out: image (X or a list), video (X, a folder of frames or a list of
frames, with seconds_between_frames or timestamps), rankings (1 = best), mode,
orders, overflow, duplicates, placeholders, method, passes and dimension of this request, id and metadata
(passed through to the result). X is a path in the folder of the file or below
it, a data URL, base64, {"bytes": base64}, or an http URL of an allowed host.
Fields of other names are errors. Files may be compressed with gzip or zstd.

\b
Folders and patterns of files, Parquet among them, have one file of results
each in the folder --out, whole or not there, beside run.json, which says what
was scored with what. The same command goes on where a run was killed
(docs/bulk.md). Columns of Parquet are called as the fields above; images as
{"bytes", "path"}; others are not read.

\b
A line of scores.jsonl has line, request, run, id and metadata where given, and
either scores, probabilities, ranks, best, margin, entropy, sigma (null but for
a Gaussian head, whose sigma it is, uncalibrated), dimensions (of a judge that
grades several things, the scores of each by name), temperature, calibrated and
uncalibrated (why the probabilities are not), notices (what was read otherwise
than it may have been meant), with --rationale rationales, a list of response,
text and stopped (false where it was cut), or error. Failed lines are tried again when the
command is repeated with the same --out. Exit status: 0 when every request was
scored, 1 when some failed, 2 when the command itself was wrong.
"""


def _orders(ctx: click.Context, parameter: click.Parameter, value: str) -> Orders:
    if value == "all":
        return "all"
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter("give a number from 1, or all.", ctx, parameter)
    return int(value)


@click.command(epilog=EPILOG)
@click.argument("bundle", type=click.Path())
@click.argument("requests", nargs=-1)
@click.option("--prompt", help="The question.")
@click.option("--response", "responses", multiple=True, help="A candidate answer; give the option once for each.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    help="An image that the prompt is about; may be repeated.",
)
@click.option("--video", type=click.Path(path_type=Path), help="A video file, or a folder of frames.")
@click.option("--fps", type=float, help="Frames per second of a folder of frames.  [default: one every 4 seconds]")
@click.option(
    "--mode",
    type=click.Choice(["joint", "isolated"]),
    help="joint: each response sees those before it. isolated: each is scored as if alone.  [default: as trained]",
)
@click.option(
    "--orders",
    default="1",
    show_default=True,
    callback=_orders,
    help="Average the scores over this many orders of the responses, or over all of up to 4 responses.",
)
@click.option(
    "--n-method",
    type=click.Choice(["pack", "groups", "knockout"]),
    default="pack",
    show_default=True,
    help="More responses than the model was trained on: read them in one pack all the same; in overlapping packs of as "
    "many, whose scores are joined on one scale; or find the best alone, in few passes.",
)
@click.option(
    "--passes",
    type=click.IntRange(min=1),
    help="Most packs that groups reads of a request, two rounds at least.  [default: four rounds of all responses]",
)
@click.option("--dimension", help="Dimension of the judge that ranks the responses.  [default: all, pooled]")
@click.option(
    "--out",
    type=click.Path(),
    help="Write the results of REQUESTS here, and go on where an earlier run stopped. A folder where there are several "
    "files. Without it the results of one file of JSON lines go to standard output.",
)
@file_options
@click.option(
    "--overflow",
    type=click.Choice(["error", "truncate"]),
    default="error",
    show_default=True,
    help="A sequence over the length limit: refuse it, or cut the longest responses and say so.",
)
@click.option(
    "--placeholders",
    type=click.Choice(["error", "media", "text"]),
    default="error",
    show_default=True,
    help="Meaning of <image>, <video> and their kin in a prompt: an error; the places of the media, whose number must "
    "fit; or text.",
)
@reading_options
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Fetch media of REQUESTS from this host; may be repeated.  [default: none]",
)
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    help=f"Engine that executes the graphs; {GPU_ENGINES} need a GPU.  [default: the first of the bundle]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads of one run; with the TensorRT engines, requests that run at once.  [default: all cores; 2]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that run the engine for REQUESTS: one for each GPU, or for some of the CPU's cores.  [default: 1]",
)
@click.option(
    "--rationale",
    type=click.Choice(get_args(Explained)),
    help="Explain the best response, the worst or all in words, with a bundle that was exported with --language "
    "(docs/rationales.md). Scores are the same.",
)
@page_options
@click.option(
    "--dump-inputs",
    type=click.Path(path_type=Path),
    help="Make this folder, with what the graphs are given and return for each scored request (docs/native.md). Each "
    "request is then scored by itself.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the judgement of one request as JSON.")
@click.version_option(__version__, prog_name="yoj-score")
def main(
    bundle: str,
    requests: tuple[str, ...],
    prompt: str | None,
    responses: tuple[str, ...],
    images: tuple[Path, ...],
    video: Path | None,
    fps: float | None,
    mode: Mode | None,
    orders: Orders,
    n_method: Literal["pack", "groups", "knockout"],
    passes: int | None,
    dimension: str | None,
    out: str | None,
    files: FileOptions,
    overflow: Overflow,
    placeholders: Placeholders,
    given: Given,
    hosts: tuple[str, ...],
    engine: str | None,
    threads: int | None,
    workers: int | None,
    rationale: Explained | None,
    page: PageOptions,
    dump_inputs: Path | None,
    as_json: bool,
) -> None:
    """Score N responses to a prompt, in one forward pass of the model in BUNDLE.

    BUNDLE is a folder or, where none is there, org/name@revision of the Hugging Face hub (pip install 'yoj[hub]').
    Either give one request with --prompt and --response, or REQUESTS: a file of JSON lines (- for standard input), or
    any number of files, folders and patterns of JSON lines and Parquet.
    """
    if requests and (prompt is not None or responses or images or video or fps or as_json):
        raise click.UsageError("Give files of requests, or --prompt and --response with their media, not both.")
    if not requests and (prompt is None or not responses):
        raise click.UsageError("Give --prompt and at least one --response, or files of requests.")
    if not requests and (out is not None or hosts or workers or given != Given() or files != FileOptions()):
        raise click.UsageError(
            "--out, --workers, --media-root, --allow-host, --ignore-... and such options are for files of requests."
        )
    method = _method(n_method, passes, orders, (dump_inputs, rationale))
    bulk = bool(requests) and is_bulk(requests, out, files)
    page.check(bool(requests), bulk, n_method, dump_inputs is not None, out)
    with readable_errors():
        if page.html is not None:
            from ._page import check_place

            check_place(page.html)
        dump = Dump(dump_inputs) if dump_inputs is not None else None
        if requests:
            from .bulk import Bulk, FileJob

            def settings(folder: Path) -> FileScoring:
                reading = replace(given, hosts=frozenset(hosts)).reading(folder, overflow, placeholders)
                reading = replace(reading, method=method, passes=passes, dimension=dimension)
                return FileScoring(reading, mode, orders, n_method == "knockout", rationale)

            source = partial(Source.of, bundle, engine, None, threads)
            if bulk:
                _score_shards(source, Bulk(bundle, requests, out, files, settings, workers or 1), dump)
            else:
                path = Path(requests[0])
                into = None if out is None else Path(out)
                own = settings(path.parent)
                _score_file(FileJob(path, into, own, source, workers, dump, _page_of(page, bundle, own, source)))
            return
        load = partial(Scorer.load if dump is None else dump.load, bundle, engine=engine, threads=threads)
        request = Request(prompt or "", responses, images, video, fps, None, overflow, mode, orders)
        request = replace(request, placeholders=placeholders, method=method, passes=passes, dimension=dimension)
        judge = partial(_judge, rationale, page, bundle)
        told = (_find_best if n_method == "knockout" else judge)(load(), request, as_json)
        _finish_dump(dump, 1)
    click.echo(told)


def _method(
    n_method: str, passes: int | None, orders: Orders, more: tuple[Path | None, Explained | None]
) -> Method | None:
    """Method of requests, by what goes with it; ``more`` are --dump-inputs and --rationale."""
    if None not in more:
        raise click.UsageError("--dump-inputs is of scores alone: leave --rationale out.")
    if passes is not None and n_method != "groups":
        raise click.UsageError("--passes is for --n-method groups.")
    if n_method == "knockout" and (orders != 1 or more != (None, None)):
        raise click.UsageError("--orders, --rationale and --dump-inputs are for the other methods than knockout.")
    return "groups" if n_method == "groups" else None


def _page_of(page: PageOptions, bundle: str, settings: FileScoring, source: Callable[[], Source]) -> FilePage | None:
    if page.html is None:
        return None
    from ._page import FilePage

    return FilePage(page.html, bundle, settings, page.explain, source)


def _judge(
    rationale: Explained | None, page: PageOptions, bundle: str, scorer: Scorer, request: Request, as_json: bool
) -> str:
    if rationale is not None:
        language_path(scorer.manifest, scorer.engine)
    explanation = scorer.explain(request) if page.explain else None
    judgement = scorer.score_batch([request])[0] if explanation is None else explanation.judgement
    told = [] if rationale is None else encode_rationales(scorer, request, judgement, rationale)
    if page.html is not None:
        from ._page import PageItem, write_one

        one = PageItem(None, request, judgement, explanation=explanation, rationales=told)
        write_one(page.html, scorer, bundle, one)
    if as_json:
        more = {"rationales": told} if rationale else {}
        more |= {} if explanation is None else {"explanation": explanation.to_dict()}
        return json.dumps(encode_judgement(judgement) | more)
    lines = [f"response {one['response']}: {one['text']}{'' if one['stopped'] else ' [cut]'}" for one in told]
    lines += [] if explanation is None else [str(explanation)]
    return "\n".join([_as_table(judgement, request.responses), *lines])


def _find_best(scorer: Scorer, request: Request, as_json: bool) -> str:
    found = knockout(scorer, request)
    if as_json:
        return json.dumps(asdict(found))
    lines = [f"best: response {found.best}, after {found.passes} packs: {request.responses[found.best]}"]
    return "\n".join([*lines, *(f"note: {notice}" for notice in found.notices)])


def _as_table(judgement: Judgement, responses: Sequence[Any]) -> str:
    phases = ", ".join(f"{name} {value:.1f} ms" for name, value in judgement.timings_ms.items())
    return f"{judgement.table(responses)}\n{phases}"


def _score_shards(source: Callable[[], Source], bulk: Bulk, dump: Dump | None) -> None:
    from .bulk import score_shards

    if dump is not None:
        raise click.UsageError("--dump-inputs is for one request, or one file of JSON lines.")
    if not score_shards(source, bulk):
        sys.exit(1)


def _score_file(job: FileJob) -> None:
    from .bulk import score_file

    whole = score_file(job)
    _finish_dump(job.dump)
    if not whole:
        sys.exit(1)


def _finish_dump(dump: Dump | None, number: int | None = None) -> None:
    """Write the request of this number, where one waits to be, and say what was dumped."""
    if dump is None:
        return
    if number is not None:
        dump.write(number)
    click.echo(f"requests whose graph inputs and outputs are in {dump.folder}: {dump.written}", err=True)


if __name__ == "__main__":
    main()
