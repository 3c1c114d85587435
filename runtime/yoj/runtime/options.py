"""Options and parameters that several commands share: reading a file of requests, and taking a bundle or checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .codec import Ignore, Reading
from .deprecation import renamed_text
from .errors import YojError
from .hub import Kind, is_hub_id, local_folder
from .request import Overflow, Placeholders
from .sources import policy_of_files


@dataclass(frozen=True)
class Given:
    """Values of the options that `reading_options` adds."""

    media_root: Path | None = None
    ignore: Ignore = Ignore()  # noqa: RUF009  (frozen)
    hosts: frozenset[str] = frozenset()

    def reading(self, folder: Path, overflow: Overflow = "error", placeholders: Placeholders = "error") -> Reading:
        """Settings for reading a file of requests in ``folder``."""
        return Reading(policy_of_files(folder, self.media_root, self.hosts), self.ignore, overflow, placeholders)


class RenamedOptions(click.Command):
    """A command some of whose options had other names in the earlier version."""

    def __init__(self, *args: Any, renamed: Mapping[str, str], **settings: Any):
        """``renamed``: old option -> new option, both with their dashes."""
        super().__init__(*args, **settings)
        self._renamed = renamed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with the new option in the place of each old one."""
        for index, argument in enumerate(args):
            if argument == "--":
                break
            option, equals, value = argument.partition("=")
            if (new := self._renamed.get(option)) is not None:
                click.echo(f"warning: {renamed_text(option, new)}", err=True)
                args[index] = new + equals + value
        return super().parse_args(ctx, args)


class RenamedCommands(click.Group):
    """A group some of whose commands had other names in the earlier version."""

    def __init__(self, *args: Any, renamed: Mapping[str, str], **settings: Any):
        """``renamed``: old command -> new command."""
        super().__init__(*args, **settings)
        self._renamed = renamed

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or the one that has a new name since."""
        if (new := self._renamed.get(cmd_name)) is None:
            return super().get_command(ctx, cmd_name)
        click.echo(f"warning: {renamed_text(f'{ctx.info_name} {cmd_name}', f'{ctx.info_name} {new}')}", err=True)
        return super().get_command(ctx, new)


@contextmanager
def readable_errors() -> Generator[None]:
    """Show errors that yoj raises on purpose as a message, not as a traceback."""
    try:
        yield
    except (YojError, OSError) as error:
        raise click.ClickException(str(error)) from error


class HubFolder(click.Path):
    """Parameter type that takes the folder of a checkpoint or bundle, or a hub id, and gives the folder."""

    def __init__(self, kind: Kind, exists: bool = False, written: bool = False):
        """Take ``written`` where the command changes the folder, so that it cannot be one of the cache."""
        super().__init__(exists=exists, path_type=Path)
        self._kind: Kind = kind
        self._written = written

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a value to a folder; a download that fails is reported as a wrong value of the parameter."""
        if self._written and is_hub_id(value):
            self.fail(
                f"{value} is no folder here. If it is a hub id: this command writes into its {self._kind}, so download "
                "that into a folder of your own with hf download ORG/NAME --local-dir FOLDER, and give it.",
                param,
                ctx,
            )
        try:
            return super().convert(local_folder(value, self._kind, plans=True), param, ctx)
        except YojError as error:
            return self.fail(str(error), param, ctx)


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with options for media and ignored fields, passed to it as ``given``."""
    options = [
        click.option(
            "--media-root",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Media may come from this folder; relative paths begin at the folder of the file where that lies in "
            "it, else here.  [default: the folder of the file]",
        ),
        click.option(
            "--ignore-field", "fields", multiple=True, metavar="NAME", help="Ignore this field; may be repeated."
        ),
        click.option("--ignore-unknown", is_flag=True, help="Ignore all fields that are not read."),
    ]

    @functools.wraps(command)
    def wrapped(
        *args: Any, media_root: Path | None, fields: tuple[str, ...], ignore_unknown: bool, **rest: Any
    ) -> None:
        command(*args, given=Given(media_root, Ignore(frozenset(fields), ignore_unknown)), **rest)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
