"""``glmplan dry-run``: the trainer's step on paper, held against the cost model."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from glmplan.cli.terminal import format_option, note, print_json, print_table


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--rank", type=int, default=0, show_default=True, help="Whose step.")
@click.option(
    "--option", type=int, default=0, show_default=True, help="Alternative of the plan; 0 is the chosen layout."
)
@format_option()
def command(plan_path: Path, rank: int, option: int, output_format: str) -> None:
    """Count what one rank of PLAN computes, sends and holds in a step, by running the trainer without data or devices.

    The real trainer's step runs on tensors without storage, in a process group of the plan's full size without peers:
    FLOPs, collectives (bytes by the convention of nccl-tests) and peak memory, beside the cost model's figures.

    \b
    Example: glmplan dry-run plan.json --rank 3 --format json
    """
    from glmplan.plan.document import read_plan
    from glmplan.search.planned import problem_of_plan
    from glmplan.train.run_record import chosen_option, planned_execution

    plan = read_plan(plan_path)
    layout, execution = chosen_option(plan, option).layout, planned_execution(plan, option)

    from glmplan.train.dry_run.differences import differences
    from glmplan.train.dry_run.prediction import predicted_counts
    from glmplan.train.dry_run.rehearsal import rehearse

    on_gpu = plan.cluster.device_kind != "cpu"
    counted = rehearse(plan.request.job, layout, rank=rank, on_gpu=on_gpu, execution=execution)
    problem, _ = problem_of_plan(plan)
    predicted = predicted_counts(problem.model, layout)
    if output_format == "json":
        document = {"schema_version": 1, "layout": layout.model_dump(mode="json"), "rank": rank}
        print_json({**document, **asdict(counted), "predicted": asdict(predicted)})
        return
    rows = [
        (d.name, _text(d.counted, d.unit), "-" if d.predicted is None else _text(d.predicted, d.unit), _share(d))
        for d in differences(counted, predicted)
    ]
    if output_format != "csv":
        note(f"{plan.request.job.architecture.name}: {layout.label()}, rank {rank} of {layout.world_size}")
    print_table(("figure of one step", "dry run", "cost model", "difference"), rows, output_format)


def _text(value: float, unit: str) -> str:
    from glmplan.units import format_bytes

    if unit == "B":
        return format_bytes(value)
    return f"{value:.5g} {unit}" if unit else f"{value:,.0f}"


def _share(difference: Any) -> str:
    return "-" if difference.relative is None else f"{difference.relative:+.2%}"
