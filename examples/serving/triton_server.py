"""Triton's server from the wheel nvidia-pytriton, which has the stock program and its Python backend.

Its environment is made by ``make .venv-triton/.ready``, or by::

    python -m venv .venv-triton
    .venv-triton/bin/pip install --no-deps nvidia-pytriton==0.7.0
    .venv-triton/bin/pip install 'yoj[ort]' 'numpy<2'
"""

from __future__ import annotations

import os
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 120.0


@dataclass(frozen=True)
class Triton:
    """A running server: its addresses, and the file of its log."""

    http: str
    grpc: str
    log: Path


def libpython() -> Path | None:
    """The shared library of this Python, which the backend's process for models links; None where there is none."""
    file = Path(sysconfig.get_config_var("LIBDIR") or "") / (sysconfig.get_config_var("INSTSONAME") or "")
    return file if file.suffix != ".a" and file.is_file() else None


@contextmanager
def running(venv: Path, repository: Path, folder: Path, models: Sequence[str] = ("*",)) -> Iterator[Triton]:
    """Run the server of a virtual environment, which also is the environment of the models.

    Args:
        venv: the environment, of the same Python version as this one.
        repository: the model repository.
        folder: folder for the server's files.
        models: names of the models to load at the start; others can be loaded later.

    Yields:
        The server, when every model is ready.
    """
    backends, libraries = _lay_out(venv, folder)
    http, grpc = free_ports(2)
    server = venv_packages(venv) / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    command = [server, "--model-repository", repository, "--backend-directory", backends]
    command += ["--http-address", "127.0.0.1", "--http-port", str(http), "--grpc-address", "127.0.0.1"]
    command += ["--grpc-port", str(grpc), "--allow-metrics", "false"]
    command += ["--model-control-mode", "explicit", *(f"--load-model={name}" for name in models)]
    paths = {"PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}", "LD_LIBRARY_PATH": libraries}
    triton = Triton(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", folder / "triton.log")
    with triton.log.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **paths})
    try:
        _wait(process, triton)
        yield triton
    finally:
        process.terminate()
        process.wait(60)


def venv_packages(venv: Path) -> Path:
    """Folder of the packages of a virtual environment."""
    return venv / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"


def _lay_out(venv: Path, folder: Path) -> tuple[Path, str]:
    """Folder of backends, with the process for models of this Python version, and where libraries are found."""
    packages, library = venv_packages(venv), libpython()
    assert library is not None, "this Python has no shared library, which the backend's process for models links"
    here = packages / "pytriton" / "tritonserver"
    python = folder / "backends" / "python"
    python.mkdir(parents=True)
    stub = here / "python_backend_stubs" / sysconfig.get_python_version() / "triton_python_backend_stub"
    for file in (*(here / "backends" / "python").glob("*.*"), stub):
        (python / file.name).symlink_to(file)
    return python.parent, f"{packages / 'nvidia_pytriton.libs'}{os.pathsep}{library.parent}"


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait(process: subprocess.Popen[bytes], triton: Triton) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://{triton.http}/v2/health/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise RuntimeError(f"Triton did not become ready:\n{triton.log.read_text('utf-8', 'replace')[-4000:]}")
