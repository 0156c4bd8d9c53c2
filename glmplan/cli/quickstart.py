"""glmplan quickstart: the whole loop on this machine, from a measured profile to a report."""

from pathlib import Path

import click

from glmplan.cli.terminal import format_option, note, print_json, print_table


@click.command("quickstart")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("quickstart"), show_default=True, help="Folder of results."
)
@click.option("--model", default="tiny-llama-3m", show_default=True, help="What to train.")
@click.option("--data", multiple=True, help="Text files or folders. [default: the Python standard library's sources]")
@click.option("--steps", type=click.IntRange(8, 100_000), default=24, show_default=True, help="Steps of a short run.")
@click.option("--probe-seconds", type=click.FloatRange(2, 600), default=40, show_default=True, help="Measuring time.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Start afresh; without it a folder left half done is continued.")
@format_option("text", "json", "md")
def command(
    out: Path,
    model: str,
    data: tuple[str, ...],
    steps: int,
    probe_seconds: float,
    seed: int,
    overwrite: bool,
    output_format: str,
) -> None:
    """Measure this machine, plan, train, validate, calibrate, plan again and report.

    Trains the chosen layout and two others for a short while, fits the trainer's constants to them, plans again, and
    holds the new prediction against a fresh run. Takes a few minutes on two cores.
    """
    from glmplan.cli.quickstart_loop import Settings, run_loop

    settings = Settings(
        out=out,
        model=model,
        sources=data or ("python-stdlib",),
        steps=steps,
        probe_seconds=probe_seconds,
        seed=seed,
        overwrite=overwrite,
    )
    summary = run_loop(settings, note)
    if output_format == "json":
        print_json(summary.document())
        return
    print_table(summary.headers(), summary.rows(), output_format, "Predicted against measured")
    click.echo("\n".join(summary.sentences()))
