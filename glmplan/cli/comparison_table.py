"""How a comparison looks on the terminal: one column for each plan, its change against the first beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from glmplan.cli.terminal import print_table

if TYPE_CHECKING:
    from glmplan.plan.comparison import Row

TITLES = {
    "request": "what was asked for",
    "layout": "the layout",
    "summary": "figure",
    "time": "where the time goes",
    "memory": "what fills the memory",
}


def print_comparison(names: Sequence[str], rows: Sequence[Row], output_format: str) -> None:
    """The rows as one table a section, or as one table of all sections in CSV."""
    from glmplan.plan.comparison import change_text, fraction_text

    columns = [names[0]] + [column for name in names[1:] for column in (name, "change")]
    if output_format == "csv":
        cells = [(row.section, row.name, *_cells(row, fraction_text)) for row in rows]
        print_table(("section", "name", *columns), cells, "csv")
        return
    for section, title in TITLES.items():
        cells = [(row.name, *_cells(row, change_text)) for row in rows if row.section == section]
        if cells and section in ("request", "layout"):
            print_table(
                (title, *names), [(row.name, *row.texts) for row in rows if row.section == section], output_format
            )
        elif cells:
            print_table((title, *columns), cells, output_format)


def row_record(row: Row) -> dict[str, Any]:
    """A row for JSON: numbers in SI units."""
    return {"section": row.section, "name": row.name, "values": list(row.values), "changes": list(row.changes)}


def _cells(row: Row, words: Callable[[float | None], str]) -> list[str]:
    cells = [row.texts[0]]
    for text, change in zip(row.texts[1:], row.changes, strict=True):
        cells += [text, words(change)]
    return cells
