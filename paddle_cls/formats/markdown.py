"""Markdown tables, as the pages, the grid and the benchmarks print them."""

from collections.abc import Iterable, Sequence


def line(cells: Iterable[object]) -> str:
    """Return a line of a table; a | inside a cell ends none."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def head(titles: Sequence[object]) -> str:
    """Return the two lines that a table begins with."""
    return f"{line(titles)}\n{line(['---'] * len(titles))}"


def table(rows: Sequence[Sequence[object]]) -> str:
    """Return rows of cells, the first the titles, as a table; its last line has no end."""
    return "\n".join([head(rows[0]), *map(line, rows[1:])])
