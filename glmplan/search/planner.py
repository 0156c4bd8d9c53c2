"""A request in, a plan out: the one entry to searching, and to costing a single layout."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glmplan import __version__
from glmplan.cost.step import CostModel, cost_model
from glmplan.documents import json_text, sha256
from glmplan.errors import DoesNotFit, InputError
from glmplan.hardware.calibration import Calibration
from glmplan.hardware.catalog import load_cluster, shipped_calibration
from glmplan.hardware.cluster import Cluster
from glmplan.layout.choices import Choices
from glmplan.layout.host_offload import possible_offloads
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.layout.rules import Context, broken_rules
from glmplan.plan.assumptions import flagged_assumptions
from glmplan.plan.document import Assumption, ClusterSummary, Option, Plan, Provenance, SearchSummary
from glmplan.plan.explanation import explain
from glmplan.plan.request import PlanRequest
from glmplan.plan.surroundings_text import largest_memory_part
from glmplan.search.exhaustive import SearchResult, search_layouts
from glmplan.search.relaxation import what_would_be_legal, what_would_fit
from glmplan.search.surroundings import surroundings
from glmplan.software.catalog import load_stack, stack_path
from glmplan.software.stack import Stack
from glmplan.units import format_bytes, format_quantity

if TYPE_CHECKING:
    from glmplan.search.stage_planning import StageCandidates


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A request with everything it names loaded."""

    request: PlanRequest
    cluster: Cluster
    """Sized to the request's devices."""
    stack: Stack
    calibration: Calibration | None
    model: CostModel
    context: Context


def load_problem(
    request: PlanRequest, calibration: Calibration | None = None, cluster: Cluster | None = None
) -> Problem:
    """Loads cluster, stack and calibration of ``request``; ``cluster`` stands in for the one it names.

    Raises InputError for unknown names and impossible sizes, NoData where the device has no peak for the precision.
    """
    cluster = (cluster or load_cluster(request.cluster)).sized(request.num_gpus)
    stack = load_stack(request.stack)
    calibration = calibration or _known_calibration(cluster, stack)
    if calibration is not None:
        if calibration.stack != stack.name:
            raise InputError(
                f"calibration: {calibration.name} was fitted for stack {calibration.stack}, not {stack.name};"
                f" use --stack {calibration.stack} or another calibration"
            )
        device = cluster.device.name if calibration.device == cluster.device.name else None
        stack = stack.with_constants(dict(calibration.constants), device)
    family = request.job.architecture.family
    if family not in stack.support.families:
        able = ", ".join(stack.support.families)
        raise InputError(f"stack: {stack.name} does not train {family} models; it trains {able}")
    context = Context(
        job=request.job,
        num_devices=request.num_gpus,
        support=stack.support,
        stack_name=stack.name,
        offloads=possible_offloads(cluster.host),
    )
    return Problem(
        request=request,
        cluster=cluster,
        stack=stack,
        calibration=calibration,
        model=cost_model(request.job, cluster, stack),
        context=context,
    )


def make_plan(problem: Problem, progress: Callable[[int], None] | None = None) -> Plan:
    """The best plan for ``problem``. Raises DoesNotFit with the limit and the smallest change that fits."""
    found = _searched(problem, progress)
    if isinstance(found, SearchResult):
        raise _nothing_fits(problem, found)
    return explained(problem, found)


def explained(problem: Problem, plan: Plan, *, whole_space: bool = False) -> Plan:
    """``plan`` with what binds its layout and what lies around it, nearby or in the whole space."""
    given = plan.search.considered == 1 and not plan.search.optimal
    around = surroundings(
        problem.model,
        problem.context,
        problem.request,
        plan.chosen.layout,
        choices=Choices() if given else problem.request.choices,  # around a given layout everything is of interest
        whole_space=whole_space,
    )
    plan = plan.model_copy(update={"surroundings": around})
    return plan.model_copy(update={"explanation": tuple(explain(plan))})


def best_option(problem: Problem) -> Option | None:
    """The best layout for ``problem``; None where nothing fits, without looking for what would."""
    found = _searched(problem, None)
    return None if isinstance(found, SearchResult) else found.chosen


def _searched(problem: Problem, progress: Callable[[int], None] | None) -> Plan | SearchResult:
    """The best plan, or what became of the layouts where none fits."""
    request = problem.request
    uneven = _stage_candidates(problem)
    result = search_layouts(
        problem.model,
        problem.context,
        request.choices,
        objective=request.objective,
        memory_margin=request.memory_margin,
        memory_bound=request.memory_bound,
        keep=request.top + 1,
        progress=progress,
        visit=uneven.add if uneven is not None else _unseen if request.evaluate == "all" else None,
    )
    if not result.best:
        return result
    best, stages, gap = result.best, None, 0.0
    if uneven is not None:
        best, stages, gap = uneven.improved(request, result)
    options = [Option(layout=found.layout, estimate=found.estimate) for found in best[: request.top]]
    summary = SearchSummary(
        considered=result.considered,
        feasible=result.feasible,
        rejected=result.rejected,
        pruned=result.pruned,
        optimal=gap == 0.0,
        gap=gap,
        stages=stages,
    )
    return _plan(problem, options, summary)


def _stage_candidates(problem: Problem) -> "StageCandidates | None":
    request = problem.request
    if request.stages == "uniform":
        return None
    if request.objective != "time":
        raise InputError(f"--stages: optimal goes with --objective time; got {request.objective}; use uniform")
    from glmplan.search.stage_planning import stage_candidates  # a solver that most plans do not need

    return stage_candidates(problem.model, problem.context, request.choices)


def plan_of_layout(problem: Problem, layout: ParallelLayout) -> Plan:
    """The plan that consists of one given layout, whether it fits in memory or not.

    Raises InputError with all broken rules.
    """
    reasons = broken_rules(layout, problem.context)
    if reasons:
        raise InputError("\n".join(reasons))
    estimates = problem.model.estimate(LayoutTable.of(layout))
    feasible = int(estimates.fits()[0])
    summary = SearchSummary(considered=1, feasible=feasible, rejected={}, optimal=False, gap=0.0)
    return _plan(problem, [Option(layout=layout, estimate=estimates.row(0))], summary)


def _unseen(table: LayoutTable) -> None:
    """A visitor who only wants that every layout is costed."""


def _plan(problem: Problem, options: list[Option], summary: SearchSummary) -> Plan:
    request, cluster = problem.request, problem.cluster
    plan = Plan(
        request=request,
        cluster=ClusterSummary(
            name=cluster.name,
            device=cluster.device.name,
            device_kind=cluster.device.runtime,
            devices_per_node=cluster.devices_per_node,
            num_nodes=cluster.num_nodes,
            memory_capacity_bytes=cluster.device.memory_capacity_bytes,
            peak_flops_per_s=problem.model.device.peak_flops_per_s,
        ),
        search=summary,
        chosen=options[0],
        alternatives=tuple(options[1:]),
        assumptions=flagged_assumptions(problem.model, options[0].layout, options[0].estimate),
        provenance=Provenance(
            glmplan_version=__version__,
            profiles=_profiles(problem),
            seed=0,
            assumptions=tuple(_assumptions(problem)),
        ),
    )
    return plan.model_copy(update={"explanation": tuple(explain(plan))})


def _profiles(problem: Problem) -> dict[str, str]:
    profiles = dict(problem.cluster.profiles)
    profiles[f"stack {problem.stack.name}"] = sha256(stack_path(problem.request.stack))
    if problem.calibration is not None:
        content = json_text(problem.calibration.model_dump(mode="json")).encode()
        profiles[f"calibration {problem.calibration.name}"] = hashlib.sha256(content).hexdigest()
    return dict(sorted(profiles.items()))


def _assumptions(problem: Problem) -> list[Assumption]:
    """Every number that the estimate rests on and that is not the user's own."""
    cluster, stack, device = problem.cluster, problem.stack, problem.model.device
    assumptions = [
        Assumption(name=fact.name, value=fact.value, grade=fact.grade, source=fact.source) for fact in cluster.facts
    ]
    for tier in cluster.tiers:
        bandwidth = format_quantity(tier.bandwidth_bytes_per_s, "B/s")
        assumptions.append(
            Assumption(
                name=f"tier {tier.name}",
                value=f"{tier.span_devices} devices, {bandwidth} per device and direction",
                grade="derived",
                source=f"maximum flow through the cluster's graph, link {tier.link}",
            )
        )
    grade = {"measured": "measured", "borrowed": "assumed", "assumed": "assumed"}[device.grade]
    source = {
        "measured": "measured table of this device",
        "borrowed": f"table of a similar device, scaled by the datasheets of both ({cluster.device.efficiency_like})",
        "assumed": "no table: a flat share of the peak",
    }[device.grade]
    assumptions.append(Assumption(name="matmul efficiency", value="by shape", grade=grade, source=source))
    fitted = problem.calibration
    for name, constant in stack.constants.items():
        in_fit = fitted is not None and name in fitted.constants
        assumptions.append(
            Assumption(
                name=f"{stack.name}: {name}",
                value=f"{constant.value:.4g}",
                grade="fitted" if in_fit else "assumed",
                source=fitted.made_by
                if in_fit and fitted is not None
                else f"prior of the stack preset; {stack.source}",
            )
        )
    return assumptions


def _known_calibration(cluster: Cluster, stack: Stack) -> Calibration | None:
    """The calibration that the cluster's profile brings for this stack, else the one shipped for it on this device."""
    own = next((own for own in cluster.calibrations if own.stack == stack.name), None)
    return own or shipped_calibration(stack.name, cluster.device.name)


def _nothing_fits(problem: Problem, result: SearchResult) -> DoesNotFit:
    request, smallest = problem.request, result.smallest
    if smallest is None:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in result.rejected.items())
        return DoesNotFit(
            f"plan: no layout of {request.job.architecture.name} on {request.num_gpus} devices keeps the rules:"
            f" {reasons or 'no degrees to choose from'}; {what_would_be_legal(request, problem.context)}"
        )
    limit = problem.cluster.device.memory_capacity_bytes * (1.0 - request.memory_margin)
    estimate = smallest.estimate
    high90 = request.memory_bound == "high90"
    peak = estimate.peak_memory_high90_bytes if high90 else estimate.peak_memory_bytes
    return DoesNotFit(
        f"plan: nothing fits: the smallest of {result.considered} layouts ({smallest.layout.label()}) needs"
        f" {'up to ' if high90 else ''}{format_bytes(peak)} per device, {format_bytes(peak - limit)} more than the"
        f" {format_bytes(limit)} allowed"
        f" ({format_bytes(problem.cluster.device.memory_capacity_bytes)} less a margin of {request.memory_margin:.0%}),"
        f" most of it {largest_memory_part(estimate)};"
        f" {what_would_fit(problem.request, problem.cluster, problem.stack)}"
    )
