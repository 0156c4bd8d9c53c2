"""``glmplan validate``: holds predictions against measurements."""

from typing import TYPE_CHECKING, Any

import click

from glmplan.cli.terminal import format_option, note, print_json, print_table
from glmplan.errors import InputError, NoData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from glmplan.validation.case import Skipped
    from glmplan.validation.comparison import Comparison
    from glmplan.validation.outcome import Outcome

_FORMS = (
    "give --cases FILE... (or --cases published for the runs that ship with glmplan), "
    "or --plan PLAN --run DIR to hold a plan against its own run"
)
_SHOWN_REASONS = 12
_SHOWN_GROUPINGS = ("software", "device")
_FEW = 12
"""Cases up to which each is listed instead of groups."""


@click.command()
@click.option("--cases", multiple=True, help="Measurements: a .jsonl file, a run folder, or 'published'. Repeatable.")
@click.argument("more_cases", nargs=-1, metavar="[FILE]...")
@click.option("--plan", "plan_path", type=click.Path(), help="A plan whose run is compared.")
@click.option("--run", "run_path", type=click.Path(), help="The folder of the plan's run.")
@click.option(
    "--calibration", type=click.Path(), help="Fitted constants (glmplan calibrate) for their device and stack."
)
@click.option("--stack", help="Predict all cases with this stack, whatever software they name.")
@click.option("--cluster", help="Cluster profile for own runs, in place of the one they name.")
@click.option(
    "--held-out",
    is_flag=True,
    help="Also with constants fitted to the other cases: the accuracy record. Takes minutes.",
)
@click.option(
    "--record", type=click.Path(), help="With --held-out: write accuracy.json and accuracy.md to this folder."
)
@click.option(
    "--intervals", type=click.Path(), help="With --held-out: write the 90 % intervals of the residuals (YAML)."
)
@click.option(
    "--html", "html_path", metavar="FILE", type=click.Path(), help="Also write charts as one self-contained page."
)
@click.option("--verbose", is_flag=True, help="Text format: list every case and every skipped case.")
@format_option()
def command(
    cases: tuple[str, ...],
    more_cases: tuple[str, ...],
    plan_path: str | None,
    run_path: str | None,
    calibration: str | None,
    stack: str | None,
    cluster: str | None,
    held_out: bool,
    record: str | None,
    intervals: str | None,
    html_path: str | None,
    verbose: bool,
    output_format: str,
) -> None:
    """Hold predictions against measurements.

    Each case is predicted from its inputs alone. The summary gives the error of step times and of memory, overall and
    per group, and how well layouts are ranked inside sweeps.

    \b
    glmplan validate --cases published
    glmplan validate --cases measured.jsonl --calibration machine-calibration.yaml
    glmplan validate --cases published --html accuracy.html
    glmplan validate --cases published --held-out --record reports
    glmplan validate --plan plan.json --run run/
    """
    names = (*cases, *more_cases)
    if bool(names) == bool(plan_path or run_path) or bool(plan_path) != bool(run_path):
        raise InputError(f"validate: {_FORMS}")
    if html_path and (held_out or not names):
        raise InputError("validate: --html charts --cases with the presets as they ship; leave out --held-out, --plan")
    if (record or intervals) and not held_out:
        raise InputError("validate: --record and --intervals need --held-out")
    if held_out:
        if not names or calibration:
            raise InputError("validate: --held-out fits constants to --cases itself; leave out --plan, --calibration")
        _held_out(names, stack, cluster, record, intervals, output_format)
        return
    outcome = (
        _of_run(plan_path, run_path, calibration or stack or cluster)
        if plan_path and run_path
        else _of_cases(names, calibration, stack, cluster)
    )
    if html_path is not None:
        _write_page(outcome, html_path)
    document = outcome.document()
    if output_format == "json":
        print_json(document)
    elif output_format == "csv":
        _print_cases(outcome.compared, output_format)
    else:
        _print_summary(outcome, document["summary"], output_format, verbose)
    if not outcome.compared:
        raise NoData(
            f"validate: none of the {len(outcome.skipped)} cases can be predicted; the reasons are listed above"
        )


def _write_page(outcome: "Outcome", path: str) -> None:
    from pathlib import Path

    from glmplan.report.validation_page import write_validation_page

    write_validation_page(outcome, Path(path))
    note(f"written: {path}")


def _of_run(plan_path: str, run_path: str, other: str | None) -> "Outcome":
    from pathlib import Path

    from glmplan.plan.document import read_plan
    from glmplan.validation.outcome import Outcome
    from glmplan.validation.run_comparison import compare_run

    if other:
        raise InputError(
            "validate: --plan holds the plan's own estimate against the run; "
            "use --cases DIR with --calibration, --stack or --cluster"
        )
    compared = compare_run(read_plan(Path(plan_path)), Path(run_path))
    return Outcome(compared=tuple(compared), skipped=())


def _of_cases(names: "Sequence[str]", calibration: str | None, stack: str | None, cluster: str | None) -> "Outcome":
    from glmplan.hardware.catalog import load_calibration
    from glmplan.software.catalog import load_stack
    from glmplan.validation.case_file import case_files, read_cases
    from glmplan.validation.estimator import CostModelEstimator
    from glmplan.validation.outcome import validate_cases

    if stack is not None:
        load_stack(stack)
    loaded = None if calibration is None else load_calibration(calibration)
    placed = read_cases(case_files(names))
    note(f"predicting {len(placed)} cases")
    outcome = validate_cases(placed, CostModelEstimator(), calibration=loaded, stack=stack, cluster=cluster)
    if loaded is not None:
        note(f"calibration {loaded.name}: applied to the cases of {loaded.stack} on {loaded.device}")
    return outcome


def _held_out(
    names: "Sequence[str]",
    stack: str | None,
    cluster: str | None,
    record: str | None,
    intervals: str | None,
    output_format: str,
) -> None:
    from pathlib import Path

    from glmplan.cost.interval import load_intervals
    from glmplan.documents import json_text, write_text, yaml_text
    from glmplan.validation.case_file import case_files, read_cases
    from glmplan.validation.estimator import CostModelEstimator
    from glmplan.validation.interval_fit import fit_intervals
    from glmplan.validation.outcome import usable_cases
    from glmplan.validation.record import accuracy_record
    from glmplan.validation.record_text import record_markdown, time_rows

    cases, skipped = usable_cases(read_cases(case_files(names)), stack=stack, cluster=cluster)
    if not cases:
        raise NoData(f"validate: none of the {len(skipped)} cases can be predicted; see glmplan validate --verbose")
    note(f"fitting and holding out {len(cases)} cases")
    found = accuracy_record(cases, skipped, CostModelEstimator())
    made_by = f"glmplan validate {' '.join(f'--cases {Path(name).name}' for name in names)} --held-out"
    if record is not None:
        write_text(Path(record) / "accuracy.json", json_text(found.document))
        write_text(Path(record) / "accuracy.md", record_markdown(found.document))
        note(f"written: {Path(record) / 'accuracy.json'}, {Path(record) / 'accuracy.md'}")
    if intervals is not None:
        fitted = fit_intervals(found.times, found.memory, before=load_intervals(), made_by=made_by)
        header = (
            "How far measured values lie from predictions that were not fitted to them, as factors. Step time: by grade"
            "\nand kind of work; grade datasheet is measured on runs whose device's generation was withheld. Memory: by"
            "\nway of counting and grade; a grade or way with few runs shares those of its neighbours."
        )
        write_text(Path(intervals), yaml_text(fitted.model_dump(mode="json"), header))
        note(f"written: {intervals}")
    if output_format == "json":
        print_json(found.document)
    elif output_format == "md":
        click.echo(record_markdown(found.document), nl=False)
    else:
        headers, *rows = time_rows(found.document)
        print_table(headers, rows, output_format, title="Step time, mean absolute error")


def _print_cases(compared: "Sequence[Comparison]", output_format: str) -> None:
    headers = ("id", "quantity", "measured", "predicted", "low90", "high90", "grade", "relative_error")
    rows = [
        (
            item.id,
            item.quantity,
            f"{item.measured:.6g}",
            f"{item.predicted:.6g}",
            _optional(item.low90),
            _optional(item.high90),
            item.grade,
            f"{item.relative_error:+.4f}",
        )
        for item in compared
    ]
    print_table(headers, rows, output_format, title="Cases")


def _print_summary(outcome: "Outcome", summary: dict[str, Any], output_format: str, verbose: bool) -> None:
    if verbose or len(outcome.compared) <= _FEW:
        _print_cases(outcome.compared, output_format)
    for topic, title in (("time", "step time"), ("memory", "peak memory")):
        part = summary[topic]
        if part["all"] is None:
            continue
        groups: list[tuple[str, dict[str, Any] | None]] = [("trusted cases", part["trusted"])]
        if part["trusted"] != part["all"]:
            groups.append(("all cases", part["all"]))
        groups += [
            (f"{group['by']}: {group['group']}{'' if group['trusted'] else ' (doubtful)'}", group)
            for group in part["groups"]
            if verbose or (group["trusted"] and group["by"] in _SHOWN_GROUPINGS and part["all"]["cases"] > _FEW)
        ]
        headers = (title, "cases", "conf.", "MAPE", "median", "p90", "bias", "in 90 %", "worst")
        print_table(headers, [_accuracy_row(label, group) for label, group in groups if group], output_format)
    ranking = summary["ranking"]
    if ranking["sweeps"]:
        row = (
            str(ranking["sweeps"]),
            f"{ranking['spearman_mean']:.2f}",
            f"{ranking['regret_mean']:.1%}",
            f"{ranking['regret_max']:.1%}",
        )
        print_table(("sweeps ranked", "Spearman, mean", "regret, mean", "regret, largest"), [row], output_format)
    _print_skipped(outcome.skipped, output_format, verbose)


def _accuracy_row(label: str, group: dict[str, Any]) -> tuple[str, ...]:
    name, error = group["worst"][0]
    return (
        _short(label, 48),
        str(group["cases"]),
        str(group["configurations"]),
        f"{group['mape']:.1%}",
        f"{group['median']:.1%}",
        f"{group['p90']:.1%}",
        f"{group['bias']:+.1%}",
        "" if group["coverage"] is None else f"{group['coverage']:.0%}",
        f"{error:+.0%} {_short(name, 44)}",
    )


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _print_skipped(skipped: "Sequence[Skipped]", output_format: str, verbose: bool) -> None:
    if not skipped:
        return
    if verbose:
        print_table(("skipped", "reason"), [(item.id, item.reason) for item in skipped], output_format)
        return
    reasons: dict[str, list[str]] = {}
    for item in skipped:
        reasons.setdefault(item.reason, []).append(item.id)
    ordered = sorted(reasons.items(), key=lambda entry: -len(entry[1]))
    rows = [(str(len(ids)), _short(reason, 110), _short(ids[0], 56)) for reason, ids in ordered[:_SHOWN_REASONS]]
    print_table(("skipped", "reason", "such as"), rows, output_format)
    if len(ordered) > _SHOWN_REASONS:
        note(f"{len(ordered) - _SHOWN_REASONS} more reasons; --verbose or --format json lists every skipped case")


def _optional(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
