"""The folder of a run's checkpoints: complete or absent, never half there. What is in them is ``checkpoint``'s concern.

A checkpoint is written to ``step-N.part``, renamed to ``step-N``, then named in ``LATEST``; the last two are kept.
"""

import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt

from glmplan.architecture.transformer import Architecture
from glmplan.documents import check, json_text, read_json, write_text
from glmplan.errors import InputError
from glmplan.layout.parallel_layout import ParallelLayout

CHECKPOINTS = "checkpoints"
LATEST = "LATEST"
RECORD_FILE = "checkpoint.json"
KEPT = 2
_NOT_SHAPE = {"name", "source"}


class CheckpointRecord(BaseModel):
    """What a checkpoint says about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    step: PositiveInt
    architecture: Architecture
    layout: ParallelLayout
    """That wrote it; any other may read it."""


def step_folder(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` stands."""
    return run_dir / CHECKPOINTS / f"step-{step}"


def unfinished_folder(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` is written."""
    return run_dir / CHECKPOINTS / f"step-{step}.part"


def latest_step(run_dir: Path) -> int | None:
    """The last complete checkpoint's step; None when there is none."""
    complete = _complete_steps(run_dir)
    pointer = run_dir / CHECKPOINTS / LATEST
    if pointer.is_file():
        named = pointer.read_text(encoding="utf-8").strip().removeprefix("step-")
        if named.isdigit() and int(named) in complete:
            return int(named)
    # The pointer is missing or stale: a stop between rename and pointer, or somebody's clean-up.
    return max(complete, default=None)


def clear_unfinished(run_dir: Path) -> None:
    """Removes what interrupted writes left."""
    for path in (run_dir / CHECKPOINTS).glob("step-*.part"):
        shutil.rmtree(path, ignore_errors=True)


def publish(run_dir: Path, record: CheckpointRecord) -> None:
    """Makes the written checkpoint the latest one and removes all but the last two. One rank calls this."""
    written, final = unfinished_folder(run_dir, record.step), step_folder(run_dir, record.step)
    write_text(written / RECORD_FILE, json_text(record.model_dump(mode="json")))
    if final.exists():
        shutil.rmtree(final)
    written.rename(final)
    write_text(run_dir / CHECKPOINTS / LATEST, f"step-{record.step}\n")
    for step in sorted(_complete_steps(run_dir) - {record.step}, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(step_folder(run_dir, step), ignore_errors=True)


def read_record(run_dir: Path, step: int) -> CheckpointRecord:
    """What the checkpoint of ``step`` says about itself. Raises DocumentError when that is broken."""
    return check(CheckpointRecord, read_json(step_folder(run_dir, step) / RECORD_FILE))


def check_same_model(run_dir: Path, step: int, arch: Architecture) -> None:
    """Raises InputError, naming the first field that differs, when the checkpoint is of another model."""
    saved = _shape(read_record(run_dir, step).architecture)
    for field, wanted in _shape(arch).items():
        if saved[field] != wanted:
            raise InputError(
                f"{step_folder(run_dir, step)}: checkpoint of another model: {field} is {saved[field]}, the plan has "
                f"{wanted}; use the plan it was trained with, or another --out"
            )


def _shape(arch: Architecture) -> dict[str, Any]:
    return arch.model_dump(mode="json", exclude=_NOT_SHAPE)


def _complete_steps(run_dir: Path) -> set[int]:
    folders = (run_dir / CHECKPOINTS).glob("step-*/" + RECORD_FILE)
    names = (path.parent.name.removeprefix("step-") for path in folders)
    return {int(name) for name in names if name.isdigit()}
