"""The command's options: what is refused before anything is loaded."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

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
