"""Commands in this process: those of parts that load PyTorch take seconds to start, which few tests are about."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import traceback
from importlib.metadata import entry_points
from pathlib import Path

from click.testing import CliRunner


def run_here(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of yoj's commands, by its name and words, as its entry point does."""
    name, *arguments = map(str, words)
    (command,) = entry_points(group="console_scripts", name=name)
    before, folder = signal.getsignal(signal.SIGTERM), Path.cwd()
    try:
        os.chdir(cwd or folder)
        done = CliRunner().invoke(command.load(), arguments, prog_name=name)
    finally:
        os.chdir(folder)
        signal.signal(signal.SIGTERM, before)
    lines = traceback.format_exception(done.exception) if done.exc_info and done.exc_info[0] is not SystemExit else []
    return subprocess.CompletedProcess([name, *arguments], done.exit_code, done.stdout, done.stderr + "".join(lines))


def run_block(text: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the lines of a block of commands until one fails, as ``sh -e`` does; what they print is joined."""
    said: list[subprocess.CompletedProcess[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            said.append(run_here(*words, cwd=cwd))
            if said[-1].returncode:
                break
    joined = ("".join(getattr(one, stream) for one in said) for stream in ("stdout", "stderr"))
    return subprocess.CompletedProcess([], said[-1].returncode, *joined)
