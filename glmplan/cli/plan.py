"""glmplan plan: search every legal layout."""

from pathlib import Path
from typing import Any

import click

from glmplan.cli.options import build_request, job_options, layout_options, read_calibration
from glmplan.cli.terminal import format_option, note, print_assumptions, print_json, print_table


@click.command("plan")
@job_options
@layout_options
@click.option("--objective", type=click.Choice(["time", "memory"]), default="time", show_default=True)
@click.option(
    "--memory-margin", type=click.FloatRange(0, 0.9), default=0.05, show_default=True, help="Fraction to keep free."
)
@click.option(
    "--memory-bound",
    type=click.Choice(["predicted", "high90"]),
    default="predicted",
    show_default=True,
    help="What must fit: the predicted peak, or the upper end of its 90 % interval.",
)
@click.option(
    "--stages",
    type=click.Choice(["uniform", "optimal"]),
    default="uniform",
    show_default=True,
    help="Layers of pipeline stages: even, or split (with what they recompute) by an integer program.",
)
@click.option(
    "--evaluate",
    type=click.Choice(["promising", "all"]),
    default="promising",
    show_default=True,
    help="Cost the layouts that a lower bound does not rule out, or every one: the best are the same.",
)
@click.option("--top", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Layouts to keep.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write plan.json.")
@format_option()
def command(
    objective: str,
    memory_margin: float,
    memory_bound: str,
    stages: str,
    evaluate: str,
    top: int,
    output: Path | None,
    output_format: str,
    **options: Any,
) -> None:
    """Search every legal layout and print the best.

    Every dimension takes auto, a value, or a list:

      glmplan plan --model llama3-70b --cluster dgx-h100-pod --gpus 256 --global-batch 1024 --seq-len 8192 --tp 4,8
    """
    import time

    from glmplan.plan.document import write_plan
    from glmplan.plan.table import HEADERS, layout_rows
    from glmplan.search.planner import load_problem, make_plan

    request = build_request(
        options,
        objective=objective,
        memory_margin=memory_margin,
        memory_bound=memory_bound,
        stages=stages,
        evaluate=evaluate,
        top=top,
    )
    start = time.perf_counter()
    plan = make_plan(load_problem(request, read_calibration(options["calibration"])), _progress())
    seconds = time.perf_counter() - start
    if output is not None:
        write_plan(plan, output)
    if output_format == "json":
        data = plan.model_dump(mode="json")
        data["search"]["seconds"] = round(seconds, 3)
        print_json(data)
    else:
        title = f"{request.job.architecture.name} on {request.num_gpus} x {plan.cluster.device} ({plan.cluster.name})"
        print_table(HEADERS, layout_rows(plan), output_format, title)
    if output_format in ("text", "md"):
        click.echo("\n".join(f"- {sentence}" for sentence in plan.explanation))
        print_assumptions(plan.assumptions, output_format)
    ruled_out = sum(plan.search.pruned.values())
    others = f", {ruled_out:,} more ruled out by proof," if ruled_out else ""
    written = f"; written to {output}" if output else ""
    note(f"{plan.search.considered:,} layouts{others} in {seconds:.2f} s{written}")


def _progress() -> Any:
    """Counts on stderr, when somebody watches."""
    import sys

    if not sys.stderr.isatty():
        return None

    def show(considered: int) -> None:
        click.echo(f"\r{considered:,} layouts ...\r", err=True, nl=False)

    return show
