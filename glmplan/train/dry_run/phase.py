"""What a step is busy with, told by the loss function and a few operators, so that counters can file by it."""

from dataclasses import dataclass
from enum import StrEnum

_NORM = "_foreach_norm"


class Phase(StrEnum):
    """Parts of a step, in order."""

    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    UPDATE = "update"
    """Gradient norm, clipping, the optimizer."""


@dataclass(slots=True)
class Clock:
    """The phase now. Set from outside, read by counters."""

    phase: Phase = Phase.FORWARD

    def hear(self, operator: str) -> None:
        """The norm of the gradients is the update's first operator."""
        if operator == _NORM:
            self.phase = Phase.UPDATE
