"""A server that speaks as much of the hub's API as huggingface_hub asks for when it downloads a repository."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """Repositories and what was asked of them."""

    repos: dict[str, dict[str, Path]] = field(default_factory=dict)
    """``org/name``, or ``datasets/org/name`` -> revision -> folder."""
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def commit(self, repo: str, revision: str) -> str:
        """The commit that a revision stands for."""
        return hashlib.sha1(f"{repo} {self.repos[repo][revision]}".encode()).hexdigest()

    def find(self, repo: str, revision: str) -> tuple[str, Path] | None:
        """Commit and folder of a branch, a tag or a commit."""
        for name, folder in self.repos[repo].items():
            commit = self.commit(repo, name)
            if revision in (name, commit):
                return commit, folder
        return None

    def files_asked(self) -> set[str]:
        """Names of the files that were downloaded, or looked at."""
        return {path.partition("/resolve/")[2].partition("/")[2] for path in self.asked if "/resolve/" in path}


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(True)

        def do_HEAD(self) -> None:
            self._answer(False)

        def log_message(self, *_: object) -> None:
            """Nothing: the tests read `Hub.asked`."""

        def _answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(path)
            parts = path.strip("/").split("/")
            for prefix in ("api", "models"):  # the path of a model's file has neither
                if parts[0] == prefix:
                    del parts[0]
            words = 3 if parts[0] == "datasets" else 2
            repo, rest = "/".join(parts[:words]), parts[words:]
            if repo not in hub.repos:
                return self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})
            if repo in hub.gated:
                return self._send(403, b"", body, {"X-Error-Code": "GatedRepo"})
            found = hub.find(repo, rest[1])
            if found is None:
                return self._send(404, b"", body, {"X-Error-Code": "RevisionNotFound"})
            commit, folder = found
            if rest[0] == "revision":
                return self._send(200, json.dumps({"id": repo, "sha": commit, "siblings": []}).encode(), body)
            if rest[0] == "tree":
                return self._send(200, json.dumps([_entry(folder, file) for file in _files(folder)]).encode(), body)
            file = folder / "/".join(rest[2:])
            if not file.is_file():
                return self._send(404, b"", body, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            content = file.read_bytes()
            etag = hashlib.sha1(content).hexdigest()
            return self._send(200, content, body, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

        def _send(self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _entry(folder: Path, file: Path) -> dict[str, object]:
    content = file.read_bytes()
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": file.relative_to(folder).as_posix(), "size": len(content), "oid": oid}
