"""The best split of the layers into stages, for every layout that might win with it: best bound first.

A layout's bound is its step in perfect balance. The layouts are those that fit with even stages (fully recomputing
ones may then recompute less), so that the answer is never worse than the best of them.
"""

from dataclasses import dataclass, field

import numpy as np

from glmplan.cost.step import CostModel
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import OFFLOADS, LayoutTable, Offload, ParallelLayout, Recompute
from glmplan.layout.rules import Context
from glmplan.plan.document import StageSummary
from glmplan.plan.request import PlanRequest
from glmplan.search.exhaustive import Found, SearchResult, limiting_bytes
from glmplan.search.integer_program import Outcome, available_solver, relative_gap
from glmplan.search.stage_assignment import StageAssignment, assign_stages
from glmplan.search.stage_coefficients import StagePart, even, options_of, stage_problem
from glmplan.search.stage_problem import Floats, Ints, even_stage_layers, step_seconds
from glmplan.search.stage_seconds import least_step_s

MOST_PROGRAMS = 48
"""Layouts whose split is solved for; the next one's bound makes the gap. A count, not seconds: the same everywhere."""
PROGRAM_TIME_LIMIT_S = 20.0
MOST_WAITING = 4096
"""Layouts kept with their bounds; what is dropped beyond has its say in the bound."""


@dataclass(slots=True, kw_only=True, eq=False)
class StageCandidates:
    """Pipelined layouts with the bounds of their steps, smallest first; filled while the search goes through them."""

    model: CostModel
    partial: bool
    """A fully recomputing layout may recompute fewer layers, or none."""
    tables: list[LayoutTable] = field(default_factory=list)
    bounds: Floats = field(default_factory=lambda: np.zeros(0))
    dropped_s: float = np.inf
    """The least bound of those dropped."""

    def add(self, table: LayoutTable) -> None:
        """Layouts that fit with even stages."""
        table = table.take((table.pp > 1) & (table.offload == OFFLOADS.index(Offload.NONE)))
        if not len(table):
            return
        both = LayoutTable.concatenate([*self.tables, table])
        bounds = np.concatenate([self.bounds, least_step_s(self.model, table, partial=self.partial)])
        order = np.argsort(bounds, kind="stable")
        if len(order) > MOST_WAITING:
            self.dropped_s = min(self.dropped_s, float(bounds[order[MOST_WAITING]]))
            order = order[:MOST_WAITING]
        self.tables, self.bounds = [both.take(order)], bounds[order]

    def improved(self, request: PlanRequest, result: SearchResult) -> tuple[tuple[Found, ...], StageSummary, float]:
        """The best layouts of ``result`` and with better stages, in order; what was done; the gap."""
        even_s = result.best[0].estimate.step_time_s
        room = _Room(model=self.model, request=request)
        search = search_stages(self, room, incumbent_s=even_s)
        by_layout = {found.layout: found for found in (*result.best, *search.found)}
        best = sorted(by_layout.values(), key=lambda found: found.estimate.step_time_s)
        if best[0] in search.found and best[0].layout.stage_recompute_layers is None:
            best[0] = self._tidied(best[0], room)
        summary = StageSummary(
            even_step_time_s=even_s,
            bound_step_time_s=search.bound_s,
            programs=search.programs,
            solver=search.solver,
        )
        return tuple(best), summary, relative_gap(best[0].estimate.step_time_s, search.bound_s)

    def _tidied(self, found: Found, room: "_Room") -> Found:
        """As fast with less memory, where that exists: most splits have many equals."""
        other, _ = split(self.model, found.layout, room.needed_bytes, partial=False, tidy=True)
        same = other is not None and other.estimate.step_time_s <= found.estimate.step_time_s * (1.0 + 1e-6)
        return other if other is not None and same and found.layout.recompute_layers is None else found


def stage_candidates(model: CostModel, context: Context, choices: Choices) -> StageCandidates:
    """None yet, for a search under ``choices``."""
    return StageCandidates(model=model, partial=allows_partial(choices, context))


def allows_partial(choices: Choices, context: Context) -> bool:
    """Whether a search may choose how many layers of each stage are recomputed, none among them."""
    free = choices.recompute is None or {Recompute.NONE, Recompute.FULL} <= set(choices.recompute)
    return free and choices.recompute_layers is None and context.support.recompute_layers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Room:
    """What of a device's memory a request lets layouts fill."""

    model: CostModel
    request: PlanRequest

    @property
    def limit_bytes(self) -> float:
        return self.model.cluster.device.memory_capacity_bytes * (1.0 - self.request.memory_margin)

    @property
    def needed_bytes(self) -> float:
        """The predicted peak that meets the limit."""
        if self.request.memory_bound == "predicted":
            return self.limit_bytes
        reserve = self.model.stack.memory.reserve
        return reserve + (self.limit_bytes - reserve) / self.model.memory_interval.high

    def holds(self, table: LayoutTable) -> bool:
        """Whether all of ``table`` fits."""
        memory = self.model.memory(table)
        return bool((limiting_bytes(self.model, memory, self.request.memory_bound) <= self.limit_bytes).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSearch:
    """What splitting the layers well brought."""

    found: tuple[Found, ...]
    """Layouts whose split was solved for."""
    programs: int
    bound_s: float
    """No split of any layout considered has a shorter step."""
    solver: str


def search_stages(candidates: StageCandidates, room: _Room, *, incumbent_s: float) -> StageSearch:
    """Solves for the split of each candidate that might beat ``incumbent_s``, and keeps those that fit."""
    found: list[Found] = []
    bound_s, seen = candidates.dropped_s, set[ParallelLayout]()
    table = candidates.tables[0] if candidates.tables else LayoutTable.of()
    for row, least_s in enumerate(candidates.bounds):
        if least_s >= incumbent_s:
            break
        layout = widest(table.row(row), partial=candidates.partial)
        if layout in seen:
            continue
        if len(seen) == MOST_PROGRAMS:
            bound_s = min(bound_s, float(least_s))
            break
        seen.add(layout)
        best, program_bound_s = split(candidates.model, layout, room.needed_bytes, partial=candidates.partial)
        bound_s = min(bound_s, max(program_bound_s, float(least_s)))
        if best is not None and room.holds(LayoutTable.of(best.layout)):
            found.append(best)
            incumbent_s = min(incumbent_s, best.estimate.step_time_s)
    return StageSearch(
        found=tuple(found), programs=len(seen), bound_s=min(bound_s, incumbent_s), solver=available_solver()
    )


def split(
    model: CostModel, layout: ParallelLayout, capacity_bytes: float, *, partial: bool, tidy: bool = False
) -> tuple[Found | None, float]:
    """``layout`` with the best split, as the cost model sees it, and a bound of its step; None where none was found.

    What the program leaves out of a step (transfers, fixed costs) is taken as it is with the split found.
    """
    partial = partial and layout.virtual_stages == 1
    parts = [StagePart(model=model, num_stages=layout.pp, capacity_bytes=capacity_bytes)]
    problem = stage_problem(parts, layout, partial=partial)
    solution = assign_stages(problem, time_limit_s=PROGRAM_TIME_LIMIT_S, tidy=tidy)
    if not isinstance(solution, StageAssignment):
        return None, np.inf if solution.outcome is Outcome.INFEASIBLE else 0.0
    chosen = with_stages(layout, solution, partial=partial)
    if solution.stage_layers == tuple(even_stage_layers(int(problem.num_layers.sum()), len(problem.fewest_layers))):
        chosen = chosen.model_copy(update={"stage_layers": None})
    estimate = model.estimate(LayoutTable.of(chosen)).row(0)
    rest_s = estimate.step_time_s - step_seconds(problem, solution.options, solution.layers)
    return Found(layout=chosen, estimate=estimate), solution.proof.bound + rest_s


def with_stages(layout: ParallelLayout, solution: StageAssignment, *, partial: bool) -> ParallelLayout:
    """``layout`` with the stages of ``solution``, written as shortly as it goes."""
    changes: dict[str, object] = {"stage_layers": solution.stage_layers}
    if len(options_of(layout, partial=partial)) > 1:
        repeated = solution.options[:, :, 0].sum(axis=1)
        changes |= _recomputation(repeated, solution.options.sum(axis=(1, 2)))
    return even(layout).model_copy(update=changes)


def _recomputation(repeated: Ints, held: Ints) -> dict[str, object]:
    if not repeated.any():
        return {"recompute": Recompute.NONE}
    if (repeated == held).all():
        return {}
    if (np.minimum(repeated.max(), held) == repeated).all():
        return {"recompute_layers": int(repeated.max())}
    return {"stage_recompute_layers": tuple(int(number) for number in repeated)}


def widest(layout: ParallelLayout, *, partial: bool) -> ParallelLayout:
    """The layout whose program includes this one's: what recomputes nothing may as well be allowed to recompute."""
    if partial and layout.virtual_stages == 1 and layout.recompute is Recompute.NONE:
        layout = layout.model_copy(update={"recompute": Recompute.FULL})
    return even(layout)
