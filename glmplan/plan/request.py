"""What a plan is asked for."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from glmplan.layout.choices import Choices
from glmplan.workload.job import TrainingJob


class PlanRequest(BaseModel):
    """One planning question: which layout of this job on these devices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: TrainingJob
    cluster: str = Field(min_length=1)
    """Catalogue name, or path of a cluster profile as the user gave it."""
    num_gpus: PositiveInt
    stack: str
    """Software stack preset."""
    choices: Choices = Choices()
    objective: Literal["time", "memory"] = "time"
    memory_margin: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Fraction of the device memory that must stay free."""
    memory_bound: Literal["predicted", "high90"] = "predicted"
    """What must fit in the rest: the predicted peak, or the upper end of its 90 % interval."""
    stages: Literal["uniform", "optimal"] = "uniform"
    """Layers of the pipeline stages: as evenly as they go, or as an integer program splits them."""
    evaluate: Literal["promising", "all"] = "promising"
    """Which legal layouts are costed: those that no lower bound rules out, or every one. The best are the same."""
    top: PositiveInt = 10
    """How many layouts the plan keeps."""
