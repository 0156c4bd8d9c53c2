"""The sets of runs that the accuracy record reports, and what other tools print for them; from ``record_sets.yaml``."""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from glmplan.documents import check, read_yaml
from glmplan.plan.measurement import Measurement
from glmplan.validation.case_rules import matches

Topic = Literal["time", "memory"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reference(_Record):
    """The error that another tool, or a simpler model, has on a set."""

    tool: str
    fraction: float = Field(gt=0)
    """Mean absolute relative error."""
    source: str


class RecordSet(_Record):
    """One row of the record."""

    name: str
    when: dict[str, str]
    """Field path -> regular expression."""
    suspects: bool = False
    """Whether doubtful rows count as well: where all rows of the set are doubtful for one reason."""
    kind: str = ""
    """How memory was counted; empty for time."""
    references: tuple[Reference, ...] = ()


class Cause(_Record):
    """Why runs are missed, as far as their sources tell."""

    when: dict[str, str]
    cause: str


class _Sets(_Record):
    time: tuple[RecordSet, ...]
    memory: tuple[RecordSet, ...]
    causes: tuple[Cause, ...]


@cache
def _sets() -> _Sets:
    return check(_Sets, read_yaml(Path(__file__).parent / "record_sets.yaml"))


def record_sets(topic: Topic) -> tuple[RecordSet, ...]:
    """The sets on step time or on memory, in the record's order."""
    return _sets().time if topic == "time" else _sets().memory


def cause_of(record: Measurement) -> str:
    """Why ``record`` is missed, by the first cause that applies; empty where none is known."""
    fields = record.model_dump(exclude_none=True)
    return next((cause.cause for cause in _sets().causes if matches(cause.when, fields)), "")


def members_of(chosen: RecordSet, records: list[Measurement]) -> npt.NDArray[np.bool_]:
    """Which of ``records`` the patterns of ``chosen`` name, doubtful or not."""
    fields = (record.model_dump(exclude_none=True) for record in records)
    return np.array([matches(chosen.when, item) for item in fields], dtype=bool)
