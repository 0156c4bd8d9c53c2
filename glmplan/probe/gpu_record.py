"""What a GPU session found: the record that is written beside its report. Seconds and bytes, predicted and measured."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1
Outcome = Literal["measured", "out of memory", "failed", "not started"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SettingRecord(_Record):
    """One layout trained with one software stack."""

    stack: str
    compiled: bool
    option: int
    """0 for the plan's chosen layout, then the number of the alternative."""
    layout: str
    micro_batch: int
    recompute: str
    predicted_step_time_s: float
    low90_s: float
    high90_s: float
    predicted_memory_bytes: float
    """Peak of live tensors: the predicted peak without the stack's reserve."""
    outcome: Outcome = "not started"
    note: str = ""
    """Why there is no measurement."""
    measured_step_time_s: float | None = None
    measured_memory_bytes: float | None = None
    tokens_per_s: float | None = None
    seconds_used: float = 0.0
    """Of the session's time, with start-up and compilation."""

    @property
    def time_error(self) -> float | None:
        """Predicted over measured step time, less one."""
        return None if self.measured_step_time_s is None else self.predicted_step_time_s / self.measured_step_time_s - 1

    @property
    def memory_error(self) -> float | None:
        """Predicted over measured memory, less one."""
        if self.measured_memory_bytes is None:
            return None
        return self.predicted_memory_bytes / self.measured_memory_bytes - 1


class SessionRecord(_Record):
    """One session."""

    schema_version: int = SCHEMA_VERSION
    date: str
    device: str
    runtime: str
    """torch and its backend, with versions."""
    glmplan_version: str
    command: str
    model: str
    parameters: int
    precision: str
    seq_len: int
    global_batch: int
    steps: int
    seed: int
    budget_s: float
    seconds_used: float
    profile: str
    """File name of the cluster profile that the session measured and planned with."""
    allocator: dict[str, float] | None
    settings: tuple[SettingRecord, ...]
    notes: tuple[str, ...] = ()
    """What could not be done, in sentences."""
