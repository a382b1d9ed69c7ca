"""What handshakes and start-up cost: `python -m bench`, with `--count N` and names of variants."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Table

from bench.handshakes import VARIANTS, Figures, measure, start_up


@click.command()
@click.option("--count", default=2000, show_default=True, help="Pairs in each measurement.")
@click.argument("names", nargs=-1)
def main(count: int, names: tuple[str, ...]) -> None:
    """Measure handshakes of all variants (or those whose name contains one of NAMES)."""
    console = Console()
    times = sorted(start_up())
    console.print(f"start until the control socket answers: median {times[len(times) // 2]:.3f} s")
    table = Table("variant", "handshakes/s", "CPU ms each", "C: CPU ms", "kB a pair", "failed")
    for variant in VARIANTS:
        if names and not any(name.lower() in variant.name.lower() for name in names):
            continue
        with console.status(f"{variant.name}: {count} pairs"):
            figures = measure(variant, count)
        _add(table, figures)
    console.print(table)


def _add(table: Table, figures: Figures) -> None:
    reference = figures.variant.reference
    table.add_row(
        figures.variant.name,
        f"{figures.rate:,.0f}",
        f"{figures.cpu_ms:.2f}",
        "-" if reference is None else f"{reference:.2f}",
        f"{figures.pair_kb:.1f}",
        str(figures.failed),
    )


if __name__ == "__main__":
    sys.exit(main())
