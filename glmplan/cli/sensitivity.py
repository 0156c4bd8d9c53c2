"""glmplan sensitivity: what a plan's throughput and cost hang on."""

from pathlib import Path

import click

from glmplan.cli.options import read_calibration
from glmplan.cli.progress import progress_bar
from glmplan.cli.terminal import format_option, note, print_json, print_table


@click.command("sensitivity")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option(
    "--swing",
    type=click.FloatRange(0.01, 0.9),
    default=0.2,
    show_default=True,
    help="Fraction by which each figure is lowered and raised.",
)
@click.option("--replan", is_flag=True, help="Search for the best layout of every swing, not of the memory's alone.")
@click.option("--upgrades/--no-upgrades", "wanted", default=True, show_default=True, help="Plan upgrades anew.")
@click.option("--calibration", type=click.Path(path_type=Path), help="Fitted constants that the plan was made with.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the chart as a page.")
@format_option()
def command(
    plan_path: Path,
    swing: float,
    replan: bool,
    wanted: bool,
    calibration: Path | None,
    output: Path | None,
    output_format: str,
) -> None:
    """Elasticity of PLAN's tokens/s and $/token to each figure of the machine, and what upgrades are worth.

    An elasticity of 0.6 says: one per cent more of the figure gives 0.6 % more tokens/s, the layout as it is.

      glmplan sensitivity plan.json -o sensitivity.html
    """
    from glmplan.plan.document import read_plan
    from glmplan.search.planned import problem_of_plan
    from glmplan.search.sensitivity import sensitivity
    from glmplan.search.sensitivity_text import (
        UPGRADE_HEADERS,
        sensitivity_headers,
        sensitivity_rows,
        sensitivity_sentences,
        study_record,
        upgrade_rows,
    )
    from glmplan.search.upgrades import upgrades

    plan = read_plan(plan_path)
    if output is not None:
        from glmplan.report.publication import refuse_foreign

        refuse_foreign(output)  # before the work, not after it
    problem, notes = problem_of_plan(plan, read_calibration(calibration))
    for text in notes:
        note(f"note: {text}")
    with progress_bar("sensitivity") as progress:
        study = sensitivity(problem, plan.chosen.layout, swing_fraction=swing, replan=replan, progress=progress)
        base, found = upgrades(problem, progress=progress) if wanted else (None, [])
    if output is not None:
        from glmplan.report.study_page import sensitivity_report, write_study

        write_study(sensitivity_report(plan, study, base, found), output)
    sentences = sensitivity_sentences(study, base, found)
    if output_format == "json":
        print_json({"schema_version": 1, **study_record(study, base, found), "sentences": sentences})
        return
    print_table(sensitivity_headers(study), sensitivity_rows(study), output_format)
    if found:
        print_table(UPGRADE_HEADERS, upgrade_rows(found), output_format)
    if output_format != "csv":
        click.echo("\n".join(f"- {sentence}" for sentence in sentences))
