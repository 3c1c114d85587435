"""``yoj-calibrate gate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoj.runtime.engines import ENGINES
from yoj.runtime.options import Given, HubFolder, readable_errors, reading_options

from ._cli_quantisation import Share

if TYPE_CHECKING:
    from ._gate import Gate


@click.command()
@click.argument("bundle", type=HubFolder("bundle", written=True))
@click.argument("against", type=HubFolder("bundle"))
@click.argument("held_out", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--max-flips",
    type=Share(),
    default="0.5%",
    show_default=True,
    help="Largest share of the requests whose best response may become another.",
)
@click.option(
    "--max-loss",
    type=Share(),
    default="1%",
    show_default=True,
    help="Largest loss of accuracy, where there are rankings.",
)
@click.option(
    "--engine", type=click.Choice(list(ENGINES)), help="Engine of both bundles.  [default: the bundle's first]"
)
@reading_options
@click.option("--force", is_flag=True, help="Put the result into BUNDLE even where it does not pass.")
def gate(
    bundle: Path,
    against: Path,
    held_out: Path,
    max_flips: float,
    max_loss: float,
    engine: str | None,
    given: Given,
    force: bool,
) -> None:
    """Measure what BUNDLE, quantised, loses and gains AGAINST one of the same model in float, on HELD_OUT requests.

    It passes where it keeps the budgets and is faster on this machine. Then the figures go into BUNDLE; otherwise the
    command fails and leaves it as it is.
    """
    with readable_errors():
        from ._gate import GatedPair, GateLimits, measure, stamp

        def note(text: str) -> None:
            click.echo(text, err=True)

        pair, reading = GatedPair(bundle, against, engine), given.reading(held_out.parent)
        found = measure(pair, held_out, reading, GateLimits(max_flips, max_loss), note)
        click.echo(described(found))
        if not found.passed and not force:
            reasons = "; ".join(found.reasons)
            raise click.ClickException(f"{bundle} does not pass: {reasons}. --force keeps the figures.")
        stamp(bundle, found, note)
    click.echo(f"{bundle} {'passes' if found.passed else 'was forced'}: the figures are in it.")


def described(found: Gate) -> str:
    """Figures of a gate as text."""
    lines = [
        f"{found.engine} {found.precision} against {found.against}, {found.requests} requests",
        f"first places changed {found.damage.flips:.2%}, tau {found.damage.tau:.3f}, differences "
        f"{found.damage.difference:.4f}",
    ]
    if found.accuracy is not None and found.accuracy_against is not None:
        lines.append(f"accuracy {found.accuracy:.2%} instead of {found.accuracy_against:.2%}")
    if found.vision_speedup is not None:
        lines.append(f"vision tower {found.vision_speedup:.2f} times as fast")
    size = found.bytes / found.bytes_against
    return "\n".join([*lines, f"{found.speedup:.2f} times as fast, {size:.2f} times as large"])
