"""How far a prediction may be off: factors from the residuals of held-out measurements.

For step times by grade and by kind of work; for memory by grade and by way of counting. Money and days move with the
step time.
"""

from enum import StrEnum
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from glmplan.cost.estimate import Grade
from glmplan.documents import check, read_yaml
from glmplan.hardware.catalog import profiles_folder
from glmplan.precision import activation_precision
from glmplan.workload.job import TrainingJob

Floats = npt.NDArray[np.float64]
Counting = Literal["allocated", "reserved", "device"]
"""How peak memory is counted: tensors, what the allocator holds, or all that is taken of the device (nvidia-smi)."""
COUNTINGS: tuple[Counting, ...] = ("allocated", "reserved", "device")


class Work(StrEnum):
    """Kinds of work whose step times are predicted unequally well."""

    DENSE = "dense"
    """Matmuls in 16 bits or more."""
    DENSE_8_BIT = "dense_8bit"
    """Matmuls in 8 or 4 bits: recipes and their casts differ from release to release."""
    EXPERTS = "experts"
    """Mixtures of experts, in any format: routing, exchange and grouped matmuls besides."""


def work_of(job: TrainingJob) -> Work:
    """The kind of work that ``job`` is."""
    if job.architecture.moe is not None:
        return Work.EXPERTS
    return Work.DENSE if activation_precision(job.precision) is job.precision else Work.DENSE_8_BIT


class Interval(BaseModel):
    """Measured over predicted: nine of ten measurements lie between the two factors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float = Field(gt=0, le=1)
    high: float = Field(ge=1)
    measurements: int = Field(ge=0)
    """Configurations it was made from."""


class Intervals(BaseModel):
    """The interval of each grade, with the command that fitted them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_by: str
    step_time: dict[Grade, dict[Work, Interval]]
    memory: dict[Counting, dict[Grade, Interval]]


@cache
def load_intervals() -> Intervals:
    """The intervals shipped with the profiles."""
    return check(Intervals, read_yaml(profiles_folder() / "intervals.yaml"))


def peak_bounds(peak_bytes: Floats, reserve_bytes: Floats, allocated: Interval) -> tuple[Floats, Floats]:
    """The 90 % interval of what must fit: ``peak_bytes``, of which ``reserve_bytes`` is the stack's reserve.

    The residuals are of allocated bytes. The reserve is taken as it stands: no published run counts it by itself.
    """
    tensors = peak_bytes - reserve_bytes
    return tensors * allocated.low + reserve_bytes, tensors * allocated.high + reserve_bytes
