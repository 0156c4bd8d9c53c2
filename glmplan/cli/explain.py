"""glmplan explain: a plan in sentences."""

from pathlib import Path

import click

from glmplan.cli.terminal import format_option, print_json


@click.command("explain")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@format_option("text", "json", "md")
def command(plan_path: Path, output_format: str) -> None:
    """Say why a plan's layout wins, what binds it, and what the runner-up loses."""
    from glmplan.plan.document import read_plan
    from glmplan.plan.explanation import explain

    sentences = explain(read_plan(plan_path))
    if output_format == "json":
        print_json({"schema_version": 1, "sentences": sentences})
        return
    mark = "- " if output_format == "md" else ""
    click.echo("\n".join(f"{mark}{sentence}" for sentence in sentences))
