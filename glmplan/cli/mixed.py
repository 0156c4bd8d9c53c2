"""glmplan mixed: one pipeline over unlike devices."""

from functools import partial
from typing import Any

import click

from glmplan.cli.options import build_request, job_options, layout_options
from glmplan.cli.terminal import format_option, note, print_json, print_table
from glmplan.errors import InputError


@click.command("mixed")
@partial(job_options, gpus=lambda command: command)
@layout_options
@click.option(
    "--memory-margin", type=click.FloatRange(0, 0.9), default=0.05, show_default=True, help="Fraction to keep free."
)
@click.option("--top", type=click.IntRange(1, 100), default=5, show_default=True, help="Layouts to keep.")
@format_option()
def command(memory_margin: float, top: int, output_format: str, **options: Any) -> None:
    """Split one model over several kinds of GPUs, stage by stage; --cluster names each kind with its number.

    glmplan mixed --model llama3-70b --cluster dgx-a100-pod:64,dgx-h100-pod:64 --global-batch 256 --seq-len 8192 --tp 8
    """
    from glmplan.hardware.catalog import load_cluster
    from glmplan.search.mixed_cluster import ClusterShare
    from glmplan.search.mixed_search import search_mixed
    from glmplan.search.mixed_text import HEADERS, STAGE_HEADERS, mixed_record, mixed_rows, mixed_sentences, stage_rows
    from glmplan.software.catalog import load_stack

    named = [_share(part.strip()) for part in options["cluster"].split(",")]
    if len(named) < 2:
        raise InputError("--cluster: mixed needs two kinds or more, such as dgx-a100-pod:64,dgx-h100-pod:64")
    request = build_request(options | {"num_gpus": sum(number for _, number in named)}, memory_margin=memory_margin)
    shares = [ClusterShare(cluster=load_cluster(name), num_devices=number) for name, number in named]
    found = search_mixed(
        request.job, load_stack(request.stack), shares, request.choices, memory_margin=memory_margin, keep=top
    )
    if output_format == "json":
        print_json(mixed_record(found))
        return
    print_table(HEADERS, mixed_rows(found), output_format, f"{request.job.architecture.name} on {options['cluster']}")
    if output_format in ("text", "md"):
        print_table(STAGE_HEADERS, stage_rows(found.best[0]), output_format, "Stages of the best")
        click.echo("\n".join(f"- {sentence}" for sentence in mixed_sentences(found)))
    note(f"{found.considered:,} layouts, {found.solved} solved for")


def _share(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition(":")
    if not name or not number.isdecimal() or not 0 < int(number) < 10**9:
        raise InputError(f"--cluster: expected NAME:GPUS, such as dgx-a100-pod:64; got {text!r}")
    return name, int(number)
