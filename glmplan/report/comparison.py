"""Holds a run's measurement against the prediction of the layout it ran; says why where the two do not belong together.

Memory is compared as allocated bytes: the predicted peak without the reserve of the context and the allocator, which
a trainer's peak does not count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import Option, Plan
from glmplan.plan.measurement import Measurement
from glmplan.report.run_folder import Run
from glmplan.units import BYTES, parse_quantity

_NEEDED = ("tp", "pp", "dp", "micro_batch")
_NAMES_ONLY = frozenset(("name", "source"))
"""Fields of an architecture that say what it is called, not what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which of the plan's layouts a run trained."""

    option: Option | None
    rank: int
    """1 for the chosen layout, then the alternatives; 0 without a match."""
    reason: str
    """Why there is no match; empty with one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """One quantity of one run, predicted and measured, in SI units."""

    run: str
    quantity: str
    """A field name of the measurement, ``_bytes`` for memory."""
    predicted: float
    measured: float
    low90: float | None
    high90: float | None

    @property
    def relative_error(self) -> float:
        """``(predicted - measured) / measured``: positive when the prediction is too high."""
        return (self.predicted - self.measured) / self.measured

    @property
    def inside(self) -> bool | None:
        """Whether the measured value lies in the 90 % interval; None where there is no interval."""
        if self.low90 is None or self.high90 is None:
            return None
        return self.low90 <= self.measured <= self.high90


def match_run(plan: Plan, run: Run) -> Match:
    """The layout of the plan that the run trained, provided that model, sequence length, software and devices agree."""
    measurement = run.measurement
    if measurement is None:
        return Match(option=None, rank=0, reason="no measurement yet; the run has not ended")
    job = plan.request.job
    architecture = job.architecture.model_dump(mode="json")
    fault = _difference("model", measurement.model, architecture, _NAMES_ONLY)
    if not fault and measurement.seq_len not in (None, job.seq_len):
        fault = f"seq_len: run {measurement.seq_len}, plan {job.seq_len}"
    if not fault:
        fault = _difference("layout", measurement.layout, {"precision": str(job.precision)}, frozenset())
    if not fault and measurement.software != plan.request.stack:
        fault = f"software: run {measurement.software}, plan {plan.request.stack}"
    if not fault and (absent := [field for field in _NEEDED if field not in measurement.layout]):
        fault = f"the measurement does not state layout.{absent[0]}"
    if fault:
        return Match(option=None, rank=0, reason=fault)
    for rank, option in enumerate((plan.chosen, *plan.alternatives), start=1):
        layout = option.layout.model_dump(mode="json")
        gpus = measurement.hardware.get("gpus", option.layout.world_size)
        if not _difference("layout", measurement.layout, layout, frozenset()) and gpus == option.layout.world_size:
            return Match(option=option, rank=rank, reason="")
    return Match(option=None, rank=0, reason=f"the plan does not hold its layout ({_stated_layout(measurement)})")


def _difference(place: str, run: Mapping[str, Any], plan: Mapping[str, Any], passed_over: frozenset[str]) -> str:
    """The first field that both state differently, or an empty text."""
    for field, value in plan.items():
        if field in run and field not in passed_over and run[field] != value:
            return f"{place}.{field}: run {run[field]}, plan {value}"
    return ""


def _stated_layout(measurement: Measurement) -> str:
    fields = {name: measurement.layout[name] for name in ParallelLayout.model_fields if name in measurement.layout}
    return " ".join(f"{name}={value}" for name, value in fields.items())


def accuracy_rows(plan: Plan, runs: tuple[Run, ...]) -> list[AccuracyRow]:
    """What each matching run measured beside what was predicted for its layout."""
    rows = []
    for run in runs:
        match = match_run(plan, run)
        if match.option is None or run.measurement is None:
            continue
        estimate, measured = match.option.estimate, run.measurement.measured
        tokens = plan.request.job.tokens_per_step / match.option.layout.world_size
        low_s, high_s = estimate.step_time_low90_s, estimate.step_time_high90_s
        # A faster step is a higher rate: the ends of the interval change places.
        rates = (tokens / high_s, tokens / low_s) if low_s > 0 and high_s > 0 else (None, None)
        peak = measured.peak_memory_gib
        peak_bytes = None if peak is None else peak * parse_quantity("1 GiB", BYTES)
        allocated = estimate.peak_memory_bytes - estimate.memory.reserve_bytes
        candidates = (
            ("step_time_s", estimate.step_time_s, measured.step_time_s, low_s, high_s),
            ("tokens_per_s_per_gpu", estimate.tokens_per_s_per_gpu, measured.tokens_per_s_per_gpu, *rates),
            ("mfu", estimate.mfu, measured.mfu, None, None),
            ("hfu", estimate.hfu, measured.hfu, None, None),
            (
                "peak_allocated_bytes",
                allocated,
                peak_bytes,
                estimate.peak_memory_low90_bytes - estimate.memory.reserve_bytes,
                estimate.peak_memory_high90_bytes - estimate.memory.reserve_bytes,
            ),
        )
        rows += [
            AccuracyRow(run=run.name, quantity=name, predicted=predicted, measured=value, low90=low, high90=high)
            for name, predicted, value, low, high in candidates
            if value is not None
        ]
    return rows
