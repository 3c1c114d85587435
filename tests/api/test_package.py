"""The wheel that is built from the sdist: complete, and enough to score without PyTorch."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from parts import PARTS

ROOT = Path(__file__).parents[2]
SUFFIXES = (".py", ".typed", ".json", ".yaml", ".jinja", ".onnx", ".c", ".h", ".hpp", ".css", ".js")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=240)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_part_and_nothing_else(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {
        str(path.relative_to(ROOT / part))
        for part in PARTS
        for top in ("yoj", "optimum")  # optimum's commands are files in a namespace of its own
        for path in (ROOT / part / top).rglob("*")
        if path.is_file() and path.suffix in SUFFIXES
    }
    assert packed == source
    assert {f"yoj/{part}/py.typed" for part in PARTS} <= packed


@pytest.mark.slow
def test_experiments_are_in_the_sdist_alone(wheel):
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as sdist:
        sources = sdist.getnames()
    modules = {path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__"}
    assert {"shapes", "small_judge"} <= modules | {path.name for path in (ROOT / "experiments").iterdir()}
    assert all(any(name.endswith(f"/experiments/{module}.py") for name in sources) for module in modules)
    packed = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in packed if "experiments" in name or Path(name).stem in modules]


def test_there_is_never_a_yoj_init():
    assert not [part for part in PARTS if (ROOT / part / "yoj" / "__init__.py").exists()]


def test_the_wheel_scores_without_torch(wheel, bundle, tmp_path):
    """In a fresh interpreter that sees the wheel and the dependencies of ``yoj[ort]``, and nothing else."""
    site = tmp_path / "site"
    site.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    for name in closure("yoj", {"ort"}) - {"yoj"}:
        link_files(name, site)
    code = (
        "import importlib.util, sys; from yoj.runtime.cli import main;"
        "assert not any(importlib.util.find_spec(n) for n in ('torch', 'transformers', 'onnx'));"
        "sys.argv[0] = 'yoj-score'; main()"
    )
    image = ROOT / "tests" / "golden" / "data" / "images" / "odd_small.png"
    words = [
        bundle("merged", "assistant"),
        "--image",
        image,
        "--prompt",
        "How many?",
        "--response",
        "9",
        "--response",
        "3",
    ]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *map(str, words)],
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "P(best)" in done.stdout


def closure(name: str, extras: set[str]) -> set[str]:
    """The installed distributions that a distribution needs."""
    found, waiting = set(), [(name, extras)]
    while waiting:
        name, extras = waiting.pop()
        found.add(name)
        for line in importlib.metadata.requires(name) or []:
            need = Requirement(line)
            wanted = any(need.marker is None or need.marker.evaluate({"extra": extra}) for extra in extras | {""})
            if wanted and (need.name not in found or need.extras):
                waiting.append((need.name, set(need.extras)))
    return found


def link_files(name: str, site: Path) -> None:
    files = importlib.metadata.distribution(name).files or []
    for top in {file.parts[0] for file in files if file.parts[0] != ".."}:
        if not (site / top).exists():
            (site / top).symlink_to(importlib.metadata.distribution(name).locate_file(top))
