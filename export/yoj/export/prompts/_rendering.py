"""Rendering of chat templates, which are programs of a checkpoint: in a process of their own, with limits.

transformers renders them in a sandbox, which keeps a template from Python's objects but not from time and memory.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import CheckpointError

SECONDS = 10.0
"""Most seconds of one rendering, and of the start of the process before it."""
START_SECONDS = 60.0
"""Most seconds until the process has loaded transformers."""
MEMORY = 512 * 2**20
"""Bytes that a rendering may take, where the system limits the address space of a process (Linux)."""
LONGEST = 2**15
"""Most characters that a template may add to the texts that it shows; no released one adds a twentieth of it."""


class TemplateRefusedError(CheckpointError):
    """Template that renders some turns, and not these."""


class TemplateFailedError(CheckpointError):
    """Template that is broken, or spent its time or memory."""


class Renderer:
    """Process that renders chat templates as ``apply_chat_template`` of transformers does. Safe for several threads.

    It is started when it is first needed, and again after a template that did not end.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    def render(self, template: str, messages: Sequence[Mapping[str, Any]], special: Mapping[str, Any]) -> str:
        """Render one conversation without a generation prompt.

        Args:
            template: Jinja template.
            messages: turns with ``role`` and ``content``, as JSON has them.
            special: ``special_tokens_map`` of the tokenizer, name -> token.

        Raises:
            TemplateRefusedError: the template raises an error of its own about these messages.
            TemplateFailedError: the text is no template, fails, or goes over a limit.
        """
        request = json.dumps({"template": template, "messages": list(messages), "special": dict(special)})
        with self._turn:
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            answer = _exchange(self._process, request, SECONDS)
        if answer is None:
            self.close()
            raise TemplateFailedError(f"it did not end within {SECONDS:.0f} seconds and {MEMORY / 2**20:.0f} MiB")
        found = json.loads(answer)
        if "text" in found:
            return found["text"]
        raise (TemplateRefusedError if found["refused"] else TemplateFailedError)(found["error"])

    def close(self) -> None:
        """End the process; the next rendering starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "yoj.export.prompts._rendering"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(command, **pipes, text=True, encoding="ascii", env=environment)
        if _exchange(process, None, START_SECONDS) is None:
            process.kill()
            process.communicate()
            raise TemplateFailedError(f"{' '.join(command)}, which renders chat templates, did not start")
        return process


def _exchange(process: subprocess.Popen[str], request: str | None, seconds: float) -> str | None:
    """Send a line, if any, and read one; None where the process ends, or has to be ended, before it answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    limit = threading.Timer(seconds, process.kill)
    limit.start()
    try:
        if request is not None:
            process.stdin.write(request + "\n")
            process.stdin.flush()
        return process.stdout.readline() or None
    except OSError:  # it ended
        return None
    finally:
        limit.cancel()


def serve() -> None:
    """Render conversations from standard input, a line each, until it ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints
    importlib.import_module("transformers.utils.chat_template_utils")  # its memory is not the template's

    _limit_memory()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_render(json.loads(line))), file=answers, flush=True)


def _render(request: dict[str, Any]) -> dict[str, Any]:
    from jinja2 import TemplateError, TemplateSyntaxError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        # What `apply_chat_template` calls with the special tokens of its tokenizer.
        rendered: Any = render_jinja_template(
            conversations=[request["messages"]], chat_template=request["template"], **request["special"]
        )
        text = rendered[0][0]
        text.encode()  # surrogates are no text
    except TemplateError as error:
        return {"refused": not isinstance(error, TemplateSyntaxError), "error": str(error)[:LONGEST]}
    except MemoryError:
        return {"refused": False, "error": f"it takes more than {MEMORY / 2**20:.0f} MiB"}
    except Exception as error:
        return {"refused": False, "error": f"{type(error).__name__}: {error}"[:1000]}
    if len(text) > LONGEST + len(json.dumps(request["messages"])):
        return {"refused": False, "error": f"it makes a text of {len(text):,} characters"}
    return {"text": text}


def _limit_memory() -> None:
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    except (ImportError, OSError, ValueError):  # only Linux says and limits it
        return


if __name__ == "__main__":
    serve()
