"""Why a plan's layout wins, what binds it, and what the runner-up loses, in sentences."""

from glmplan.cost.estimate import StepEstimate
from glmplan.plan.document import Plan, StageSummary
from glmplan.plan.error_bars import days_bar, memory_bar, price_bar, step_time_bar
from glmplan.plan.part_names import GRADE_SENTENCES, MEMORY_NAMES, TIME_NAMES, largest_parts
from glmplan.plan.surroundings_text import (
    binding_sentence,
    different_sentence,
    memory_sentence,
    misfit_sentence,
    runner_up_sentence,
)
from glmplan.units import format_bytes, format_seconds


def explain(plan: Plan) -> list[str]:
    """The explanation of ``plan``, a sentence an item."""
    chosen, search = plan.chosen, plan.search
    sentences = [_headline(plan), _time_sentence(chosen.estimate), _memory_sentence(chosen.estimate)]
    sentences += binding_sentence(plan)
    if plan.tuning is not None:
        sentences.append(plan.tuning.sentence())
    else:
        sentences += runner_up_sentence(plan)
    sentences += different_sentence(plan) + memory_sentence(plan) + misfit_sentence(plan)
    if search.rejected:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in search.rejected.items())
        sentences.append(f"Of {search.considered:,} layouts considered {search.feasible:,} fit; the others: {counts}.")
    if search.pruned:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in search.pruned.items())
        sentences.append(f"{sum(search.pruned.values()):,} more legal layouts are ruled out by proof: {counts}.")
    sentences += _money_sentence(chosen.estimate)
    if search.stages is not None:
        sentences.append(_stages_sentence(chosen.estimate.step_time_s, search.stages, search.gap))
    sentences.append(GRADE_SENTENCES[chosen.estimate.grade])
    return sentences


def _stages_sentence(step_time_s: float, stages: StageSummary, gap: float) -> str:
    gain = stages.even_step_time_s / step_time_s - 1.0
    what = f"{gain:.1%} faster than" if gain > 5e-4 else "no better than"
    proof = "no split of a layout that fits with even stages is faster"
    if gap > 0:
        proof = f"no split of a layout that fits with even stages is more than {gap:.2%} faster"
    return (
        f"Stages: {what} the best layout with even stages ({format_seconds(stages.even_step_time_s)}); {proof}"
        f" ({stages.programs} integer programs, {stages.solver})."
    )


def _headline(plan: Plan) -> str:
    layout, estimate = plan.chosen.layout, plan.chosen.estimate
    job = plan.request.job
    optimal = " Within the cost model no legal layout is faster." if plan.search.optimal else ""
    if plan.search.optimal and plan.request.objective == "memory":
        optimal = " Within the cost model no legal layout needs less memory."
    return (
        f"{layout.label()} trains {job.architecture.name} on {plan.request.num_gpus} {plan.cluster.device} in"
        f" {format_seconds(estimate.step_time_s)} a step ({step_time_bar(estimate)}),"
        f" {estimate.tokens_per_s_per_gpu:,.0f} tokens/s per device, MFU {estimate.mfu:.1%}.{optimal}"
    )


def _time_sentence(estimate: StepEstimate) -> str:
    parts = largest_parts(estimate.time.model_dump(), TIME_NAMES, estimate.step_time_s)
    return f"The step goes to {', '.join(parts)}."


def _memory_sentence(estimate: StepEstimate) -> str:
    free = estimate.memory_capacity_bytes - estimate.peak_memory_bytes
    parts = largest_parts(estimate.memory.model_dump(), MEMORY_NAMES, estimate.peak_memory_bytes)
    room = f"{format_bytes(free)} stay free" if free >= 0 else f"{format_bytes(-free)} too much"
    return (
        f"The fullest rank needs {format_bytes(estimate.peak_memory_bytes)} ({memory_bar(estimate)}) of"
        f" {format_bytes(estimate.memory_capacity_bytes)} ({room}); it {estimate.memory_verdict}:"
        f" {', '.join(parts)}."
    )


def _money_sentence(estimate: StepEstimate) -> list[str]:
    """What the tokens cost and how long they take, as far as price and tokens are known."""
    said = []
    price, days = estimate.usd_per_billion_tokens, estimate.train_days
    if price is not None:
        said.append(f"a billion tokens cost {price:,.0f} USD ({price_bar(estimate)})")
    if days is not None:
        said.append(f"the run takes {days:,.1f} days ({days_bar(estimate)}) without failures")
    text = ", and ".join(said)
    return [f"{text[0].upper()}{text[1:]}."] if text else []
