"""Which measured numbers a prediction is held against: one for time, the most direct that the source gives, and peak
memory. Rates are turned into step times with the source's own FLOP formula, or not used.
"""

from dataclasses import dataclass
from typing import Literal

from glmplan.architecture.model_flops import model_flops_per_token
from glmplan.cost.estimate import StepEstimate
from glmplan.cost.interval import Counting, load_intervals
from glmplan.plan.measurement import Measurement
from glmplan.units import BYTES, FLOPS_PER_S, parse_quantity
from glmplan.validation.case_rules import taken
from glmplan.workload.job import TrainingJob

ASSUMPTIONS = "case_assumptions.yaml"
GIB_BYTES = parse_quantity("1 GiB", BYTES)
_TFLOPS = parse_quantity("1 TFLOP/s", FLOPS_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeQuantity:
    """A measured speed: as printed, and as the step time it means."""

    name: str
    """Field of ``measured``."""
    measured: float
    step_time_s: float

    def value_at(self, step_time_s: float) -> float:
        """What this quantity would be with a step of ``step_time_s``."""
        if self.name == "step_time_s":
            return step_time_s
        return self.measured * self.step_time_s / step_time_s


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryQuantity:
    """A measured peak of device memory and how it was counted."""

    measured_gib: float
    kind: Counting

    def predicted_gib(self, estimate: StepEstimate) -> float:
        """The estimate counted the same way: tensors, what the allocator holds, or all that is taken of the device."""
        match self.kind:
            case "allocated":
                held = estimate.allocated_memory_bytes
            case "reserved":
                held = estimate.reserved_memory_bytes
            case "device":
                held = estimate.device_memory_bytes
        return held / GIB_BYTES

    def bounds_gib(self, estimate: StepEstimate) -> tuple[float, float]:
        """The 90 % interval of ``predicted_gib``."""
        interval = load_intervals().memory[self.kind][estimate.grade]
        predicted = self.predicted_gib(estimate)
        return predicted * interval.low, predicted * interval.high


def time_quantity(
    measurement: Measurement, job: TrainingJob, *, gpus: int, peak_flops_per_s: float | None
) -> TimeQuantity | None:
    """The speed to compare: step time, else tokens/s, else FLOP/s or MFU where the source's formula is known.

    ``job.global_batch`` must be the batch of the whole step. None where no speed can be compared.
    """
    measured = measurement.measured
    if measured.step_time_s is not None:
        return TimeQuantity(name="step_time_s", measured=measured.step_time_s, step_time_s=measured.step_time_s)
    if measured.tokens_per_s_per_gpu is not None:
        step_time_s = job.tokens_per_step / (gpus * measured.tokens_per_s_per_gpu)
        return TimeQuantity(
            name="tokens_per_s_per_gpu", measured=measured.tokens_per_s_per_gpu, step_time_s=step_time_s
        )
    flops = _formula_flops(measurement, job)
    if flops is None:
        return None
    kind, step_flops = flops
    rate, share = f"{kind}_tflops_per_gpu", "mfu" if kind == "model" else "hfu"
    for name, unit in ((rate, _TFLOPS), (share, peak_flops_per_s)):
        value = getattr(measured, name)
        if value is not None and unit is not None:
            return TimeQuantity(name=name, measured=value, step_time_s=step_flops / (gpus * value * unit))
    return None


def memory_quantity(measurement: Measurement) -> MemoryQuantity | None:
    """The peak memory to compare, or None where the source gives none."""
    value = measurement.measured.peak_memory_gib
    if value is None:
        return None
    kind: Counting = taken(ASSUMPTIONS, "memory", measurement)["kind"].value
    return MemoryQuantity(measured_gib=value, kind=kind)


def _formula_flops(measurement: Measurement, job: TrainingJob) -> tuple[Literal["model", "hardware"], float] | None:
    """What kind of FLOPs the source counts, and how many it counts for one step; None where its formula is unknown."""
    formula = taken(ASSUMPTIONS, "flops", measurement).get("formula")
    if formula is None:
        return None
    token = model_flops_per_token(job.architecture, job.seq_len)
    if formula.value == "full-attention-model":
        return "model", token.total * job.tokens_per_step
    # Narayanan 2021, arXiv:2104.04473, eq. 3: 96 B s l h^2 (1 + s/6h + V/16lh); the head is not recomputed.
    return "hardware", ((token.matmul + token.attention) * 4 / 3 + token.head) * job.tokens_per_step
