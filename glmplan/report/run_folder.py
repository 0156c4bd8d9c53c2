"""Reads a run's folder: what the trainer logged step by step, and the measurement it wrote at the end."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from glmplan.documents import check, parse_json, read_json, read_text
from glmplan.errors import InputError
from glmplan.plan.measurement import Measurement

MEASUREMENT_FILE = "measurement.json"
METRICS_FILE = "metrics.jsonl"


class LoggedStep(BaseModel):
    """One line of ``metrics.jsonl``; fields that the report does not use are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int = Field(ge=0)
    loss: float | None = None
    step_time_s: float | None = Field(default=None, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a plan."""

    name: str
    """The folder's name; followed by a number where several runs have the same."""
    steps: tuple[LoggedStep, ...]
    """In order, one entry a step."""
    measurement: Measurement | None
    """None while the run has not ended."""


def read_runs(folders: tuple[Path, ...]) -> tuple[Run, ...]:
    """The runs in ``folders``, in order, with names that differ. Raises InputError, DocumentError as ``read_run``."""
    runs: list[Run] = []
    for folder in folders:
        run = read_run(folder)
        name, number = run.name, 2
        while name in {other.name for other in runs}:
            name, number = f"{run.name} ({number})", number + 1
        runs.append(Run(name=name, steps=run.steps, measurement=run.measurement))
    return tuple(runs)


def read_run(folder: Path) -> Run:
    """The run in ``folder``.

    Raises InputError when the folder is missing or holds neither file, DocumentError when a file is broken.
    """
    if not folder.is_dir():
        raise InputError(f"--run: {folder}: not a folder; give the --out folder of `glmplan train`")
    measurement_path, metrics_path = folder / MEASUREMENT_FILE, folder / METRICS_FILE
    if not measurement_path.exists() and not metrics_path.exists():
        raise InputError(f"--run: {folder}: holds neither {MEASUREMENT_FILE} nor {METRICS_FILE}; is it a run's folder?")
    measurement = check(Measurement, read_json(measurement_path)) if measurement_path.exists() else None
    steps = _read_steps(metrics_path) if metrics_path.exists() else ()
    return Run(name=folder.resolve().name or str(folder), steps=steps, measurement=measurement)


def _read_steps(path: Path) -> tuple[LoggedStep, ...]:
    """Of a step that a resumed run logged again the last entry counts; a last line without its end is being written."""
    lines = read_text(path).split("\n")[:-1]
    steps: dict[int, LoggedStep] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            logged = check(LoggedStep, parse_json(line, f"{path}, line {number}"))
            steps[logged.step] = logged
    return tuple(steps[step] for step in sorted(steps))
