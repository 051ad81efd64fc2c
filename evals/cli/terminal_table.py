"""Tables of figures for a terminal of 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_NUMERIC = ("n", "runs", "median", "p95", "largest")


def terminal_table(title: str, *headers: str) -> Table:
    """An empty table without frames. A title is plain text: no markup is read out of it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for header in headers:
        longest = max(map(len, header.split()), default=0)
        table.add_column(header, justify="right" if header in _NUMERIC else "left", overflow="fold", min_width=longest)
    return table
