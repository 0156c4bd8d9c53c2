"""A measurement: what a run of a layout really took, in the form of the published cases (one JSON object a line).

Fields that a source does not state are absent. ``validation`` reads these records; the trainer writes them.
"""

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from glmplan.documents import write_text


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MeasuredValues(_Record):
    """What was measured. At least one value is given."""

    step_time_s: float | None = Field(default=None, gt=0)
    tokens_per_s_per_gpu: float | None = Field(default=None, gt=0)
    model_tflops_per_gpu: float | None = Field(default=None, gt=0)
    hardware_tflops_per_gpu: float | None = Field(default=None, gt=0)
    mfu: float | None = Field(default=None, gt=0)
    hfu: float | None = Field(default=None, gt=0)
    peak_memory_gib: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError(f"give at least one of {', '.join(type(self).model_fields)}")
        return self


class Measurement(BaseModel):
    """One measured run: inputs, source and measured values. Sub-records are plain mappings of the published form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    source: dict[str, Any]
    """title, where, ref, year, how."""
    software: str
    """The stack's name: a preset of ours, or the source's own word."""
    kind: str = "pretrain"
    trust: str = "A"
    model: dict[str, Any]
    """The architecture record's fields (see ``architecture.transformer.Architecture``)."""
    seq_len: int | None = None
    hardware: dict[str, Any]
    """gpu, gpus, gpus_per_node, intra_node, inter_node, and ``cluster`` (profile path) for own runs."""
    layout: dict[str, Any]
    """The layout record's fields, and precision, compile, optimizer, flash_attention."""
    measured: MeasuredValues
    missing: tuple[str, ...] = ()
    configuration: str = ""
    """Equal for re-runs of one configuration."""
    sweep: str = ""
    """Equal for runs that differ only in layout, batch or recomputation."""
    suspect: str | None = None
    cuda_graph: str | None = None
    fp8_recipe: str | None = None
    notes: str = ""


def measurement_line(measurement: Measurement) -> str:
    """The measurement as one line of JSON, absent fields left out."""
    data = measurement.model_dump(mode="json", exclude_none=True)
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"


def write_measurement(measurement: Measurement, path: Path) -> None:
    """Writes one measurement (``measurement.json`` of a run) atomically."""
    write_text(path, measurement_line(measurement))
