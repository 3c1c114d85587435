"""Pages of the site that no file of this folder holds: reference of modules and commands, and files of the repository.

The reference has the names of ``api.md``, from their docstrings, and the commands of ``pyproject.toml``, from their
``--help``. What a page links to outside this folder is copied into the site; folders are named without a link.
"""

from __future__ import annotations

import importlib
import os
import posixpath
import re
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COPIED = "repository"
"""Folder of the site with what is copied from outside the documentation."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:)([^)#\s]+)(#[^)\s]+)?\)")
PICTURE = re.compile(r"<picture>.*?</picture>", re.DOTALL)
BAR = "\\|"
BARRED = re.compile(r"`([^`\n]*\\\|[^`\n]*)`")
"""Code in a cell of a table with a bar, which Python-Markdown shows with the backslash that the cell needs."""
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
NAMES = re.compile(r"^\| `(yoj\.[\w.]+)` \| (`.+?) \|", re.MULTILINE)
"""Row of ``api.md``: a module, and its names."""
WIDTH = 100
"""Columns of ``--help`` in the reference."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the reference into the navigation."""
    (reference,) = (part["Reference"] for part in config.nav or [] if "Reference" in part)
    names = [*public_names((DOCS / "api.md").read_text("utf-8")), *commands()]
    reference += [{name: f"reference/{name}.md"} for name in names]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and the files that pages link to."""
    from mkdocs.structure.files import File

    for module, names in public_names((DOCS / "api.md").read_text("utf-8")).items():
        files.append(File.generated(config, f"reference/{module}.md", content=module_page(module, names)))
    for command, target in commands().items():
        files.append(File.generated(config, f"reference/{command}.md", content=command_page(command, target)))
    for path in linked_outside():
        files.append(File.generated(config, site_path(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Make links to files of the repository those of the site."""
    uri = page.file.src_uri
    if uri.startswith("reference/"):
        return markdown
    origin = ROOT / uri.removeprefix(f"{COPIED}/") if uri.startswith(f"{COPIED}/") else DOCS / uri
    markdown = BARRED.sub(lambda code: f"<code>{escape(code[1]).replace(BAR, '&#124;')}</code>", markdown)
    markdown = relinked(PICTURE.sub(chosen_by_the_reader, markdown), origin, uri)
    return NAMES.sub(linked_names, markdown) if uri == "api.md" else markdown


def linked_names(row: re.Match[str]) -> str:
    """Row of the table of public names, each with a link into the reference."""
    module, names = row.groups()
    linked = re.sub(r"`([A-Za-z]\w*)`", lambda name: f"[{name[0]}](reference/{module}.md#{module}.{name[1]})", names)
    return f"| `{module}` | {linked} |"


def chosen_by_the_reader(picture: re.Match[str]) -> str:
    """Both images of a picture, of which the site shows that of its scheme; the browser would ask the system alone."""
    dark, light, about = (re.findall(rf'\b{name}="([^"]+)"', picture[0])[0] for name in ("srcset", "src", "alt"))
    return f"![{about}]({light}#only-light) ![{about}]({dark}#only-dark)"


def public_names(page: str) -> dict[str, list[str]]:
    """Public names of each module, from the table of ``api.md``."""
    found: dict[str, list[str]] = {}
    for module, names in NAMES.findall(page):
        found.setdefault(module, []).extend(re.findall(r"`(\w+)`", names))
    return found


def module_page(module: str, names: list[str]) -> str:
    """Markdown from which mkdocstrings writes the reference of a module."""
    return "\n\n".join([f"# {module}", *(f"::: {module}.{name}" for name in names if name != "__version__")])


def commands() -> dict[str, str]:
    """Module and function of each command, by the command's name."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]


def command_page(name: str, target: str) -> str:
    """Markdown with the ``--help`` of a command and of all its subcommands."""
    module, function = target.split(":")
    main: click.Command = getattr(importlib.import_module(module), function)
    parts = [f"# {name}\n\nWhat `--help` prints."]
    parts += [
        f"## {path}\n\n```text\n{text}\n```"
        for path, text in helps(click.Context(main, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH))
    ]
    return "\n\n".join(parts)


def helps(context: click.Context) -> Iterator[tuple[str, str]]:
    """Path and help of a command, then of those below it."""
    command = context.command
    yield context.command_path, command.get_help(context)
    for name, below in sorted(getattr(command, "commands", {}).items()):
        if not below.hidden:
            yield from helps(click.Context(below, context, name, max_content_width=WIDTH, terminal_width=WIDTH))


def relinked(markdown: str, origin: Path, uri: str) -> str:
    """Text of a page with its links as they are in the site.

    Args:
        markdown: the text.
        origin: the page's file in the repository.
        uri: the page's path in the site.
    """

    def link(found: re.Match[str]) -> str:
        mark, text, target, anchor = found.groups()
        path = Path(os.path.normpath(origin.parent / target))
        if path.is_dir():
            return text
        if text == posixpath.basename(target) and path.suffix == ".md":
            text = title(path)
        return f"{mark}[{text}]({posixpath.relpath(site_path(path), posixpath.dirname(uri) or '.')}{anchor or ''})"

    parts = re.split(rf"({FENCE.pattern})", markdown, flags=FENCE.flags)
    return "".join(part if number % 2 else LINK.sub(link, part) for number, part in enumerate(parts))


def title(page: Path) -> str:
    """First heading of a page, which is a better name in the site than its file's."""
    return page.read_text("utf-8").partition("\n")[0].removeprefix("# ")


def site_path(path: Path) -> str:
    """Path in the site of a file of the repository."""
    if path == ROOT / "README.md":  # its place has the index
        path = DOCS / "README.md"
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return f"{COPIED}/{path.relative_to(ROOT).as_posix()}"


def linked_outside() -> list[Path]:
    """Files outside the documentation that its pages link to, and those that such pages link to in turn."""
    found: dict[Path, None] = {}
    waiting = sorted(DOCS.glob("*.md"))
    while waiting:
        page = waiting.pop()
        for _, _, target, _ in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
            path = Path(os.path.normpath(page.parent / target))
            if not path.is_file() or path in found or not site_path(path).startswith(COPIED):
                continue
            found[path] = None
            if path.suffix == ".md":
                waiting.append(path)
    return list(found)
