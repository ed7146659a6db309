"""Plain-text tables."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDTH = 100


def text_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table without colour; every column but the first is right-aligned."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    buffer = io.StringIO()
    console = Console(file=buffer, width=WIDTH, color_system=None, markup=False, emoji=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
