"""How results look on the terminal: text, JSON, CSV or Markdown of the same rows."""

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import click

FORMATS = ("text", "json", "csv", "md")
WIDEST_TABLE = 10_000
"""Characters; a table takes no more than it needs."""


def format_option(*formats: str) -> Callable[[Any], Any]:
    """The ``--format`` option with the given choices (all four by default)."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats or FORMATS),
        default="text",
        show_default=True,
        help="How the result is printed.",
    )


def print_json(data: Any) -> None:
    """``data`` on stdout as JSON."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], output_format: str, title: str = "") -> None:
    """Rows on stdout as a text table, CSV or Markdown. Numbers are given as text by the caller."""
    texts = [[str(cell) for cell in row] for row in rows]
    if output_format == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(headers)
        writer.writerows([[_inert(cell) for cell in row] for row in texts])
        click.echo(stream.getvalue(), nl=False)
        return
    if output_format == "md":
        lines = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in texts]
        lines += [f"| {' | '.join(row)} |" for row in escaped]
        click.echo("\n".join(([f"**{title}**", ""] if title else []) + lines))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, header in enumerate(headers):
        column = [row[index] for row in texts]
        justify: Literal["left", "right"] = "right" if column and all(map(_numeric, column)) else "left"
        table.add_column(header, justify=justify, overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    # a narrow terminal folds cells; a file or pipe gets every row on one line
    Console(width=None if sys.stdout.isatty() else WIDEST_TABLE).print(table)


def _numeric(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "+-" or text == ""


def _inert(cell: str) -> str:
    """A cell that a spreadsheet does not take for a formula (negative numbers stay numbers)."""
    if cell[:1] not in ("=", "+", "-", "@", "\t", "\r"):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def print_assumptions(assumptions: Sequence[str], output_format: str) -> None:
    """What a prediction takes for granted, as a list on stdout; nothing where it rests on measurements alone."""
    if not assumptions:
        return
    apart = ["", "Assumed, because nothing measured supports it:", ""]
    head = apart if output_format == "md" else apart[1:2]
    click.echo("\n".join([*head, *(f"- {text}" for text in assumptions)]))


def note(message: str) -> None:
    """A note on stderr."""
    click.echo(message, err=True)
