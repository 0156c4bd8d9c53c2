"""glmplan scale: scaling curves over numbers of GPUs."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from glmplan.cli.options import (
    build_request,
    gpu_list_option,
    job_options,
    layout_options,
    parse_gpu_list,
    read_calibration,
)
from glmplan.cli.progress import progress_bar
from glmplan.cli.terminal import format_option, print_json, print_table


@click.command("scale")
@partial(job_options, gpus=gpu_list_option)
@layout_options
@click.option(
    "--mode",
    type=click.Choice(["strong", "weak", "both"]),
    default="both",
    show_default=True,
    help="Keep the global batch (strong), or the batch of a GPU (weak); --global-batch is that of the fewest GPUs.",
)
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
    help="Layers of pipeline stages: even, or split by an integer program.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write the charts as a page.")
@format_option()
def command(
    gpu_list: str,
    mode: str,
    memory_margin: float,
    memory_bound: str,
    stages: str,
    output: Path | None,
    output_format: str,
    **options: Any,
) -> None:
    """Plan a job anew on every number of GPUs: speed-up, efficiency and cost, strong and weak.

    glmplan scale --model llama3-8b --cluster dgx-h100-pod --gpus 8,16,32,64 --global-batch 128 --seq-len 8192
    """
    from glmplan.search.scaling import scaling_curve
    from glmplan.search.scaling_text import HEADERS, curve_record, scaling_rows, scaling_sentences

    counts = parse_gpu_list(gpu_list)
    if output is not None:
        from glmplan.report.publication import refuse_foreign

        refuse_foreign(output)  # before the work, not after it
    limits = {"memory_margin": memory_margin, "memory_bound": memory_bound, "stages": stages}
    request = build_request({**options, "num_gpus": counts[0]}, **limits, top=1)
    calibration = read_calibration(options["calibration"])
    with progress_bar("scale") as progress:
        curves = tuple(
            scaling_curve(request, counts, chosen, calibration, progress)
            for chosen in ("strong", "weak")
            if mode in (chosen, "both")
        )
    if output is not None:
        from glmplan.report.study_page import scaling_report, write_study

        write_study(scaling_report(request, curves), output)
    sentences = scaling_sentences(curves)
    if output_format == "json":
        records = [curve_record(curve) for curve in curves]
        print_json({"schema_version": 1, "curves": records, "sentences": sentences})
        return
    print_table(HEADERS, scaling_rows(curves), output_format)
    if output_format != "csv":
        click.echo("\n".join(f"- {sentence}" for sentence in sentences))
