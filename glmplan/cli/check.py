"""glmplan check: somebody's launch configuration under our rules and memory model."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from glmplan.cli.export import FRAMEWORKS
from glmplan.cli.terminal import format_option, note, print_json, print_table


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--framework", type=click.Choice(FRAMEWORKS), required=True, help="Whose configuration it is.")
@click.option("--cluster", required=True, help="Catalogue name or YAML (see `glmplan hardware list`).")
@click.option("--gpus", "num_gpus", type=click.IntRange(min=1), help="Devices, where the file does not say.")
@click.option("--model", help="Preset, YAML, or Hugging Face config.json, where the file does not say.")
@click.option("--global-batch", type=click.IntRange(min=1), help="Sequences per step, where the file does not say.")
@click.option("--seq-len", type=click.IntRange(min=1), help="Tokens per sequence, where the file does not say.")
@click.option("--stack", help="Software stack preset or YAML instead of the framework's own.")
@click.option("--search/--no-search", default=True, show_default=True, help="Also look for a faster layout.")
@format_option()
@click.pass_context
def command(
    context: click.Context, /, file: Path, framework: str, search: bool, output_format: str, **additions: Any
) -> None:
    """Lint a launch configuration: broken rules, memory, slow choices, and what would be faster. It is never executed.

    Exit code 3 when it cannot run (a rule is broken or memory does not suffice), 2 when it cannot be read.

      glmplan check pretrain.sh --framework megatron --cluster dgx-a100 --gpus 64
    """
    from glmplan.documents import read_text
    from glmplan.frameworks.catalog import FRAMEWORKS as KNOWN
    from glmplan.frameworks.completion import Additions
    from glmplan.frameworks.review import review

    configuration = KNOWN[framework].read(read_text(file), str(file))
    result = review(configuration, Additions(**additions), search=search)
    if output_format == "json":
        print_json(
            {
                "schema_version": 1,
                "runs": result.runs,
                "layout": None if result.layout is None else result.layout.model_dump(mode="json"),
                "estimate": None if result.estimate is None else result.estimate.model_dump(mode="json"),
                "findings": [asdict(finding) for finding in result.findings],
                "better": None if result.better is None else result.better.model_dump(mode="json"),
                "unread_options": list(configuration.unread),
            }
        )
    else:
        rows = [(finding.severity, finding.field, finding.message) for finding in result.findings]
        print_table(("severity", "field", "what"), rows, output_format)
        if configuration.unread:
            note(f"note: not judged: {', '.join(configuration.unread)}")
    context.exit(0 if result.runs else 3)
