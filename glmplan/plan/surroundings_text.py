"""What binds a plan's layout, and what the layouts around it would cost, need or save: in sentences."""

from glmplan.cost.estimate import StepEstimate
from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import Option, Plan
from glmplan.plan.part_names import MEMORY_NAMES, TIME_NAMES
from glmplan.units import format_bytes, format_seconds

LEAST_SHARE = 0.02
"""Resources that less of the step moves with are left out of the sentence."""
TELLING_BUBBLE = 0.10
"""A pipeline that idles for more of the step is told of."""
COMPARED = {
    "tp": "tp",
    "cp": "cp",
    "pp": "pp",
    "ep": "ep",
    "virtual_stages": "virtual stages",
    "micro_batch": "micro-batch",
    "sharding": "sharding",
    "recompute": "recompute",
    "sequence_parallel": "sequence parallel",
    "offload": "offload",
}


def binding_sentence(plan: Plan) -> list[str]:
    """What the step waits for, strongest first."""
    if plan.surroundings is None or not plan.surroundings.bindings:
        return []
    first, *others = plan.surroundings.bindings
    text = f"The binding resource is {first.resource}: {first.share:.0%} of the step moves with it"
    rest = [f"{binding.share:.0%} with {binding.resource}" for binding in others if binding.share >= LEAST_SHARE]
    text += f"; {', '.join(rest)}" if rest else ""
    estimate = plan.chosen.estimate
    bubble = estimate.time.pipeline_bubble_s / estimate.step_time_s
    if bubble >= TELLING_BUBBLE:
        text += f". Stages idle for {bubble:.0%} of it, less with a larger --global-batch"
    return [f"{text}."]


def runner_up_sentence(plan: Plan) -> list[str]:
    """The second best layout and what it costs."""
    if not plan.alternatives:
        return []
    other = plan.alternatives[0]
    return [f"The runner-up {other.layout.label()} {_comparison(plan.chosen, other)}."]


def different_sentence(plan: Plan) -> list[str]:
    """The best layout of another parallel structure and what it costs, unless it is the runner-up."""
    if plan.surroundings is None or _excess_bytes(plan) > 0:
        return []
    other = plan.surroundings.different
    if other is None:
        return [f"No layout with other tensor, pipeline, context or expert degrees{_within(plan)} is allowed and fits."]
    if plan.alternatives and plan.alternatives[0].layout == other.layout:
        return []
    return [f"With other degrees{_within(plan)} {other.layout.label()} is best: it {_comparison(plan.chosen, other)}."]


def memory_sentence(plan: Plan) -> list[str]:
    """Whether more device memory would give a faster layout, and how much more."""
    if plan.surroundings is None or plan.request.objective != "time" or _excess_bytes(plan) > 0:
        return []
    larger = plan.surroundings.larger
    if not larger:
        return [f"Memory does not bind: no layout{_where(plan)} is 1% faster, even with twice the memory."]
    chosen_s = plan.chosen.estimate.step_time_s
    gains = [
        f"{option.layout.label()} with {format_bytes(_wanted_bytes(plan, option.estimate))} more per device,"
        f" {chosen_s / option.estimate.step_time_s - 1.0:.1%} faster"
        for option in larger
    ]
    return [f"More memory would change the answer: {'; '.join(gains)}."]


def misfit_sentence(plan: Plan) -> list[str]:
    """For a layout that is too large: by how much, what fills it, and the nearest layout that fits."""
    excess, estimate = _excess_bytes(plan), plan.chosen.estimate
    if excess <= 0:
        return []
    text = (
        f"It does not fit: {format_bytes(excess)} more than the {format_bytes(estimate.memory_capacity_bytes)} of a"
        f" device, most of it {largest_memory_part(estimate)}"
    )
    if plan.surroundings is None:
        return [f"{text}."]
    other = plan.surroundings.fitting
    if other is None:
        return [f"{text}; no layout{_where(plan)} fits."]
    changes = " and ".join(_changes(plan.chosen.layout, other.layout))
    return [
        f"{text}; the nearest that fits sets {changes}: {other.layout.label()} needs"
        f" {format_bytes(other.estimate.peak_memory_bytes)} and takes {format_seconds(other.estimate.step_time_s)}"
        f" a step, against {format_seconds(estimate.step_time_s)}."
    ]


def largest_memory_part(estimate: StepEstimate) -> str:
    """The largest part of the memory with its share, such as ``optimizer state (45%)``."""
    parts = estimate.memory.model_dump()
    name = max(parts, key=lambda part: parts[part])
    return f"{MEMORY_NAMES[name]} ({parts[name] / estimate.peak_memory_bytes:.0%})"


def _where(plan: Plan) -> str:
    """What the sentence holds for; nothing to say where it holds for every legal layout."""
    everywhere = plan.surroundings is not None and plan.surroundings.whole_space
    return "" if everywhere else " (degrees within a factor of two)"


def _within(plan: Plan) -> str:
    return _where(plan).replace("degrees ", "")


def _excess_bytes(plan: Plan) -> float:
    return plan.chosen.estimate.peak_memory_bytes - plan.chosen.estimate.memory_capacity_bytes


def _wanted_bytes(plan: Plan, estimate: StepEstimate) -> float:
    """Device memory beyond today's under which ``estimate`` fits with the margin of the request."""
    high90 = plan.request.memory_bound == "high90"
    needed = estimate.peak_memory_high90_bytes if high90 else estimate.peak_memory_bytes
    return needed / (1.0 - plan.request.memory_margin) - estimate.memory_capacity_bytes


def _changes(before: ParallelLayout, after: ParallelLayout) -> list[str]:
    """Each field that differs with its new value; those that follow from others are left out."""
    changes = []
    for field, words in COMPARED.items():
        value = getattr(after, field)
        if getattr(before, field) != value:
            changes.append(f"{words} to {('on' if value else 'off') if isinstance(value, bool) else value}")
    if after.recompute_layers != before.recompute_layers and after.recompute_layers is not None:
        changes.append(f"recompute layers to {after.recompute_layers}")
    return changes


def _comparison(chosen: Option, other: Option) -> str:
    """What ``other`` loses, in time or in memory."""
    before, after = chosen.estimate, other.estimate
    slower = after.step_time_s / before.step_time_s - 1.0
    memory = after.peak_memory_bytes - before.peak_memory_bytes
    if abs(memory) < 1.0 and abs(slower) < 1e-6:
        return "is predicted to take the same time and memory"
    pace = f"is {_percent(abs(slower))} {'slower' if slower >= 0 else 'faster'}"
    losses = {name: getattr(after.time, name) - getattr(before.time, name) for name in TIME_NAMES}
    worst, most = max(losses.items(), key=lambda item: item[1])
    if slower <= 0 or most < 1e-3 * before.step_time_s:
        return f"{pace} and needs {format_bytes(abs(memory))} {'more' if memory >= 0 else 'less'} memory"
    return f"{pace}; it loses {format_seconds(most)} to {TIME_NAMES[worst]}"


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}" if fraction >= 1e-3 else f"{fraction:.2%}"
