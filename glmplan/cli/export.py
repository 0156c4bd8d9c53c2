"""glmplan export: a plan as another framework's launch configuration."""

from pathlib import Path

import click

from glmplan.cli.terminal import note

FRAMEWORKS = ("megatron", "torchtitan", "deepspeed", "nemo")


@click.command("export")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--to", "framework", type=click.Choice(FRAMEWORKS), required=True, help="Whose configuration to write.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it; stdout without.")
def command(plan_path: Path, framework: str, output: Path | None) -> None:
    """Write a plan's layout as a launch configuration of Megatron-LM, torchtitan, DeepSpeed or NeMo.

    glmplan export plan.json --to megatron -o pretrain.sh
    """
    from glmplan.documents import write_text
    from glmplan.frameworks.catalog import FRAMEWORKS as KNOWN
    from glmplan.plan.document import read_plan

    text = KNOWN[framework].write(read_plan(plan_path))
    if output is None:
        click.echo(text, nl=False)
        return
    write_text(output, text)
    note(f"wrote {output}")
