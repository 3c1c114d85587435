"""The trainers of TRL themselves, with a tiny policy, in processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")

SCRIPT = Path(__file__).parent / "trainers" / "with_trl.py"
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.export, pytest.mark.slow]


def start(bundle: Path, folder: Path, *names: str, **environment: str) -> subprocess.Popen:
    paths = os.pathsep.join(str(ROOT / part) for part in ("runtime", "integrations"))
    own = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | environment
    command = [sys.executable, str(SCRIPT), str(bundle), str(folder), *names]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=own, **pipes)


def said(process: subprocess.Popen, given: str = "") -> dict:
    out, error = process.communicate(given, timeout=280)
    assert process.returncode == 0, error[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def judge(bundle) -> Path:
    return bundle("qwen3_vl", "assistant")


@pytest.fixture(scope="module")
def trained(judge, tmp_path_factory) -> dict[str, dict]:
    return said(start(judge, tmp_path_factory.mktemp("trained"), "grpo", "rloo", "online_dpo"))


@pytest.fixture(scope="module")
def of_ranks(judge, tmp_path_factory) -> list[list[dict]]:
    """Calls of two ranks, with half a group on each."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    both = [start(judge, folder, "straddling", RANK=rank, LOCAL_RANK=rank, **meeting) for rank in "01"]
    return [said(one)["straddling"]["calls"] for one in both]


@pytest.mark.parametrize("name", ["grpo", "rloo"])
def test_rewards_are_the_scorers_to_the_last_bit(name, trained):
    for call in trained[name]["calls"]:
        assert call["rewards"] == call["expected"]
        assert len(set(call["rewards"])) > 2


def test_evaluation_has_its_own_size(trained):
    calls = trained["grpo"]["calls"]
    assert [(call["training"], len(call["prompts"])) for call in calls] == [
        *[(True, 8), (False, 4), (False, 4)],
        *[(True, 8), (False, 4), (False, 4)],
    ]
    assert all(call["prompts"][0] == call["prompts"][1] != call["prompts"][2] for call in calls if not call["training"])


def test_metrics_are_in_the_trainers_log(trained):
    first = trained["grpo"]["history"][0]
    assert first["yoj/failed_groups"] == 0
    assert first["yoj/spread"] > 0
    assert first["rewards/yoj/mean"] == pytest.approx(0, abs=1e-6)
    assert any("eval_yoj/mean_score" in line for line in trained["grpo"]["history"])
    assert "rewards/beside/std" in trained["rloo"]["history"][0]
    assert "beside/mean_score" in trained["rloo"]["history"][0]


def test_orders_change_from_step_to_step(trained):
    assert len({tuple(call["place"][:4]) for call in trained["rloo"]["calls"]}) > 1


def test_pairs_of_online_dpo_stand_apart(trained):
    full = next(call for call in trained["online_dpo"]["calls"] if len(call["prompts"]) == 6)
    assert full["prompts"][:3] == full["prompts"][3:]
    first, second = full["rewards"][:3], full["rewards"][3:]
    assert first == [-value for value in second]
    assert 0.0 not in first


def test_two_ranks_with_half_a_group_each_get_what_one_rank_gets(of_ranks, judge, tmp_path):
    whole = [
        {"step": one["step"], **{name: one[name] + other[name] for name in ("prompts", "completions", "rewards")}}
        for one, other in zip(*of_ranks, strict=True)
    ]
    assert all(len(one["prompts"]) == 2 for calls in of_ranks for one in calls)
    replayed = said(start(judge, tmp_path, "replay"), json.dumps(whole))
    assert replayed == [call["rewards"] for call in whole]
    assert all(abs(sum(call["rewards"])) < 1e-5 and len(set(call["rewards"])) == 4 for call in whole)
