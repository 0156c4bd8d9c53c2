"""glmplan estimate: cost one given layout."""

from pathlib import Path
from typing import Any

import click

from glmplan.cli.options import build_request, job_options, layout_options, read_calibration
from glmplan.cli.terminal import format_option, note, print_assumptions, print_json, print_table


@click.command("estimate")
@job_options
@layout_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the layout as a plan.json.")
@format_option()
def command(output: Path | None, output_format: str, **options: Any) -> None:
    """Cost one layout, with the full breakdown. A dimension left at auto is 1, or the plain choice.

      glmplan estimate --model gpt3-175b --cluster selene --gpus 64 --global-batch 64 --seq-len 2048 \\
        --stack megatron-lm-2022 --precision fp16 --tp 8 --pp 8 --virtual-stages 3 --recompute full
    """
    from glmplan.plan.document import write_plan
    from glmplan.plan.surroundings_text import misfit_sentence
    from glmplan.search.planner import explained, load_problem, plan_of_layout
    from glmplan.search.single import layout_of_choices

    request = build_request(options)
    problem = load_problem(request, read_calibration(options["calibration"]))
    plan = explained(problem, plan_of_layout(problem, layout_of_choices(request)))
    if output is not None:
        write_plan(plan, output)
    if output_format == "json":
        chosen = plan.chosen.model_dump(mode="json")
        print_json({"schema_version": plan.schema_version, **chosen, "assumptions": plan.assumptions})
    else:
        _print(plan, output_format)
    for sentence in misfit_sentence(plan):
        note(f"note: {sentence}")


def _print(plan: Any, output_format: str) -> None:
    from glmplan.plan.error_bars import days_bar, memory_bar, price_bar, step_time_bar
    from glmplan.plan.part_names import MEMORY_NAMES, TIME_NAMES
    from glmplan.units import format_bytes, format_seconds

    e = plan.chosen.estimate
    summary = [
        ("layout", plan.chosen.layout.label()),
        ("step time", format_seconds(e.step_time_s)),
        ("90 % interval", step_time_bar(e)),
        ("tokens/s/GPU", f"{e.tokens_per_s_per_gpu:,.1f}"),
        ("MFU", f"{e.mfu:.1%}"),
        ("HFU", f"{e.hfu:.1%}"),
        ("peak memory", f"{format_bytes(e.peak_memory_bytes)} of {format_bytes(e.memory_capacity_bytes)}"),
        ("90 % interval of memory", memory_bar(e)),
        ("verdict on memory", str(e.memory_verdict)),
        ("$/hour", "-" if e.usd_per_hour is None else f"{e.usd_per_hour:,.0f}"),
        ("$/billion tokens", "-" if e.usd_per_billion_tokens is None else f"{e.usd_per_billion_tokens:,.0f}"),
        ("90 % interval of $", price_bar(e) or "-"),
        ("days", "-" if e.train_days is None else f"{e.train_days:,.1f}"),
        ("90 % interval of days", days_bar(e) or "-"),
        ("grade", str(e.grade)),
    ]
    times = [(TIME_NAMES[k], format_seconds(v), f"{v / e.step_time_s:.1%}") for k, v in e.time.model_dump().items()]
    sizes = [
        (MEMORY_NAMES[k], format_bytes(v), f"{v / e.peak_memory_bytes:.1%}") for k, v in e.memory.model_dump().items()
    ]
    if output_format == "csv":
        rows = [("summary", *row, "") for row in summary]
        rows += [("time", *row) for row in times] + [("memory", *row) for row in sizes]
        rows += [("assumption", "", sentence, "") for sentence in plan.assumptions]
        print_table(("section", "part", "value", "share"), rows, "csv")
        return
    print_table(("figure", "value"), summary, output_format)
    print_table(("where the time goes", "seconds", "share"), times, output_format)
    print_table(("what fills the memory", "bytes", "share"), sizes, output_format)
    print_assumptions(plan.assumptions, output_format)
