"""What is wrong, slow or wasteful in somebody's launch configuration, by our rules, memory model and search."""

from dataclasses import dataclass
from typing import Literal

from glmplan.cost.estimate import StepEstimate
from glmplan.errors import DoesNotFit, GlmplanError, InputError
from glmplan.frameworks.completion import Additions, layout_of, request_of
from glmplan.frameworks.configuration import Configuration
from glmplan.layout.choices import Choices
from glmplan.layout.parallel_layout import ParallelLayout, Recompute
from glmplan.layout.rules import broken_rules
from glmplan.plan.document import Option
from glmplan.plan.request import PlanRequest
from glmplan.search.planner import Problem, load_problem, make_plan, plan_of_layout
from glmplan.units import format_bytes, format_seconds

WORTH_MENTION = 0.03
"""A gain below this is within the error of ranking two layouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to know about a configuration."""

    severity: Literal["error", "warning", "note"]
    """An error will not run; a warning runs, but slower or with less memory to spare than it could."""
    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A configuration under our rules."""

    findings: tuple[Finding, ...]
    layout: ParallelLayout | None
    """None when the configuration contradicts itself."""
    estimate: StepEstimate | None
    better: Option | None
    """What the planner would choose, when it is worth it."""

    @property
    def runs(self) -> bool:
        """Whether nothing found keeps it from running."""
        return all(finding.severity != "error" for finding in self.findings)


def review(configuration: Configuration, additions: Additions, *, search: bool = True) -> Review:
    """Everything there is to say about ``configuration``. Raises InputError where it is too incomplete to judge."""
    request = request_of(configuration, additions)
    notes = [*_reading_notes(configuration)]
    try:
        layout = layout_of(configuration, request)
    except InputError as error:
        return Review(findings=(_error(str(error)), *notes), layout=None, estimate=None, better=None)
    problem = load_problem(request)
    broken = broken_rules(layout, problem.context)
    if broken:
        findings = tuple(_error(sentence) for sentence in broken)
        return Review(findings=(*findings, *notes), layout=layout, estimate=None, better=None)
    estimate = plan_of_layout(problem, layout).chosen.estimate
    findings_ = [*_memory(estimate), *_slow_choices(layout, problem)]
    better = _better(request, estimate) if search else None
    if better is not None:
        findings_.append(_improvement(better, estimate))
    elif search and estimate.peak_memory_bytes <= estimate.memory_capacity_bytes:
        findings_.append(Finding(severity="note", field="layout", message="no layout is predicted to be much faster"))
    return Review(findings=(*findings_, *notes), layout=layout, estimate=estimate, better=better)


def _error(sentence: str) -> Finding:
    field, separator, rest = sentence.partition(": ")
    return Finding(severity="error", field=field if separator else "layout", message=rest or sentence)


def _reading_notes(configuration: Configuration) -> list[Finding]:
    notes = []
    if configuration.unresolved:
        names = ", ".join(configuration.unresolved)
        message = f"their values are only known when the script runs, so they are not judged: {names}"
        notes.append(Finding(severity="note", field="options", message=message))
    if "every_nth_layer" in configuration.layout:
        every = configuration.layout["every_nth_layer"]
        message = f"recomputing every layer in {every} is judged as selective recomputation of every layer"
        notes.append(Finding(severity="note", field="layout.recompute", message=message))
    return notes


def _memory(estimate: StepEstimate) -> list[Finding]:
    peak, capacity = estimate.peak_memory_bytes, estimate.memory_capacity_bytes
    largest, size = max(estimate.memory.model_dump().items(), key=lambda item: item[1])
    part = largest.removesuffix("_bytes").replace("_", " ")
    if peak > capacity:
        message = (
            f"needs {format_bytes(peak)} of {format_bytes(capacity)}, {format_bytes(peak - capacity)} too much;"
            f" the largest part is {part} with {format_bytes(size)}"
        )
        return [Finding(severity="error", field="memory", message=message)]
    if peak > 0.95 * capacity:
        message = f"needs {format_bytes(peak)} of {format_bytes(capacity)}: less than 5 % to spare"
        return [Finding(severity="warning", field="memory", message=message)]
    return []


def _slow_choices(layout: ParallelLayout, problem: Problem) -> list[Finding]:
    """Choices that are known to cost time, whatever the planner would do instead."""
    found = []

    def warn(field: str, message: str) -> None:
        found.append(Finding(severity="warning", field=f"layout.{field}", message=message))

    node = problem.cluster.tiers[0].span_devices
    if layout.tp > node:
        warn("tp", f"{layout.tp} reaches beyond the {node} devices of the fastest links; use at most {node}")
    if layout.tp > 1 and not layout.sequence_parallel and True in problem.stack.support.sequence_parallel:
        warn("sequence_parallel", "off with tp above 1: activations outside the matmuls are kept tp times")
    if layout.pp > 1 and layout.grad_accum < 4 * layout.pp and layout.virtual_stages == 1:
        share = (layout.pp - 1) / (layout.grad_accum + layout.pp - 1)
        warn(
            "grad_accum", f"{layout.grad_accum} micro-batches for {layout.pp} stages: {share:.0%} of the step is bubble"
        )
    if layout.recompute is Recompute.FULL:
        leaner = layout.model_copy(update={"recompute": Recompute.SELECTIVE})
        if not broken_rules(leaner, problem.context):
            estimate = plan_of_layout(problem, leaner).chosen.estimate
            if estimate.peak_memory_bytes <= 0.95 * estimate.memory_capacity_bytes:
                warn("recompute", f"full, though selective fits in {format_bytes(estimate.peak_memory_bytes)}")
    return found


def _better(request: PlanRequest, estimate: StepEstimate) -> Option | None:
    open_request = request.model_copy(update={"choices": Choices()})
    try:
        best = make_plan(load_problem(open_request)).chosen
    except DoesNotFit:
        return None
    except GlmplanError:
        raise
    fits = estimate.peak_memory_bytes <= estimate.memory_capacity_bytes
    gain = estimate.step_time_s / best.estimate.step_time_s - 1.0
    return best if not fits or gain >= WORTH_MENTION else None


def _improvement(better: Option, estimate: StepEstimate) -> Finding:
    gain = estimate.step_time_s / better.estimate.step_time_s - 1.0
    verdict = f"{gain:.0%} faster" if gain >= WORTH_MENTION else "and it fits"
    message = (
        f"{better.layout.label()} is predicted to take {format_seconds(better.estimate.step_time_s)} a step instead of"
        f" {format_seconds(estimate.step_time_s)} ({verdict})"
    )
    return Finding(severity="warning", field="layout", message=message)
