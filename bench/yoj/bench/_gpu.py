"""Checks and measurements that need a GPU, in one command: each part's results are written before the next one begins.

yoj-bench gpu
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias
from xml.etree import ElementTree

import click

from yoj.runtime.machine import free_memory

from ._environment import describe
from ._errors import BenchError
from ._gpu_parts import MADE, PARTS, SECONDS, GpuPart, Made

ROOT = Path(__file__).parents[3]
RESULTS, SUMMARY, BUNDLES = Path("bench/results/gpu"), "summary.md", Path(".gpu")
CODE = ("export", "runtime", "calibration", "bench/yoj", "tests/gpu", "checkpoints")
CHECK_SECONDS = 60
"""Seconds for the check that an engine is there, which loads it."""
EXPORT_BYTES = 4e9
"""Bytes of memory of one export."""
GRACE = 3.0
"""Seconds between asking a process to end and ending it."""
Outcome: TypeAlias = Literal["passed", "failed", "timed out", "skipped"]


@dataclass(frozen=True)
class Result:
    """Outcome of a part."""

    part: str
    outcome: Outcome
    seconds: float
    limit: float
    reason: str = ""
    code: str = ""
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    """Figures that the part wrote, by file; also where it failed or ran out of time."""
    environment: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class VisitPaths:
    """Folders that one visit reads and writes."""

    results: Path
    """Folder of this GPU's results: a record of each part, its log, and the table."""
    bundles: Path
    code: str
    """Hash of the files that the results depend on."""
    root: Path = ROOT

    def record(self, part: GpuPart) -> Path:
        """File of a part's result."""
        return self.results / f"{_slug(part.name)}.json"

    def known(self, part: GpuPart) -> Result | None:
        """Result that a part has for this code and this GPU; None without one."""
        if not self.record(part).is_file():
            return None
        found = Result(**json.loads(self.record(part).read_text("utf-8")))
        return found if found.code == self.code else None


def visit_machine(names: Sequence[str], results: Path) -> list[Result]:
    """Run parts on the GPU of this machine, from the root of the repository.

    Args:
        names: names of the parts to run, also where they have a result; none for all parts without one.
        results: folder in which one is made for the GPU.

    Raises:
        BenchError: there is no part of such a name.
    """
    known = [part.name for part in PARTS]
    if unknown := [name for name in names if name not in known]:
        raise BenchError(f"There is no part {unknown[0]!r}. Give one of: {', '.join(known)}.")
    os.chdir(ROOT)
    os.environ |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what runs ends with it
    environment = describe(os.cpu_count() or 1)
    code = code_hash(ROOT)
    place = VisitPaths(results / _slug(environment["gpu"] or "no GPU"), BUNDLES / code, code)
    chosen = [part for part in PARTS if not names or part.name in names]
    click.echo(f"{environment['gpu'] or 'no GPU'}; code {code}; {len(chosen)} parts, {SECONDS / 60:g} minutes at most")
    return visit(chosen, MADE, place, environment, again=bool(names))


def visit(
    parts: Sequence[GpuPart], made: Sequence[Made], place: VisitPaths, environment: dict[str, Any], again: bool = False
) -> list[Result]:
    """Run parts one after the other.

    Args:
        parts: parts in order; those that have a result for this code and GPU are not run again.
        made: bundles to make first, unless nothing can run.
        place: folders of the results.
        environment: environment for each record.
        again: whether parts that have a result are run too.

    Returns:
        Result of each part, old ones among them.
    """
    found = {part.name: known for part in parts if not again and (known := place.known(part)) is not None}
    left = [part for part in parts if part.name not in found]
    lacking = _lacking(left)
    for part in left:
        reasons = [lacking[need] for need in part.needs if lacking[need]]
        if reasons:
            found[part.name] = Result(part.name, "skipped", 0, part.seconds, reasons[0])
            _say(found[part.name])
    left = [part for part in left if part.name not in found]
    if left:
        place.results.mkdir(parents=True, exist_ok=True)
        make_bundles(made, place)
    share, spent = float(sum(part.seconds for part in parts if part.name in found)), 0.0
    for part in left:
        share += part.seconds
        result = run(part, share - spent, place)
        spent += result.seconds
        found[part.name] = replace(result, code=place.code, environment=environment)
        _write(place.record(part), json.dumps(asdict(found[part.name]), indent=1))
        _write(place.results / SUMMARY, table([found[each.name] for each in parts if each.name in found]))
        _say(result)
    return [found[part.name] for part in parts]


def run(part: GpuPart, limit: float, place: VisitPaths) -> Result:
    """Run the commands of one part; all of its processes have ended afterwards.

    Args:
        part: part to run.
        limit: seconds for all commands together.
        place: folders of the log and the figures.
    """
    written, log = place.results / "running", place.results / f"{_slug(part.name)}.log"
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir()
    begin = time.perf_counter()
    outcome: Outcome = "passed"
    with log.open("w", encoding="utf-8") as stream:
        for command in part.commands:
            words = shlex.split(command.format(bundles=place.bundles, out=written))
            stream.write(f"$ python {shlex.join(words)}\n")
            stream.flush()
            left = limit - (time.perf_counter() - begin)
            status = _finish([sys.executable, *words], left, stream, place.root)
            if status is None:
                outcome = "timed out"
            elif status:
                outcome = "failed"
            if status != 0:
                break
    seconds = round(time.perf_counter() - begin, 1)
    figures = {file.name: _figures(file) for file in sorted(written.iterdir())}
    shutil.rmtree(written)
    reason = "" if outcome == "passed" else _last_line(log, place.root)
    if outcome == "passed" and figures and all(_nothing_ran(of) for of in figures.values()):
        outcome, reason = "skipped", "every test was skipped; the log says why"
    return Result(part.name, outcome, seconds, round(limit, 1), reason, figures=figures)


def make_bundles(made: Sequence[Made], place: VisitPaths) -> None:
    """Make missing bundles, several at once; a failure is reported, and shows in the parts that need the bundle.

    Args:
        made: bundles to make.
        place: folders of the visit; bundles of other code beside its folder are removed.
    """
    for old in place.bundles.parent.glob("*"):
        if old != place.bundles:
            shutil.rmtree(old)
    missing = [
        one for one in made if any(not (place.bundles / one.folder / f"{p}.yoj").exists() for p in one.precisions)
    ]
    begin, memory = time.perf_counter(), free_memory()
    workers = min(os.cpu_count() or 1, int((memory or EXPORT_BYTES) / EXPORT_BYTES)) or 1
    with ThreadPoolExecutor(workers) as pool:
        jobs = {pool.submit(_make, one, place): one for one in missing}
        for job in as_completed(jobs):
            click.echo(f"set-up: {jobs[job].folder} {' '.join(jobs[job].precisions)}: {job.result()}")
    if missing:
        click.echo(f"set-up took {(time.perf_counter() - begin) / 60:.1f} minutes, which the ten do not count")


def exit_status(done: Sequence[Result]) -> int:
    """Exit status: 0 where all that ran has passed, 1 where something did not, 2 where nothing ran."""
    outcomes = {result.outcome for result in done}
    return 1 if outcomes & {"failed", "timed out"} else 0 if "passed" in outcomes else 2


def table(done: Sequence[Result]) -> str:
    """Table in Markdown: a row for each part, and the number of each outcome."""
    lines = ["| part | seconds | limit | outcome |", "|---|---|---|---|"]
    for result in done:
        reason = result.reason.partition(". ")[0].replace("|", "\\|")
        said = f"{result.outcome}: {reason}" if reason else result.outcome
        lines.append(f"| {result.part} | {result.seconds:.1f} | {result.limit:.0f} | {said} |")
    counts = [f"{sum(r.outcome == name for r in done)} {name}" for name in ("passed", "failed", "timed out", "skipped")]
    return "\n".join([*lines, "", f"{', '.join(counts)}. What was skipped has not passed."])


def code_hash(root: Path) -> str:
    """Fingerprint: 12 digits of a SHA-256 over the files that results depend on; works without a repository."""
    digest = hashlib.sha256()
    files = [file for folder in CODE for file in (root / folder).rglob("*") if file.is_file()]
    for file in sorted(files):
        if "__pycache__" not in file.parts:
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _lacking(parts: Sequence[GpuPart]) -> dict[str, str]:
    """Missing requirements of each need, from a process of its own: loading a broken library may end it."""
    needs = dict.fromkeys(need for part in parts for need in part.needs)
    return {need: _ask(need) for need in needs}


def _ask(need: str) -> str:
    words = [sys.executable, "-m", "yoj.bench.cli", "needs", need]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return ""  # the part itself shows what is wrong
    return done.stdout.strip() if done.returncode == 0 else ""


def _make(made: Made, place: VisitPaths) -> str:
    begin = time.perf_counter()
    log = place.results / f"set-up-{_slug(made.folder)}-{'-'.join(made.precisions)}.log"
    one = os.environ | {"OMP_NUM_THREADS": "1"}  # several run at once
    with log.open("w", encoding="utf-8") as stream:
        words = [sys.executable, *made.command(str(place.bundles))]
        done = subprocess.run(words, stdout=stream, stderr=subprocess.STDOUT, cwd=place.root, env=one)
    seconds = time.perf_counter() - begin
    return f"FAILED: {_last_line(log, place.root)}" if done.returncode else f"{seconds:.0f} s"


def _finish(words: list[str], seconds: float, stream: Any, root: Path) -> int | None:
    """Exit status of a command, or None where it was ended because its time was over."""
    process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, cwd=root, start_new_session=True)
    try:
        return process.wait(timeout=max(0.0, seconds))
    except subprocess.TimeoutExpired:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
        return None
    finally:  # what it has started ends with it, also on Ctrl-C
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _figures(file: Path) -> Any:
    try:
        if file.suffix == ".json":
            return json.loads(file.read_text("utf-8"))
        suite = next(ElementTree.parse(file).getroot().iter("testsuite"))
    except (ValueError, ElementTree.ParseError, StopIteration) as error:
        return f"not finished: {error}"
    return {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}


def _nothing_ran(figures: Any) -> bool:
    return isinstance(figures, dict) and "tests" in figures and figures["tests"] == figures["skipped"]


def _last_line(log: Path, root: Path) -> str:
    """Last words of a process, without the path of this machine."""
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].replace(f"{root}/", "").strip()[:400] if lines else ""


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(text + "\n", "utf-8")
    unfinished.replace(file)


def _say(result: Result) -> None:
    click.echo(f"{result.outcome} {result.part} ({result.seconds:.1f} s) {result.reason}")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")
