"""The cases laid out for many evaluations: their work on device and links is computed once, and a change of constants
repeats only what depends on them. Cases of several stacks stand on one bench.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from glmplan.cost.step import CostModel, cost_model
from glmplan.cost.step_work import StepWork
from glmplan.errors import GlmplanError
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.software.catalog import load_stack
from glmplan.software.stack import Stack
from glmplan.validation.case import CaseInputs, Part
from glmplan.validation.stated_kernels import as_run, stated_key

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_STEP = 0.05
"""Of a logarithm, for derivatives; wide enough to see past soft corners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Parts of cases with one job, cluster and stack."""

    model: CostModel
    work: StepWork
    cases: Indices
    weights: Floats

    def times_s(self, stack: Stack) -> dict[str, Floats]:
        """Seconds by part of the estimate; of each part of a case, its weight in it."""
        launch_s = self.model.launch_s if self.measured_launch else stack["host_launch_s"]
        run = stack.model_copy(update={"kernels": self.model.stack.kernels})
        times = CostModel.times(_moved(self.model, run, launch_s), self.work)
        return {name: values * self.weights for name, values in times.items()}

    def step_times_s(self, stack: Stack) -> Floats:
        """The sum of ``times_s``."""
        return np.asarray(sum(self.times_s(stack).values()))

    @property
    def measured_launch(self) -> bool:
        """Whether the machine's own launch time is known."""
        return self.model.cluster.measured.host_launch_s is not None


def _moved(model: CostModel, stack: Stack, launch_s: float) -> CostModel:
    return CostModel(
        job=model.job,
        cluster=model.cluster,
        stack=stack,
        device=model.device,
        collectives=model.collectives,
        blocks=model.blocks,
        element_bytes=model.element_bytes,
        launch_s=launch_s,
    )


class Bench:
    """Cases with a measured step time, and their predicted step times under shifted constants."""

    def __init__(self, cases: Sequence[CaseInputs]) -> None:
        """Leaves out the cases without a step time, and those that the cost model refuses."""
        timed = [case for case in cases if case.time is not None]
        batches = _batches(timed)
        seconds = np.zeros(len(timed))
        for batch in batches:
            np.add.at(seconds, batch.cases, batch.step_times_s(batch.model.stack))
        good = np.flatnonzero(np.isfinite(seconds) & (seconds > 0))
        self.cases: tuple[CaseInputs, ...] = tuple(timed[i] for i in good)
        """In the order of every array below."""
        self.prior_s: Floats = seconds[good]
        """Predicted with the presets as they ship."""
        self.measured_s: Floats = np.array([case.time.step_time_s for case in self.cases if case.time is not None])
        renumbered = np.full(len(timed), -1)
        renumbered[good] = np.arange(len(good))
        self._batches = [
            _Batch(model=b.model, work=b.work, cases=renumbered[b.cases], weights=b.weights)
            for b in batches
            if (renumbered[b.cases] >= 0).all()
        ]
        self._slopes: dict[str, Floats] = {}

    def step_times_s(self, members: Indices, shifts: Mapping[str, float]) -> Floats:
        """Predicted step times of the cases ``members``.

        ``shifts``: constant -> how far its logarithm lies from the value in each case's own preset; bounds hold.
        """
        seconds, wanted = np.zeros(len(self.cases)), np.zeros(len(self.cases), dtype=bool)
        wanted[members] = True
        stacks: dict[str, Stack] = {}
        for batch in self._batches:
            if wanted[batch.cases].any():
                name = batch.model.stack.name
                if name not in stacks:
                    stacks[name] = shifted(load_stack_once(name), shifts)
                np.add.at(seconds, batch.cases, batch.step_times_s(stacks[name]))
        return seconds[members]

    def largest_parts(self, index: int, count: int = 4) -> dict[str, float]:
        """The largest parts of a case's step with the presets as they ship: part -> share of the step."""
        sums: dict[str, float] = defaultdict(float)
        for batch in self._batches:
            for row in np.flatnonzero(batch.cases == index):
                for name, values in batch.times_s(load_stack_once(batch.model.stack.name)).items():
                    sums[name.removesuffix("_s")] += float(values[row])
        total = sum(sums.values())
        return {name: float(f"{sums[name] / total:.2g}") for name in sorted(sums, key=lambda n: -sums[n])[:count]}

    def slopes(self, constant: str) -> Floats:
        """d log(step time) / d log(constant) of every case, at the presets' values; computed once."""
        if constant not in self._slopes:
            everything = np.arange(len(self.cases))
            moved_s = self.step_times_s(everything, {constant: _STEP})
            self._slopes[constant] = np.log(moved_s / self.prior_s) / _STEP
        return self._slopes[constant]


@cache
def load_stack_once(name: str) -> Stack:
    """The preset ``name``."""
    return load_stack(name)


def shifted(stack: Stack, shifts: Mapping[str, float]) -> Stack:
    """``stack`` with its constants moved by ``shifts`` (of their logarithms), within their bounds."""
    values = {}
    for name, shift in shifts.items():
        constant = stack.constants[name]
        values[name] = min(max(constant.value * float(np.exp(shift)), constant.low), constant.high)
    return stack.with_constants(values)


def _batches(cases: Sequence[CaseInputs]) -> list[_Batch]:
    """Parts that share job (but for the batch, which the layout knows), cluster and stack; refused ones left out."""
    groups: dict[object, list[tuple[int, Part]]] = defaultdict(list)
    for index, case in enumerate(cases):
        for part in case.parts:
            job = part.job.model_copy(update={"global_batch": 1})
            groups[job, id(case.cluster), case.stack, stated_key(case.measurement)].append((index, part))
    found = []
    for members in groups.values():
        first = cases[members[0][0]]
        job = members[0][1].job.model_copy(update={"global_batch": 1})
        try:
            model = cost_model(job, first.cluster, as_run(load_stack_once(first.stack), first.measurement))
            work = model.work(LayoutTable.of(*(part.layout for _, part in members)))
        except GlmplanError:
            continue
        cases_of = np.array([index for index, _ in members])
        weights = np.array([part.weight for _, part in members])
        found.append(_Batch(model=model, work=work, cases=cases_of, weights=weights))
    return found
