"""glmplan explain: a plan in sentences."""

from pathlib import Path

import click

from glmplan.cli.options import read_calibration
from glmplan.cli.terminal import format_option, note, print_assumptions, print_json


@click.command("explain")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--probe", is_flag=True, help="Look through all layouts again, and for what would change the answer.")
@click.option("--calibration", type=click.Path(path_type=Path), help="Fitted constants that the plan was made with.")
@format_option("text", "json", "md")
def command(plan_path: Path, probe: bool, calibration: Path | None, output_format: str) -> None:
    """Say why a plan's layout wins, what binds it, and what the runner-up loses.

    With --probe also at which bandwidth, memory or rate another layout would win; that takes as long as planning.

      glmplan explain plan.json --probe
    """
    from glmplan.plan.document import read_plan
    from glmplan.plan.explanation import explain

    plan = read_plan(plan_path)
    sentences = explain(plan)
    if probe:
        from glmplan.search.turning_points import probed

        plan, sentences, notes = probed(plan, read_calibration(calibration))
        for text in notes:
            note(f"note: {text}")
    if output_format == "json":
        surroundings = None if plan.surroundings is None else plan.surroundings.model_dump(mode="json")
        print_json(
            {
                "schema_version": 1,
                "sentences": sentences,
                "surroundings": surroundings,
                "assumptions": plan.assumptions,
            }
        )
        return
    mark = "- " if output_format == "md" else ""
    click.echo("\n".join(f"{mark}{sentence}" for sentence in sentences))
    print_assumptions(plan.assumptions, output_format)
