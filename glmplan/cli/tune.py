"""glmplan tune: short real runs of a plan's settings, the best written back as a plan."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmplan.cli.terminal import format_option, note, print_json, print_table
from glmplan.errors import InputError

if TYPE_CHECKING:
    from glmplan.tune.tuner import TuningOptions


@click.command("tune")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--trials", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Runs to make.")
@click.option("--budget", default="10m", show_default=True, help="Time for everything, such as 90s, 10m or 2h.")
@click.option("--data", type=click.Path(path_type=Path), help="Token shards.  [default: made-up tokens]")
@click.option("--steps", type=click.IntRange(4, 100_000), default=12, show_default=True, help="Steps of a run.")
@click.option(
    "--pairs",
    type=click.IntRange(0, 100),
    default=4,
    show_default=True,
    help="Pairs of confirming runs; 3 at least, or 0: PLAN stays.",
)
@click.option("--only", default="", help="Settings to vary, such as micro_batch,threads.  [default: all]")
@click.option("--storage", help="Database URL of the study.  [default: SQLite in --folder]")
@click.option("--study", help="Its name there.  [default: by the plan]")
@click.option("--folder", type=click.Path(path_type=Path), help="Of trials and study.  [default: beside --output]")
@click.option("--trial-timeout", help="Longest run, such as 2m.  [default: half the budget, at least 60 s]")
@click.option("--memory-limit", help="Private memory of each process, such as 8 GiB.")
@click.option("--calibration", type=click.Path(path_type=Path), help="Fitted constants, for the order of the trials.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the proposals.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write the tuned plan.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@format_option()
def command(
    plan_path: Path, output: Path, calibration: Path | None, quiet: bool, output_format: str, **given: Any
) -> None:
    """Measure what the cost model cannot know, in short real runs of PLAN, and write the fastest plan.

    The model's best go first, slow runs are ended early, and a run that crashes costs one trial. The best is run
    against PLAN in turn before it is believed. The same command goes on with a study that was stopped; several at once
    share one (--storage).

      glmplan tune plan.json --trials 20 --budget 10m -o tuned.json
    """
    from glmplan.cli.options import read_calibration
    from glmplan.plan.document import read_plan, write_plan
    from glmplan.tune.trial_table import HEADERS, trial_rows
    from glmplan.tune.tuner import tune

    options = _options(plan_path, output, given)
    if not output.parent.is_dir():
        raise InputError(f"{output}: no folder {output.parent}; make it first")
    session = tune(read_plan(plan_path), read_calibration(calibration), options, (lambda text: None) if quiet else note)
    write_plan(session.plan, output)
    tuning = session.plan.tuning
    assert tuning is not None
    if output_format == "json":
        print_json({"schema_version": 1, "tuning": tuning.model_dump(mode="json"), "trials": session.document()})
        return
    print_table(HEADERS, trial_rows(session.space, session.tried), output_format, f"Trials of {tuning.study}")
    if output_format in ("text", "md"):
        click.echo(tuning.sentence())
    note(f"written to {output}")
    sys.stdout.flush()


def _options(plan_path: Path, output: Path, given: dict[str, Any]) -> "TuningOptions":
    """What the command line asks for. Raises InputError for the first quantity that is none."""
    from glmplan.tune.tuner import TuningOptions

    if 0 < given["pairs"] < 3:
        raise InputError(f"--pairs: an interval needs 3 or more; 0 for none; got {given['pairs']}")
    timeout, limit = given["trial_timeout"], given["memory_limit"]
    only = tuple(part.strip().replace("-", "_") for part in given["only"].split(",") if part.strip())
    words = ["glmplan", "tune", plan_path.name, "--trials", str(given["trials"]), "--budget", given["budget"]]
    words += ["--steps", str(given["steps"]), *(["--only", ",".join(only)] if only else [])]
    return TuningOptions(
        folder=given["folder"] or output.with_name(f"{output.stem}-trials"),
        data_dir=given["data"],
        trials=given["trials"],
        budget_s=_seconds("--budget", given["budget"]),
        steps=given["steps"],
        pairs=given["pairs"],
        only=only,
        storage=given["storage"],
        study=given["study"],
        trial_timeout_s=None if timeout is None else _seconds("--trial-timeout", timeout),
        memory_bytes=None if limit is None else _bytes("--memory-limit", limit),
        seed=given["seed"],
        made_by=shlex.join(words),
    )


def _seconds(option: str, text: str) -> float:
    """``90s``, ``10m`` or ``1.5 h``; a bare ``m`` means minutes here, as on most command lines."""
    from glmplan.units import SECONDS, parse_quantity

    spelled = f"{text.strip()[:-1]}min" if text.strip()[-1:] == "m" else text
    try:
        value = parse_quantity(spelled, SECONDS)
    except ValueError:
        raise InputError(f"{option}: expected a duration such as 90s, 10m or 2h; got {text!r}") from None
    if not 0 < value < 1e8:
        raise InputError(f"{option}: must be above 0 and below 3 years; got {text!r}")
    return value


def _bytes(option: str, text: str) -> int:
    from glmplan.units import BYTES, parse_quantity

    try:
        value = parse_quantity(text, BYTES)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if value < 1:
        raise InputError(f"{option}: must be above 0; got {text!r}")
    return int(value)
