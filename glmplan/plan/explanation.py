"""Why a plan's layout wins, what binds it, and what the runner-up loses, in sentences."""

from glmplan.cost.estimate import Grade, StepEstimate
from glmplan.plan.document import Option, Plan
from glmplan.units import format_bytes, format_seconds

TIME_NAMES = {
    "forward_s": "the forward pass",
    "backward_s": "the backward pass",
    "recompute_s": "recomputation",
    "tensor_parallel_s": "exposed tensor-parallel communication",
    "context_parallel_s": "exposed context-parallel communication",
    "expert_parallel_s": "exposed expert-parallel communication",
    "pipeline_transfer_s": "transfers between pipeline stages",
    "pipeline_bubble_s": "the pipeline bubble",
    "data_parallel_s": "exposed gradient and parameter communication",
    "optimizer_s": "the optimizer step",
    "other_s": "the fixed cost of a step",
}
MEMORY_NAMES = {
    "parameters_bytes": "parameters",
    "main_parameters_bytes": "fp32 main parameters",
    "gradients_bytes": "gradients",
    "optimizer_bytes": "optimizer state",
    "gathered_parameters_bytes": "gathered parameters",
    "activations_bytes": "activations",
    "loss_bytes": "logits and loss",
    "workspace_bytes": "workspace",
    "reserve_bytes": "reserve of the stack",
}
GRADE_SENTENCES = {
    Grade.CALIBRATED: "This device and this stack were measured, so the prediction is calibrated.",
    Grade.TRANSFERRED: "Kernels of this device or a similar one were measured, this stack on it was not: the prediction"
    " is transferred.",
    Grade.DATASHEET: "Neither this device nor this stack was measured: the prediction rests on the datasheet.",
}


def explain(plan: Plan) -> list[str]:
    """The explanation of ``plan``, a sentence an item."""
    chosen, search = plan.chosen, plan.search
    sentences = [_headline(plan), _time_sentence(chosen.estimate), _memory_sentence(chosen.estimate)]
    if plan.alternatives:
        sentences.append(_runner_up(chosen, plan.alternatives[0]))
    if search.rejected:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in search.rejected.items())
        sentences.append(f"Of {search.considered:,} layouts considered {search.feasible:,} fit; the others: {counts}.")
    sentences.append(GRADE_SENTENCES[chosen.estimate.grade])
    return sentences


def _headline(plan: Plan) -> str:
    layout, estimate = plan.chosen.layout, plan.chosen.estimate
    job = plan.request.job
    optimal = " Within the cost model no legal layout is faster." if plan.search.optimal else ""
    if plan.search.optimal and plan.request.objective == "memory":
        optimal = " Within the cost model no legal layout needs less memory."
    return (
        f"{layout.label()} trains {job.architecture.name} on {plan.request.num_gpus} {plan.cluster.device} in"
        f" {format_seconds(estimate.step_time_s)} a step ({format_seconds(estimate.step_time_low90_s)} to"
        f" {format_seconds(estimate.step_time_high90_s)}), {estimate.tokens_per_s_per_gpu:,.0f} tokens/s per device,"
        f" MFU {estimate.mfu:.1%}.{optimal}"
    )


def _parts(values: dict[str, float], names: dict[str, str], whole: float) -> list[str]:
    largest = sorted(values.items(), key=lambda item: -item[1])
    return [f"{names[name]} {value / whole:.0%}" for name, value in largest if value >= 0.02 * whole]


def _time_sentence(estimate: StepEstimate) -> str:
    parts = _parts(estimate.time.model_dump(), TIME_NAMES, estimate.step_time_s)
    return f"The step goes to {', '.join(parts)}."


def _memory_sentence(estimate: StepEstimate) -> str:
    free = estimate.memory_capacity_bytes - estimate.peak_memory_bytes
    parts = _parts(estimate.memory.model_dump(), MEMORY_NAMES, estimate.peak_memory_bytes)
    room = f"{format_bytes(free)} stay free" if free >= 0 else f"{format_bytes(-free)} too much"
    return (
        f"The fullest rank needs {format_bytes(estimate.peak_memory_bytes)} of"
        f" {format_bytes(estimate.memory_capacity_bytes)} ({room}): {', '.join(parts)}."
    )


def _runner_up(chosen: Option, other: Option) -> str:
    slower = other.estimate.step_time_s / chosen.estimate.step_time_s - 1.0
    losses = {name: getattr(other.estimate.time, name) - getattr(chosen.estimate.time, name) for name in TIME_NAMES}
    worst, most = max(losses.items(), key=lambda item: item[1])
    if most < 1e-3 * chosen.estimate.step_time_s:
        memory = other.estimate.peak_memory_bytes - chosen.estimate.peak_memory_bytes
        if abs(memory) < 1.0 and abs(slower) < 1e-6:
            return f"The runner-up {other.layout.label()} is predicted to take the same time and memory."
        comparison = f"{format_bytes(abs(memory))} {'more' if memory >= 0 else 'less'} memory"
        return f"The runner-up {other.layout.label()} is {slower:.2%} slower and needs {comparison}."
    return (
        f"The runner-up {other.layout.label()} is {slower:.1%} slower; it loses {format_seconds(most)} to"
        f" {TIME_NAMES[worst]}."
    )
