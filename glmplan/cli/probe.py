"""``glmplan probe``: measures this machine."""

from pathlib import Path

import click

from glmplan.cli.progress import progress_bar
from glmplan.cli.terminal import format_option, note, print_json, print_table
from glmplan.errors import InputError
from glmplan.precision import Precision

BUSY_FRACTION = 0.25
"""Other programs that take more of the processor than this earn a note."""


@click.command(name="probe")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("machine.yaml"),
    show_default=True,
    help="The cluster profile to write.",
)
@click.option(
    "--ranks", type=int, help="Devices to measure at once. [default: every GPU; on a CPU 2 to 8 by its cores]"
)
@click.option("--seconds", type=float, default=45.0, show_default=True, help="Measuring time, start-up apart.")
@click.option("--seed", type=int, default=0, show_default=True, help="Order of the shapes when time is short.")
@click.option("--dtype", "dtypes", help="Formats, such as fp32,bf16. [default: those that training uses here]")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
@format_option("text", "json")
def command(
    output: Path,
    ranks: int | None,
    seconds: float,
    seed: int,
    dtypes: str | None,
    quiet: bool,
    overwrite: bool,
    output_format: str,
) -> None:
    """Measures this machine and writes it as a cluster profile that all commands take.

    Matmuls, attention, memory, operator cost, collectives and the disk, with all ranks busy at the same time.

    \b
    Example:
      glmplan probe -o machine.yaml
      glmplan plan --cluster machine.yaml --gpus 2 ...
    """
    from glmplan.probe.profile_file import check_output

    precisions = _precisions(dtypes)
    check_output(output, overwrite=overwrite)
    try:
        from glmplan.probe.machine import probe_machine, write_profile
        from glmplan.probe.profile import headlines, other_load_fraction
    except ModuleNotFoundError as error:
        raise InputError(
            f"probe: needs {error.name}, which is not installed; pip install 'glmplan[train]' brings it"
        ) from None
    with progress_bar("probe", quiet=quiet) as progress:
        document = probe_machine(
            ranks=ranks,
            seconds=seconds,
            seed=seed,
            dtypes=precisions,
            folder=output.absolute().parent,
            progress=progress,
        )
    write_profile(document, output, overwrite=overwrite)
    if output_format == "json":
        print_json(document)
    else:
        print_table(["quantity", "value"], headlines(document), output_format)
    if (load := other_load_fraction(document)) > BUSY_FRACTION:
        note(f"note: other programs took {load:.0%} of the processor; on a quiet machine the times would be shorter")
    note(f"wrote {output}; use it with --cluster {output}")


def _precisions(text: str | None) -> list[Precision] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [precision.value for precision in Precision]
    for name in names:
        if name not in known:
            raise InputError(f"--dtype: {name!r} is no format; use a list of {', '.join(known)}")
    if not names:
        raise InputError("--dtype: empty; give formats such as fp32,bf16")
    return [Precision(name) for name in names]
