"""glmplan compare: plans side by side."""

from pathlib import Path

import click

from glmplan.cli.comparison_table import print_comparison, row_record
from glmplan.cli.terminal import format_option, print_json


@click.command("compare")
@click.argument("plan_paths", metavar="PLAN PLAN...", nargs=-1, type=click.Path(path_type=Path))
@format_option()
def command(plan_paths: tuple[Path, ...], output_format: str) -> None:
    """Lay plans side by side and say what sets each apart from the first.

    Where 90 % intervals overlap, the prediction alone does not tell which is faster, and the text says so.

      glmplan compare first.json second.json
    """
    from glmplan.plan.plan_comparison import plan_rows, plan_sentences, read_plans

    plans = read_plans(plan_paths)
    rows, sentences = plan_rows(plans), plan_sentences(plans)
    if output_format == "json":
        print_json(
            {
                "schema_version": 1,
                "plans": list(plans),
                "rows": [row_record(row) for row in rows],
                "sentences": sentences,
            }
        )
        return
    print_comparison(list(plans), rows, output_format)
    if output_format != "csv":
        click.echo("\n".join(f"- {sentence}" for sentence in sentences))
