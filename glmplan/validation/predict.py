"""Predicts cases. Cases that share job, cluster and stack are estimated together, as one table of layouts."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from glmplan.cost.estimate import Grade, StepEstimate
from glmplan.errors import GlmplanError
from glmplan.hardware.cluster import Cluster
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.software.stack import Stack
from glmplan.validation.case import CaseInputs, Part, Skipped
from glmplan.validation.stated_kernels import as_run, stated_key
from glmplan.workload.job import TrainingJob

Floats = npt.NDArray[np.float64]


class Estimates(Protocol):
    """The estimates of a table of layouts."""

    @property
    def step_time_s(self) -> Floats:
        """Seconds of one step, a value a layout."""

    def row(self, index: int) -> StepEstimate:
        """The whole estimate of one layout."""


class Estimator(Protocol):
    """The predictor that is held against the measurements (``cost.step.estimate``)."""

    def __call__(self, table: LayoutTable, job: TrainingJob, cluster: Cluster, stack: Stack) -> Estimates: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is predicted for one case, from its inputs alone."""

    case: CaseInputs
    step_time_s: float
    step_time_low90_s: float
    step_time_high90_s: float
    peak_memory_gib: float | None
    """Counted as the case counts it; None where the case gives no memory."""
    peak_memory_90_gib: tuple[float, float] | None
    """Its 90 % interval."""
    grade: Grade
    memory_fraction: float
    """Predicted peak, reserve included, over the device's capacity."""


StackOf = Callable[[CaseInputs], Stack]


def predict_cases(cases: Sequence[CaseInputs], stack_of: StackOf, estimate: Estimator) -> list[Prediction | Skipped]:
    """A prediction, or the reason why there is none, for each of ``cases``, in their order."""
    estimated: dict[int, list[tuple[float, StepEstimate]]] = defaultdict(list)
    refused: dict[int, Skipped] = {}
    for batch in _batches(cases):
        first = cases[batch.members[0][0]]
        try:
            rows = estimate(batch.table(), batch.job, first.cluster, as_run(stack_of(first), first.measurement))
        except GlmplanError as error:
            reason = str(error).replace("\n", "; ")
            refused |= {index: Skipped(id=cases[index].id, reason=reason) for index, _ in batch.members}
            continue
        for row, (index, part) in enumerate(batch.members):
            estimated[index].append((part.weight, rows.row(row)))
    return [refused.get(index) or _prediction(case, estimated[index]) for index, case in enumerate(cases)]


def predict_step_times(cases: Sequence[CaseInputs], stack: Stack, estimate: Estimator) -> Floats:
    """Predicted step seconds of each case with one stack; NaN where the predictor refuses. Nothing else: for fits."""
    times = np.zeros(len(cases))
    for batch in _batches(cases, same_batch=True):
        try:
            first = cases[batch.members[0][0]]
            run = as_run(stack, first.measurement)
            column = np.asarray(estimate(batch.table(), batch.job, first.cluster, run).step_time_s)
        except GlmplanError:
            column = np.full(len(batch.members), np.nan)
        for (index, part), seconds in zip(batch.members, column, strict=True):
            times[index] += part.weight * seconds
    return times


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Parts that one call of the estimator serves, each with the index of its case."""

    job: TrainingJob
    members: list[tuple[int, Part]]

    def table(self) -> LayoutTable:
        return LayoutTable.of(*(part.layout for _, part in self.members))


def _batches(cases: Sequence[CaseInputs], *, same_batch: bool = False) -> list[_Batch]:
    """Parts of one job, cluster and stack together.

    ``same_batch`` joins jobs that differ in their global batch only: a step's time knows it from the layout.
    """
    batches: dict[tuple[TrainingJob, int, str, Hashable], list[tuple[int, Part]]] = defaultdict(list)
    for index, case in enumerate(cases):
        for part in case.parts:
            job = part.job.model_copy(update={"global_batch": 1}) if same_batch else part.job
            batches[job, id(case.cluster), case.stack, stated_key(case.measurement)].append((index, part))
    return [_Batch(job=job, members=members) for (job, *_), members in batches.items()]


def _prediction(case: CaseInputs, parts: list[tuple[float, StepEstimate]]) -> Prediction | Skipped:
    seconds = sum(weight * estimate.step_time_s for weight, estimate in parts)
    if not np.isfinite(seconds) or seconds <= 0:
        return Skipped(id=case.id, reason="the layout has no estimate; it breaks a rule of the cost model")
    memory = bounds = None
    if case.memory is not None:
        fullest = max((estimate for _, estimate in parts), key=case.memory.predicted_gib)
        memory, bounds = case.memory.predicted_gib(fullest), case.memory.bounds_gib(fullest)
    return Prediction(
        case=case,
        step_time_s=seconds,
        step_time_low90_s=sum(weight * estimate.step_time_low90_s for weight, estimate in parts),
        step_time_high90_s=sum(weight * estimate.step_time_high90_s for weight, estimate in parts),
        peak_memory_gib=memory,
        peak_memory_90_gib=bounds,
        grade=parts[0][1].grade,
        memory_fraction=max(estimate.peak_memory_bytes / estimate.memory_capacity_bytes for _, estimate in parts),
    )
