"""The command's options: what is refused before anything is loaded."""

from __future__ import annotations

from typing import get_args

import pytest
from click.testing import CliRunner

from yoj.integrations import MeetingSettings, RewardSettings
from yoj.integrations._meeting_table import Partial
from yoj.integrations._settings import Reward
from yoj.serving._groups import max_connections
from yoj.serving.cli import main


@pytest.mark.parametrize(
    ("options", "keys", "said"),
    [
        (["--host", ""], None, "--host is empty"),
        (["--allow-host", "http://example.org/a"], None, "is no host"),
        (["--deadline", "inf"], None, "no finite number"),
        (["--max-delay", "nan"], None, "no finite number"),
        ([], " , ,", "YOJ_API_KEYS holds no key"),
        ([], "one,two words", "a key with a blank in it"),
        (["--api-key-file", "keys"], None, "keys holds no key"),
        (["--api-key-file", "remark"], None, "a key with a blank in it, or a remark"),
    ],
)
def test_what_would_open_the_server_or_never_end_is_refused(options, keys, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").write_text("\n \n")
    (tmp_path / "remark").write_text("# the old one\n")
    monkeypatch.setenv("YOJ_API_KEYS", keys or "")
    done = CliRunner().invoke(main, ["http", "missing.yoj", *options])
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_a_bundle_that_is_missing_is_an_error_of_one_line():
    done = CliRunner().invoke(main, ["http", "missing.yoj"])
    assert done.exit_code == 1
    assert "missing.yoj" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", ["http", "triton", "kserve", "native"])
def test_each_command_has_help_with_an_example(command):
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0
    assert f"yoj-serve {command}" in done.output


def test_options_of_groups_are_for_groups():
    found = CliRunner().invoke(main, ["http", "missing.yoj", "--group-orders", "2"])
    assert found.exit_code == 2
    assert "--group-orders is for groups. Give --groups too, or leave it out." in found.output


def test_options_of_groups_have_the_choices_of_their_settings():
    options = {one.name: one for one in main.commands["http"].params}
    assert tuple(options["group_partial"].type.choices) == get_args(Partial)
    assert tuple(options["group_reward"].type.choices) == get_args(Reward)
    assert options["group_timeout"].default == MeetingSettings().timeout
    assert (options["group_reward"].default, options["group_orders"].default) == ("centred", RewardSettings().orders)


def test_the_limit_of_open_files_is_raised_for_connections_that_wait():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[0]), before[1]))
        found = max_connections()
        assert found == min(MeetingSettings().max_samples, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 256)
        assert found >= min(before[0], 1024) - 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
