"""Frameworks of others in environments of their own, which run a script that gets and gives JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from parts import PARTS

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "tests" / "integrations" / "peers"
TOKENIZER = ROOT / "checkpoints" / "shapes-qwen3_vl" / "base"
"""Folder of a policy, of which the tokenizer and the chat template are used."""
PATH = os.pathsep.join(str(ROOT / part) for part in PARTS)


def needs(name: str) -> pytest.MarkDecorator:
    """Skip where an environment was not made."""
    return pytest.mark.skipif(not (ROOT / name).exists(), reason=f"no {name}, which make {name}/.ready makes")


def ask(environment: str, script: str, asked: dict[str, Any]) -> Any:
    """Run a script in an environment; what the last line of its output says."""
    env = {**os.environ, "PYTHONPATH": PATH, "HF_HUB_OFFLINE": "1"}
    env["RAY_worker_niceness"] = "0"  # Ray's 15 would give all cores to the tests that run beside
    command = [str(ROOT / environment / "bin" / "python"), str(SCRIPTS / script)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
