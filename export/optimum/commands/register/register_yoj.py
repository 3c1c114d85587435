"""``optimum-cli export yoj``: ``yoj-export`` where users of optimum look for exporters.

Tried with optimum 2.3.0, whose ``optimum-cli`` imports every file of this namespace at each start. So nothing but
optimum is imported before the command runs, and no folder on the way here may have an ``__init__.py``.
"""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser


class YojExportCommand(BaseOptimumCLICommand):
    """Command that takes all that ``yoj-export`` takes, its ``--help`` included."""

    COMMAND = CommandInfo(
        name="yoj", help="Make a bundle from a multi-response reward model; arguments are those of yoj-export."
    )

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        """Leave every argument to yoj-export."""
        parser.prefix_chars = ""  # REMAINDER alone would take no option before the first argument without dashes
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def run(self) -> None:
        """Run yoj-export, which ends the process."""
        from yoj.export.cli import main

        main(self.args.arguments, prog_name="optimum-cli export yoj")


# Optimum reads this once for each folder that has the file, such as those of two installations of yoj on one path, but
# imports it once. An iterator is then at its end, where a list would register the name twice, which argparse refuses.
REGISTER_COMMANDS = iter([(YojExportCommand, ExportCommand)])
