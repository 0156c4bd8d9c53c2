"""A study's trials as rows of text, for the terminal and Markdown."""

from collections.abc import Sequence

from glmplan.tune.space import TuningSpace
from glmplan.tune.study import Tried
from glmplan.units import BYTES, format_bytes, format_seconds

HEADERS = ("trial", "setting", "step time", "against the plan", "memory", "end")


def trial_rows(space: TuningSpace, tried: Sequence[Tried]) -> list[list[str]]:
    """One row a trial: the finished first, fastest first, then the others in order."""
    ordered = sorted(tried, key=lambda t: (t.step_time_s is None, t.step_time_s or 0.0, t.number))
    start_s = next((t.step_time_s for t in tried if t.setting == space.start()), None)
    return [_row(space, trial, start_s) for trial in ordered]


def _row(space: TuningSpace, trial: Tried, start_s: float | None) -> list[str]:
    peak_gib = None if trial.measurement is None else trial.measurement.measured.peak_memory_gib
    seconds = trial.step_time_s
    return [
        str(trial.number),
        space.label(trial.setting),
        "-" if seconds is None else format_seconds(seconds),
        "-" if seconds is None or start_s is None else f"{seconds / start_s - 1.0:+.1%}",
        "-" if peak_gib is None else format_bytes(peak_gib * BYTES.scales["GiB"]),
        f"{trial.end}: {trial.reason}" if trial.reason else str(trial.end),
    ]
