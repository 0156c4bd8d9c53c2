"""``glmplan weights``: a run's weights in Hugging Face form, and a check of such a folder."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmplan.cli.terminal import format_option, print_json

if TYPE_CHECKING:
    from glmplan.train.huggingface_export import Precision


@click.group(name="weights")
def command() -> None:
    """Write a run's weights in Hugging Face form, or check a folder of that form.

    To go on from such a folder: `glmplan train PLAN --init-from DIR`; to try it: `glmplan generate --run DIR`.
    """


@command.command()
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Folder of a `glmplan train` run.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="New folder to write to.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the weights; fp32 loses nothing.",
)
@format_option("text", "json")
def export(run: Path, out: Path, precision: "Precision", output_format: str) -> None:
    """Write the latest checkpoint of a run as safetensors, config.json and tokenizer, for `transformers`.

    \b
    Example: glmplan weights export --run run -o model
    """
    from glmplan.train.huggingface_export import export_run

    exported = export_run(run, out, precision=precision)
    if output_format == "json":
        print_json({"schema_version": 1, "directory": str(out), **asdict(exported)})
        return
    click.echo(
        f"{exported.parameters:,} parameters after step {exported.step} as {exported.model_type} in {out}: "
        f"{', '.join(exported.files)}"
    )


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@format_option("text", "json")
def check(directory: Path, output_format: str) -> None:
    """Say whether the trainer can go on from the model in DIRECTORY; reads names and shapes only.

    \b
    Example: glmplan weights check model
    """
    from glmplan.train.huggingface_form import read_configuration
    from glmplan.train.huggingface_import import check_weights

    configuration = read_configuration(directory)
    parameters = check_weights(directory, configuration.architecture)
    if output_format == "json":
        result = {
            "model_type": configuration.model_type,
            "parameters": parameters,
            "positions": configuration.num_positions,
        }
        print_json({"schema_version": 1, **result})
        return
    click.echo(
        f"{directory}: {configuration.model_type}, {parameters:,} parameters, {configuration.num_positions:,} positions"
    )
