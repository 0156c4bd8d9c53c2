"""What a plan hangs on: elasticities of throughput and cost to each figure of the machine, and swings of them.

The elasticity of y to x is d ln y / d ln x, by central differences at the plan's own layout. At the best layout that
is also the elasticity of the best throughput (envelope theorem: Milgrom and Segal 2002, theorem 1), as long as no other
layout takes over.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from glmplan.cost.estimate import StepEstimate
from glmplan.hardware.fabric import FatTree
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.search.changed_problem import LAUNCH, changed_problem
from glmplan.search.figures import Figure, cluster_figures
from glmplan.search.planner import Problem, best_option

NUDGE = 0.01
"""Relative step of the central differences: far above rounding, far below where a maximum changes sides."""
CAPACITY = "device.memory_capacity"
"""Changes no time by itself, but which layouts fit: its swings are planned anew."""
Progress = Callable[[str, float], None]
"""Called with what is looked at and the fraction done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """How one figure moves throughput and cost."""

    name: str
    meaning: str
    value: float
    unit: str
    """SI; empty for a ratio."""
    throughput_elasticity: float
    """Per cent of tokens per second that a per cent of the figure gives, the layout as it is."""
    cost_elasticity: float | None
    """The same of the price of a token; None where no price is known."""
    low_tokens_per_s: float | None
    """With the figure lowered by the swing; None where nothing fits."""
    high_tokens_per_s: float | None
    replanned: bool
    """Whether the swings are those of the best layout of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityStudy:
    """Every figure of a plan's machine, the strongest first."""

    layout: ParallelLayout
    estimate: StepEstimate
    swing_fraction: float
    rows: tuple[Sensitivity, ...]


def sensitivity(
    problem: Problem, layout: ParallelLayout, *, swing_fraction: float, replan: bool, progress: Progress
) -> SensitivityStudy:
    """The study of ``layout`` in ``problem``; with ``replan`` every swing is searched for its best layout."""
    rows = []
    figures = varied_figures(problem)
    for index, (name, figure) in enumerate(figures.items()):
        progress("figures", index / len(figures))
        again = replan or name == CAPACITY
        swings = [
            _tokens_per_s(problem, layout, name, factor, replan=again)
            for factor in (1.0 - swing_fraction, 1.0 + swing_fraction)
        ]
        throughput, cost = _elasticities(problem, layout, name)
        rows.append(
            Sensitivity(
                name=name,
                meaning=figure.meaning,
                value=figure.value,
                unit=figure.unit,
                throughput_elasticity=throughput,
                cost_elasticity=cost,
                low_tokens_per_s=swings[0],
                high_tokens_per_s=swings[1],
                replanned=again,
            )
        )
    progress("figures", 1.0)
    estimate = problem.model.estimate(LayoutTable.of(layout)).row(0)
    return SensitivityStudy(
        layout=layout,
        estimate=estimate,
        swing_fraction=swing_fraction,
        rows=tuple(sorted(rows, key=lambda row: _strength(row, estimate.tokens_per_s))),
    )


def _strength(row: Sensitivity, tokens_per_s: float) -> tuple[float, float, str]:
    """Strongest first: by elasticity, then by swing, then by name. Rounded, so that order is not decided by noise."""
    ends = (row.low_tokens_per_s or 0.0, row.high_tokens_per_s or 0.0)
    swing = max(abs(end / tokens_per_s - 1.0) for end in ends)
    return (-round(abs(row.throughput_elasticity), 4), -round(swing, 4), row.name)


def varied_figures(problem: Problem) -> dict[str, Figure]:
    """Figures that vary continuously and matter at this size; the host's launch cost beside them."""
    cluster = problem.cluster
    figures = cluster_figures(cluster, problem.request.job.precision)
    reached = {f"fabric.{name}.oversubscription" for name in _levels(problem)}
    alone = cluster.num_nodes == 1
    kept = {
        name: figure
        for name, figure in figures.items()
        if not figure.whole
        and (not name.startswith("fabric.") or name in reached)
        and not (alone and name.startswith("node.scale_out."))
    }
    kept[LAUNCH] = Figure(
        name=LAUNCH,
        meaning="what the host takes for one kernel launch",
        value=problem.model.launch_s,
        unit="s",
        scaled=lambda cluster, factor: cluster,
    )
    return kept


def _levels(problem: Problem) -> list[str]:
    """Levels of the fat tree that the job's nodes reach."""
    fabric, nodes = problem.cluster.fabric, problem.cluster.num_nodes
    if not isinstance(fabric, FatTree) or nodes == 1:
        return []
    spans = [level.span_nodes.value for level in fabric.levels]
    return [level.name for index, level in enumerate(fabric.levels) if index == 0 or spans[index - 1] < nodes]


def with_figure(problem: Problem, name: str, factor: float) -> Problem:
    """``problem`` with the figure ``name`` multiplied by ``factor``."""
    if name == LAUNCH:
        return changed_problem(problem, launch_factor=factor)
    return changed_problem(problem, factors={name: factor})


def _estimate(problem: Problem, layout: ParallelLayout, name: str, factor: float) -> StepEstimate:
    return with_figure(problem, name, factor).model.estimate(LayoutTable.of(layout)).row(0)


def _tokens_per_s(problem: Problem, layout: ParallelLayout, name: str, factor: float, *, replan: bool) -> float | None:
    if not replan:
        return _estimate(problem, layout, name, factor).tokens_per_s
    best = best_option(with_figure(problem, name, factor))
    return None if best is None else best.estimate.tokens_per_s


def _elasticities(problem: Problem, layout: ParallelLayout, name: str) -> tuple[float, float | None]:
    high = _estimate(problem, layout, name, 1.0 + NUDGE)
    low = _estimate(problem, layout, name, 1.0 / (1.0 + NUDGE))
    span = 2.0 * math.log1p(NUDGE)
    throughput = math.log(high.tokens_per_s / low.tokens_per_s) / span
    if high.usd_per_billion_tokens is None or low.usd_per_billion_tokens is None:
        return throughput, None
    return throughput, math.log(high.usd_per_billion_tokens / low.usd_per_billion_tokens) / span
