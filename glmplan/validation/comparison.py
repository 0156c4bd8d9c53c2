"""One predicted number beside its measurement, with the labels by which errors are grouped."""

from dataclasses import dataclass

from glmplan.architecture.parameters import parameter_counts
from glmplan.architecture.transformer import Architecture
from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.validation.case import CaseInputs
from glmplan.validation.predict import Prediction

GROUPINGS = ("source", "software", "stack", "device", "model size", "technique", "precision", "grade")
_SIZES = ((1e9, "under 1B"), (1e10, "1B to 10B"), (1e11, "10B to 100B"), (float("inf"), "over 100B"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Which groups a comparison belongs to."""

    configuration: str
    """Equal for re-runs of one configuration."""
    sweep: str
    """Equal for runs that differ only in layout, batch or recomputation; empty: none."""
    trusted: bool
    """Whether it counts in the headline figures."""
    labels: dict[str, str]
    """Grouping -> group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A prediction held against a measurement."""

    id: str
    quantity: str
    """Field of ``measured``."""
    measured: float
    predicted: float
    low90: float | None
    """Bounds of the 90 % interval of ``predicted``; None where the predictor gives none."""
    high90: float | None
    grade: str
    error: float
    """Relative, signed, in step time or in memory: below 0 is too fast, or too little memory."""
    membership: Membership
    tokens_per_s_per_gpu: tuple[float, float] | None = None
    """Measured and predicted speed, for ranks inside a sweep; None for memory."""

    @property
    def is_memory(self) -> bool:
        """Whether it is about memory rather than time."""
        return self.quantity == "peak_memory_gib"

    @property
    def relative_error(self) -> float:
        """``predicted / measured - 1`` of the quantity as it stands."""
        return self.predicted / self.measured - 1


def compare(prediction: Prediction) -> list[Comparison]:
    """The comparisons that a case allows: its speed, its memory, or both."""
    case = prediction.case
    found = []
    if case.time is not None:
        found.append(_time(prediction))
    if case.memory is not None and prediction.peak_memory_gib is not None:
        low, high = prediction.peak_memory_90_gib or (None, None)
        found.append(
            Comparison(
                id=case.id,
                quantity="peak_memory_gib",
                measured=case.memory.measured_gib,
                predicted=prediction.peak_memory_gib,
                low90=low,
                high90=high,
                grade=str(prediction.grade),
                error=prediction.peak_memory_gib / case.memory.measured_gib - 1,
                membership=_membership(case, prediction),
            )
        )
    return found


def _time(prediction: Prediction) -> Comparison:
    case, time = prediction.case, prediction.case.time
    assert time is not None
    bounds = sorted(time.value_at(s) for s in (prediction.step_time_low90_s, prediction.step_time_high90_s))
    work = case.job.tokens_per_step / case.parts[0].layout.world_size
    return Comparison(
        id=case.id,
        quantity=time.name,
        measured=time.measured,
        predicted=time.value_at(prediction.step_time_s),
        low90=bounds[0],
        high90=bounds[1],
        grade=str(prediction.grade),
        error=prediction.step_time_s / time.step_time_s - 1,
        tokens_per_s_per_gpu=(work / time.step_time_s, work / prediction.step_time_s),
        membership=_membership(case, prediction),
    )


def _membership(case: CaseInputs, prediction: Prediction) -> Membership:
    record = case.measurement
    return Membership(
        configuration=f"{record.software}|{record.configuration}" if record.configuration else record.id,
        sweep=record.sweep,
        trusted=case.trusted,
        labels={
            "source": str(record.source.get("title", "not stated")),
            "software": record.software,
            "stack": case.stack,
            "device": case.cluster.device.name,
            "model size": size_label(case.job.architecture),
            "technique": technique_label(case.parts[0].layout),
            "precision": str(case.job.precision),
            "grade": str(prediction.grade),
        },
    )


def size_label(architecture: Architecture) -> str:
    """The class of a model's parameter count."""
    total = parameter_counts(architecture).total
    return next(label for limit, label in _SIZES if total < limit)


def technique_label(layout: ParallelLayout) -> str:
    """The kinds of parallelism that are on, such as ``tp+pp+zero1``; ``one device`` when none is."""
    kinds = [name for name in ("tp", "cp", "pp", "ep") if getattr(layout, name) > 1]
    if layout.sharding is not Sharding.NONE:
        kinds.append(str(layout.sharding))
    elif layout.dp > 1:
        kinds.append("dp")
    return "+".join(kinds) or "one device"
