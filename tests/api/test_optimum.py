"""``optimum-cli export yoj``: yoj-export behind the command of optimum itself, where that is installed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recorded import MERGED

ROOT = Path(__file__).parents[2]
OPTIMUM = ROOT / ".venv-optimum"
PLUGIN = ROOT / "export" / "optimum" / "commands" / "register" / "register_yoj.py"
real = pytest.mark.skipif(not OPTIMUM.exists(), reason=f"no {OPTIMUM.name}, which make {OPTIMUM.name}/.ready makes")


def cli(*arguments: str, first: str | Path = ROOT / "export") -> subprocess.CompletedProcess[str]:
    paths = [str(first), str(ROOT / "runtime"), str(ROOT / "export"), str(OPTIMUM), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"}
    command = [sys.executable, "-m", "optimum.commands.optimum_cli", "export", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_every_start_of_optimum_imports_little():
    """optimum-cli imports the file at each start; a package on the way would hide optimum itself."""
    imported = [node for node in ast.parse(PLUGIN.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imported}
    assert names == {
        "__future__",
        "argparse",
        "typing",
        "optimum.commands.base",
        "optimum.commands.export.base",
    }
    assert [path for path in (ROOT / "export" / "optimum").rglob("*") if path.is_file() and path.suffix == ".py"] == [
        PLUGIN
    ]


@real
@pytest.mark.slow
def test_the_help_of_optimum_lists_the_command():
    done = cli("--help")
    assert done.returncode == 0, done.stderr
    assert "Make a bundle from a multi-response reward model; arguments are" in done.stdout


@real
@pytest.mark.slow
def test_two_installations_on_one_path_are_one_command(tmp_path):
    other = tmp_path / PLUGIN.relative_to(ROOT / "export")
    other.parent.mkdir(parents=True)
    other.write_bytes(PLUGIN.read_bytes())
    done = cli("--help", first=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Make a bundle from a multi-response reward model; arguments are") == 1


@real
@pytest.mark.slow
def test_the_help_of_the_command_is_that_of_yoj_export():
    done = cli("yoj", "build", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: optimum-cli export yoj build [OPTIONS] CHECKPOINTS..." in done.stdout
    for option in ("--layout", "--quantisation", "--no-compare"):
        assert option in done.stdout


@real
@pytest.mark.slow
def test_errors_are_those_of_yoj_export():
    done = cli("yoj", "--layout", "neither", str(MERGED), "--out", "a.yoj")
    assert done.returncode == 2
    assert "Invalid value for '--layout': 'neither' is not one of 'assistant', 'user'." in done.stderr


@real
@pytest.mark.export
@pytest.mark.slow
@pytest.mark.thorough
def test_it_makes_a_bundle(tmp_path):
    out = tmp_path / "a.yoj"
    done = cli("yoj", "--layout", "assistant", str(MERGED), "--out", str(out), "--no-compare")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "manifest.json").read_text())["family"] == "molmo2"
