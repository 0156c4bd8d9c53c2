"""The training job: what one step must compute, whatever the hardware and the layout."""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from glmplan.architecture.transformer import Architecture
from glmplan.precision import RECIPES, Precision, Recipe


class Optimizer(StrEnum):
    """Optimizers that the cost model and the trainer know."""

    ADAMW = "adamw"
    SGD = "sgd"


class TrainingJob(BaseModel):
    """One model trained with one batch size, sequence length, precision and optimizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture
    seq_len: PositiveInt = Field(le=2**24)
    """Tokens per sequence."""
    global_batch: PositiveInt = Field(le=2**24)
    """Sequences per step, over all ranks."""
    precision: Precision = Precision.BF16
    """Format of the matmuls."""
    fp8_recipe: Recipe | None = None
    """How operands are scaled to 8 or 4 bits; None: as the stack does by default, or as the format prescribes."""
    optimizer: Optimizer = Optimizer.ADAMW
    tokens: float | None = Field(default=None, gt=0, lt=1e18)
    """Tokens of the whole run, where known."""

    @model_validator(mode="after")
    def _positions_suffice(self) -> Self:
        rows = self.architecture.learned_positions
        if rows and self.seq_len > rows:
            raise ValueError(
                f"seq_len: {self.seq_len} exceeds the {rows} learned positions of {self.architecture.name}"
            )
        return self

    @model_validator(mode="after")
    def _recipe_suits(self) -> Self:
        possible = RECIPES.get(self.precision, ())
        if self.fp8_recipe is not None and self.fp8_recipe not in possible:
            known = f"use {', '.join(possible)}" if possible else "leave it out"
            raise ValueError(f"fp8_recipe: {self.fp8_recipe} is no recipe of {self.precision}; {known}")
        return self

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one step."""
        return self.seq_len * self.global_batch
