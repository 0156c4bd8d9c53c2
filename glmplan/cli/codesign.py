"""glmplan codesign: the Pareto front over machines, networks, stacks, precisions and batches."""

from pathlib import Path
from typing import Any

import click

from glmplan.cli.terminal import format_option, note, print_json, print_table
from glmplan.errors import InputError

LISTS = {
    "clusters": "Catalogue names or YAML files.",
    "gpus": "Numbers of devices.",
    "global_batches": "Sequences per step.",
    "precisions": "bf16, fp8, ...",
    "stacks": "Software stack presets.",
    "fabrics": "Link profiles in place of the cluster's own network; own for that.",
    "goals": "days, usd, energy_kwh, gpus.",
}
RESULT_FILE, PAGE_FILE = "codesign.json", "codesign.html"


def _list_options(command: Any) -> Any:
    for name, text in reversed(LISTS.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, help=f"{text} A list with commas.")(command)
    return command


@click.command("codesign")
@click.argument("request_path", metavar="[REQUEST]", required=False, type=click.Path(path_type=Path))
@click.option("--example", is_flag=True, help="Print a commented request.")
@click.option("--model", help="Preset, YAML, or Hugging Face config.json.")
@click.option("--seq-len", type=click.IntRange(min=1), help="Tokens per sequence.")
@click.option("--tokens", help="Tokens of the whole run, such as 15T.")
@_list_options
@click.option("--evaluations", type=click.IntRange(1, 1_000_000), help="Designs to evaluate.  [default: by the space]")
@click.option(
    "--sampler", type=click.Choice(["nsga2", "tpe", "random"]), default="tpe", show_default=True, help="Proposals."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the sampler.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the study and its results.")
@format_option()
def command(
    request_path: Path | None,
    example: bool,
    evaluations: int | None,
    sampler: Any,
    seed: int,
    output: Path | None,
    output_format: str,
    **given: Any,
) -> None:
    """Find the designs that no other beats in days, money, energy and number of GPUs.

    REQUEST is a YAML file (--example prints one); options stand in for its fields. Every design is planned with the
    exhaustive search. The same command goes on with a study that was stopped.

      glmplan codesign request.yaml -o codesign
    """
    from glmplan.search.codesign_request import EXAMPLE

    if example:
        click.echo(EXAMPLE, nl=False)
        return
    from glmplan.cli.progress import progress_bar
    from glmplan.documents import json_text, write_text
    from glmplan.search.codesign import CodesignOptions, default_evaluations, search_designs
    from glmplan.search.codesign_space import CodesignSpace
    from glmplan.search.codesign_text import HEADERS, document, front_rows_text, notes

    request = _request(request_path, given)
    if output is None:
        raise InputError("-o: missing; give the folder of the study")
    space = CodesignSpace(request=request)
    options = CodesignOptions(evaluations=evaluations or default_evaluations(space), sampler=sampler, seed=seed)
    with progress_bar("codesign") as progress:
        result = search_designs(
            request, options, folder=output, progress=lambda done, goal: progress("designs", done / goal)
        )
    content = document(result)
    write_text(output / RESULT_FILE, json_text(content))
    from glmplan.report.codesign_page import codesign_report
    from glmplan.report.page import html_page

    write_text(output / PAGE_FILE, html_page(codesign_report(result)))
    if output_format == "json":
        print_json(content)
    else:
        print_table(HEADERS, front_rows_text(result), output_format, f"Front of {request.model}")
    if output_format in ("text", "md"):
        click.echo("\n".join(f"- {sentence}" for sentence in notes(result)))
    note(f"{result.considered:,} of {result.space:,} designs; written to {output / RESULT_FILE}, {PAGE_FILE}")


def _request(path: Path | None, given: dict[str, Any]) -> Any:
    """The file's fields, with those of the command line in their place."""
    from glmplan.documents import Document, read_yaml
    from glmplan.search.codesign_request import codesign_request, request_of

    values = {name: value for name, value in given.items() if value is not None}
    for name in LISTS:
        if name in values:
            values[name] = [_number(part.strip()) for part in values[name].split(",") if part.strip()]
    if path is None:
        if not values:
            raise InputError("REQUEST: missing; give a YAML file, or options; --example prints a file")
        return request_of(values)
    read = read_yaml(path)
    return codesign_request(Document(name=read.name, data=read.data | values, lines=read.lines))


def _number(text: str) -> object:
    return int(text) if text.isdecimal() and len(text) < 12 else text
