"""Serve a judge, and ask it over HTTP with a client of the standard library alone.

python -m examples.serve .demo/judge.yoj .demo/scene-0.png "Describe the bottom right." "a cross" "a yellow triangle"
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def main(judge: str, picture: str, question: str, *answers: str) -> None:
    """Ask about a picture, in the server's own form and in that of rerankers; then ask what cannot be answered."""
    image = as_url(Path(picture).read_bytes())
    with serving(judge) as server:
        print(f"{server}: {ask(f'{server}/v1/models')['data'][0]['id']}")
        judgement = ask(f"{server}/v1/judge", {"prompt": question, "image": image, "responses": answers})
        print(f"{answers[judgement['best']]!r} is best, with a probability of {max(judgement['probabilities']):.3f}")
        print(f"scores: {', '.join(f'{score:.2f}' for score in judgement['scores'])}")
        ranked = ask(f"{server}/rerank", {"query": question, "documents": answers})["results"]
        print(f"without the picture: {', '.join(repr(answers[one['index']]) for one in ranked)}")
        try:
            ask(f"{server}/v1/judge", {"prompt": question, "image": as_url(b"no picture"), "responses": answers})
        except HTTPError as error:  # not to be tried again, unlike 429 and 503
            print(f"{error.code}: {json.load(error)['error']['message']}")


def as_url(content: bytes) -> str:
    """Data URL of a file; its kind is found out from its bytes."""
    return f"data:;base64,{base64.b64encode(content).decode()}"


def ask(url: str, fields: dict[str, Any] | None = None) -> Any:
    """Answer of a route: GET, or POST with fields."""
    body = None if fields is None else json.dumps(fields).encode()
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.load(answer)


@contextmanager
def serving(judge: str) -> Generator[str]:
    """Address of a server that ends with the block; of a free port, which its log names."""
    program = str(Path(sys.executable).with_name("yoj-serve"))
    with subprocess.Popen([program, "http", judge, "--port", "0"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if found := re.search(r"running on (http://[\w.:]+)", line):
                    break
                print(line, end="", file=sys.stderr)
            else:
                raise SystemExit("The server did not start.")
            yield found[1]
            server.terminate()
            server.communicate()
        finally:
            server.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
