"""`glmplan models`: lists the presets and shows one architecture."""

import click

from glmplan.cli.terminal import format_option, print_json, print_table


@click.group()
def command() -> None:
    """List and show model presets."""


@command.command("list")
@format_option()
def list_command(output_format: str) -> None:
    """List the presets with their size.

    Example: glmplan models list --format json
    """
    from glmplan.architecture.catalog import list_architectures, load_architecture
    from glmplan.architecture.parameters import parameter_counts
    from glmplan.architecture.summary import SCHEMA_VERSION

    models = []
    for name in list_architectures():
        arch = load_architecture(name)
        counts = parameter_counts(arch)
        models.append(
            {
                "name": name,
                "family": arch.family,
                "parameters": counts.total,
                "active": counts.active,
                "layers": arch.total_layers,
                "hidden": arch.hidden,
                "source": arch.source,
            }
        )
    if output_format == "json":
        print_json({"schema_version": SCHEMA_VERSION, "models": models})
        return
    headers = [key for key in models[0] if key != "source" or output_format != "text"]
    rows = [[_count(model[key], output_format) for key in headers] for model in models]
    print_table(headers, rows, output_format)


@command.command("show")
@click.argument("name")
@click.option("--seq-len", type=click.IntRange(1, 2**24), help="Tokens per sequence [default: 4096, or all positions].")
@format_option()
def show_command(name: str, seq_len: int | None, output_format: str) -> None:
    """Show one model: parameters by kind, model FLOPs per token, source.

    NAME is a preset, a YAML file, a Hugging Face config.json, or a folder that holds one.

    Example: glmplan models show llama3-8b --seq-len 8192
    """
    from glmplan.architecture.catalog import architecture_sha256, load_architecture
    from glmplan.architecture.model_flops import FORMULA
    from glmplan.architecture.summary import architecture_document, flops_rows, parameter_rows, usual_seq_len

    arch = load_architecture(name)
    seq_len = seq_len or usual_seq_len(arch)
    if output_format == "json":
        print_json(architecture_document(arch, seq_len, architecture_sha256(name)))
        return
    parameters, flops = parameter_rows(arch), flops_rows(arch, seq_len)
    if output_format == "csv":
        rows: list[tuple[object, ...]] = [("parameters", *row) for row in parameters]
        rows += [(f"flops per token at {seq_len}", *row) for row in flops]
        print_table(("quantity", "part", "value", "fraction"), rows, output_format)
        return
    cells = [(kind, _count(count, output_format), f"{fraction:.1%}") for kind, count, fraction in parameters]
    print_table(("parameters", "count", "share"), cells, output_format, title=f"{arch.name} ({arch.family})")
    if output_format == "md":
        click.echo()
    cells = [(part, f"{value:.4g}", f"{fraction:.1%}") for part, value, fraction in flops]
    headers = (f"model FLOPs per token at {seq_len} tokens", "FLOPs", "share")
    print_table(headers, cells, output_format)
    if output_format == "md":
        click.echo()
    click.echo(f"formula: {FORMULA}\ncausal attention: counted in full\nsource: {arch.source}")


def _count(value: object, output_format: str) -> str:
    """A cell: large numbers with separators where people read them."""
    return f"{value:,}" if isinstance(value, int) and output_format in ("text", "md") else str(value)
