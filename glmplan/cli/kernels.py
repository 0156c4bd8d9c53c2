"""``glmplan kernels``: how well single kernels are predicted."""

from typing import TYPE_CHECKING

import click

from glmplan.cli.terminal import format_option, print_json, print_table

if TYPE_CHECKING:
    from glmplan.validation.kernel_report import Section

INTRODUCTION = """# How well single kernels are predicted

Made by `glmplan kernels --format md`. Errors are |predicted / measured - 1| in seconds; bias is the median of
ln(predicted / measured), so that a negative one is too fast."""


@click.command()
@format_option()
def command(output_format: str) -> None:
    """Hold the surfaces of matmuls, attention and collectives against measurements they have not seen.

    \b
    Example:
      glmplan kernels --format md > reports/kernels.md
    """
    from glmplan.validation.kernel_report import kernel_sections

    sections = kernel_sections()
    if output_format == "json":
        print_json(
            {
                "schema_version": 1,
                **{part.key: [dict(zip(part.headers, row, strict=True)) for row in part.rows] for part in sections},
            }
        )
        return
    if output_format == "md":
        click.echo(INTRODUCTION)
    for part in sections:
        _print(part, output_format)


def _print(part: "Section", output_format: str) -> None:
    rows = [tuple(_text(header, cell) for header, cell in zip(part.headers, row, strict=True)) for row in part.rows]
    if output_format == "md":
        click.echo(f"\n## {part.title}\n\n{part.note}\n")
        print_table(part.headers, rows, output_format)
        return
    print_table(part.headers, rows, output_format, title=part.title)


def _text(header: str, cell: str | int | float | None) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, float):
        return str(cell)
    if header.startswith("ratio"):
        return f"{cell:.2f}"
    return f"{cell:+.1%}" if header.startswith(("bias", "offset")) else f"{cell:.1%}"
