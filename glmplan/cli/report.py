"""``glmplan report``: a plan, and runs of it, as one page."""

from pathlib import Path

import click

from glmplan.cli.terminal import note


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option(
    "--run", "run_folders", metavar="DIR", multiple=True, type=click.Path(path_type=Path), help="A run of the plan."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write. [default: reports/<name of PLAN>.html; Markdown goes to stdout]",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["html", "md"]),
    help="Page or Markdown text. [default: html, or md where FILE ends in .md]",
)
def command(plan_path: Path, run_folders: tuple[Path, ...], output: Path | None, output_format: str | None) -> None:
    """Writes PLAN (and what its runs measured) as one self-contained page, and prints where it is.

    Several --run are laid side by side. The page opens offline; a file that glmplan did not make is never replaced.

    Example: glmplan report plan.json --run runs/first -o reports/first.html
    """
    # plotly and jinja2 take a moment to import: only this command pays for them.
    from glmplan.report.publication import report_text, write_report

    if output_format is None:
        output_format = "md" if output is not None and output.suffix.lower() == ".md" else "html"
    if output is None and output_format == "md":
        click.echo(report_text(plan_path, run_folders, output_format), nl=False)
        return
    output = output or Path("reports") / f"{plan_path.stem}.html"
    write_report(plan_path, run_folders, output, output_format)
    note("The page needs no network and no other file." if output_format == "html" else "Written as Markdown.")
    click.echo(str(output))
