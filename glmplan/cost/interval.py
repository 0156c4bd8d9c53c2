"""How far a prediction may be off, by grade: factors from the residuals of held-out measurements."""

from functools import cache

from pydantic import BaseModel, ConfigDict, Field

from glmplan.cost.estimate import Grade
from glmplan.documents import check, read_yaml
from glmplan.hardware.catalog import profiles_folder


class Interval(BaseModel):
    """Measured over predicted: nine of ten measurements lie between the two factors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float = Field(gt=0, le=1)
    high: float = Field(ge=1)
    measurements: int = Field(ge=0)


class Intervals(BaseModel):
    """The interval of each grade, with the command that fitted them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_by: str
    step_time: dict[Grade, Interval]


@cache
def load_intervals() -> Intervals:
    """The intervals shipped with the profiles."""
    return check(Intervals, read_yaml(profiles_folder() / "intervals.yaml"))
