"""The hooks of the documentation's site, without the site: ``make docs`` builds it strictly."""

from __future__ import annotations

import re

import click
import pytest
from blocks import ROOT

from docs import hooks

DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("page", "uri", "text", "right"),
    [
        ("docs/bulk.md", "bulk.md", "[scoring](scoring.md#x)", "[scoring](scoring.md#x)"),
        ("docs/bulk.md", "bulk.md", "[scoring.md](scoring.md)", "[Scoring](scoring.md)"),
        ("docs/bulk.md", "bulk.md", "[c](../CHANGELOG.md)", "[c](repository/CHANGELOG.md)"),
        ("docs/bulk.md", "bulk.md", "[r](../README.md)", "[r](README.md)"),
        ("docs/bulk.md", "bulk.md", "a [folder](../bench/results) of", "a folder of"),
        ("docs/bulk.md", "bulk.md", "![p](images/grpo.svg)", "![p](images/grpo.svg)"),
        ("docs/bulk.md", "bulk.md", "[out](https://a.b/c.md)", "[out](https://a.b/c.md)"),
        ("docs/bulk.md", "bulk.md", "```\n[k](../bench)\n```", "```\n[k](../bench)\n```"),
        ("CHANGELOG.md", "repository/CHANGELOG.md", "[b](docs/bulk.md)", "[b](../bulk.md)"),
    ],
)
def test_links_lead_to_the_same_in_the_site(page, uri, text, right):
    assert hooks.relinked(text, ROOT / page, uri) == right


def test_files_that_pages_link_to_are_copied():
    copied = {path.relative_to(ROOT).as_posix() for path in hooks.linked_outside()}
    assert {"CHANGELOG.md", "CONTRIBUTING.md", "bench/results/avx2/deep.json"} <= copied
    assert not any(path.startswith("docs/") for path in copied)
    assert all((ROOT / path).is_file() for path in copied)


def test_the_reference_has_the_names_of_the_page():
    names = hooks.public_names((DOCS / "api.md").read_text("utf-8"))
    assert {"Scorer", "Request", "YojError"} <= set(names["yoj.runtime"])
    assert "::: yoj.runtime.Scorer" in hooks.module_page("yoj.runtime", names["yoj.runtime"])


def test_names_of_the_page_lead_into_the_reference():
    page = type("Page", (), {"file": type("File", (), {"src_uri": "api.md"})})
    text = hooks.on_page_markdown((DOCS / "api.md").read_text("utf-8"), page=page)
    assert "[`Scorer`](reference/yoj.runtime.md#yoj.runtime.Scorer)" in text
    assert "`__version__`" in text
    assert "#yoj.runtime.__version__" not in text


def test_the_reference_has_the_help_of_every_command():
    for name, target in hooks.commands().items():
        page = hooks.command_page(name, target)
        assert f"Usage: {name}" in page
        assert "--help" in page
    page = hooks.command_page("yoj-export", hooks.commands()["yoj-export"])
    assert re.findall(r"^## (yoj-export \w+)$", page, re.MULTILINE)


def test_hidden_commands_are_left_out():
    group = click.Group("g", commands=[click.Command("old", hidden=True), click.Command("new")])
    assert [path for path, _ in hooks.helps(click.Context(group, info_name="g"))] == ["g", "g new"]


def test_a_bar_in_code_of_a_table_stands_without_its_backslash():
    page = type("Page", (), {"file": type("File", (), {"src_uri": "bulk.md"})})
    assert hooks.on_page_markdown("| `<\\|x\\|>` |", page=page) == "| <code>&lt;&#124;x&#124;&gt;</code> |"


def test_pictures_are_chosen_by_the_reader_of_the_site():
    page = type("Page", (), {"file": type("File", (), {"src_uri": "README.md"})})
    text = hooks.on_page_markdown((DOCS / "README.md").read_text("utf-8"), page=page)
    assert "<picture>" not in text
    assert "(images/method-light.svg#only-light)" in text
    assert "(images/method-dark.svg#only-dark)" in text
