"""Every legal layout, costed: rules, then memory, then time for those that fit. Exact within the cost model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from glmplan.cost.estimate import StepEstimate
from glmplan.cost.memory import needed_bytes
from glmplan.cost.step import CostModel
from glmplan.layout.candidates import candidates
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.layout.rules import Context
from glmplan.search.objective import Objective, ranking

TOO_LARGE = "does not fit in memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A layout that the search kept, with its estimate."""

    layout: ParallelLayout
    estimate: StepEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The best layouts, and what became of the others."""

    best: tuple[Found, ...]
    """Best first; empty when nothing fits."""
    considered: int
    feasible: int
    rejected: dict[str, int]
    smallest: Found | None
    """The layout with the least memory, when nothing fits; None when no layout keeps the rules."""


def search_layouts(
    model: CostModel,
    context: Context,
    choices: Choices,
    *,
    objective: Objective,
    memory_margin: float,
    keep: int,
    progress: Callable[[int], None] | None = None,
) -> SearchResult:
    """The ``keep`` best legal layouts that leave ``memory_margin`` free; ``progress`` hears the number considered."""
    limit = model.cluster.device.memory_capacity_bytes * (1.0 - memory_margin)
    considered = feasible = 0
    rejected: dict[str, int] = {}
    best: list[LayoutTable] = []
    smallest: tuple[float, LayoutTable] | None = None
    for batch in candidates(context, choices):
        considered += len(batch.table) + sum(batch.rejected.values())
        for reason, count in batch.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
        if not len(batch.table):
            continue
        memory = model.memory(batch.table)
        peak = needed_bytes(memory)
        fits = peak <= limit
        if not fits.all():
            rejected[TOO_LARGE] = rejected.get(TOO_LARGE, 0) + int((~fits).sum())
        least = int(np.argmin(peak))
        if smallest is None or peak[least] < smallest[0]:
            smallest = (float(peak[least]), batch.table.take(slice(least, least + 1)))
        feasible += int(fits.sum())
        if fits.any():
            fitting = batch.table.take(fits)
            estimates = model.with_time(fitting, {name: values[fits] for name, values in memory.items()})
            best.append(fitting.take(ranking(fitting, estimates, objective, keep)))
        if progress is not None:
            progress(considered)
    found = _finalists(model, LayoutTable.concatenate(best), objective, keep) if best else ()
    least_memory = None
    if not found and smallest is not None:
        least_memory = Found(layout=smallest[1].row(0), estimate=model.estimate(smallest[1]).row(0))
    return SearchResult(
        best=found,
        considered=considered,
        feasible=feasible,
        rejected=dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0]))),
        smallest=least_memory,
    )


def _finalists(model: CostModel, table: LayoutTable, objective: Objective, keep: int) -> tuple[Found, ...]:
    """The ``keep`` best of the rows that won in their own batch, best first."""
    estimates = model.estimate(table)
    rows = [int(row) for row in ranking(table, estimates, objective, keep)]
    return tuple(Found(layout=table.row(row), estimate=estimates.row(row)) for row in rows)
