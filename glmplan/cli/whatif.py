"""glmplan whatif: a plan with a figure of the machine, the stack, the job or the layout changed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from glmplan.cli.comparison_table import print_comparison, row_record
from glmplan.cli.options import read_calibration
from glmplan.cli.terminal import format_option, note, print_json, print_table


@click.command("whatif")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="A change; may be given several times.")
@click.option("--replan", is_flag=True, help="Also search for the best layout after the change.")
@click.option("--calibration", type=click.Path(path_type=Path), help="Fitted constants that the plan was made with.")
@click.option("--list", "list_names", is_flag=True, help="Print every name that may be set, with its value.")
@format_option()
def command(
    plan_path: Path,
    settings: tuple[str, ...],
    replan: bool,
    calibration: Path | None,
    list_names: bool,
    output_format: str,
) -> None:
    """Cost PLAN's layout before and after a change, and with --replan the best layout after it.

    A value is absolute with its unit (4TB/s), or relative (+20%, x1.5). Nothing is written: the changed machine
    exists on paper only.

      glmplan whatif plan.json --set device.memory_bandwidth=+20% --set layout.tp=4
    """
    from glmplan.plan.document import read_plan
    from glmplan.search.planned import problem_of_plan
    from glmplan.search.setting_names import setting_values
    from glmplan.search.what_if import what_if

    plan = read_plan(plan_path)
    problem, notes = problem_of_plan(plan, read_calibration(calibration))
    if list_names:
        rows = setting_values(problem, plan.chosen.layout)
        if output_format == "json":
            print_json({"schema_version": 1, "names": [asdict(row) for row in rows]})
        else:
            print_table(("name", "now", "meaning"), [(row.name, row.value, row.meaning) for row in rows], output_format)
        return
    result = what_if(problem, plan.chosen.layout, settings, replan=replan)
    for text in notes:
        note(f"note: {text}")
    _print(result, output_format)


def _print(result: Any, output_format: str) -> None:
    from glmplan.search.what_if_text import what_if_rows, what_if_sentences

    names, rows = what_if_rows(result)
    changes = [(change.name, change.before, change.after) for change in result.changes]
    if output_format == "json":
        options = {"before": result.before, "after": result.after, "replanned": result.replanned}
        print_json(
            {
                "schema_version": 1,
                "changes": [asdict(change) for change in result.changes],
                "obstacle": result.obstacle,
                **{name: None if o is None else o.model_dump(mode="json") for name, o in options.items()},
                "rows": [row_record(row) for row in rows],
                "sentences": what_if_sentences(result),
            }
        )
        return
    if output_format != "csv":
        print_table(("change", "from", "to"), changes, output_format)
    print_comparison(names, rows, output_format)
    if output_format != "csv":
        click.echo("\n".join(f"- {sentence}" for sentence in what_if_sentences(result)))
