"""The headline: what to run and what to expect of it, in sentences and in one row of numbers."""

from glmplan.cost.estimate import StepEstimate
from glmplan.plan.document import Plan
from glmplan.plan.error_bars import days_bar, memory_bar, price_bar, step_time_bar
from glmplan.plan.part_names import GRADE_SENTENCES
from glmplan.report.content import Tile
from glmplan.report.wording import (
    counted,
    dollars,
    layout_words,
    percent,
    rate,
    share,
    signed_bytes,
)
from glmplan.units import SECONDS, format_bytes, format_seconds, parse_quantity


def headline_sentences(plan: Plan) -> tuple[str, ...]:
    """The recommendation, and how well it is supported."""
    job, estimate, layout = plan.request.job, plan.chosen.estimate, plan.chosen.layout
    idle = plan.request.num_gpus - layout.world_size
    sentences = [
        f"Run {job.architecture.name} on {layout.world_size:,} × {plan.cluster.device}: {layout_words(layout)}.",
        f"A step of {job.tokens_per_step:,} tokens is predicted to take {format_seconds(estimate.step_time_s)} "
        f"(90 % interval {step_time_bar(estimate)}).",
        f"The fullest device is predicted to need {format_bytes(estimate.peak_memory_bytes)} "
        f"(90 % interval {memory_bar(estimate)}) of {format_bytes(estimate.memory_capacity_bytes)}: the layout "
        f"{estimate.memory_verdict}.",
        GRADE_SENTENCES[estimate.grade],
    ]
    if idle > 0:
        sentences.insert(1, f"It leaves {counted(idle, 'device')} of {plan.request.num_gpus:,} idle.")
    return tuple(sentences)


def headline_tiles(plan: Plan) -> tuple[Tile, ...]:
    """Step time, rate, utilisation, memory, price, and days where a token count is given."""
    estimate = plan.chosen.estimate
    free = estimate.memory_capacity_bytes - estimate.peak_memory_bytes
    free_fraction = share(free, estimate.memory_capacity_bytes)
    tiles = [
        Tile(
            name="Step time",
            value=format_seconds(estimate.step_time_s),
            detail=f"90 % interval {step_time_bar(estimate)}",
        ),
        Tile(
            name="Tokens/s per device",
            value=rate(estimate.tokens_per_s_per_gpu),
            detail=f"{rate(estimate.tokens_per_s)} on all devices",
        ),
        Tile(name="MFU", value=percent(estimate.mfu), detail=f"HFU {percent(estimate.hfu)}, recomputation counted"),
        Tile(
            name="Peak memory",
            value=format_bytes(estimate.peak_memory_bytes),
            detail=f"90 % interval {memory_bar(estimate)}; {signed_bytes(free)} of "
            f"{format_bytes(estimate.memory_capacity_bytes)} free, {percent(free_fraction)} "
            f"(asked for: {percent(plan.request.memory_margin)})",
        ),
        _price_tile(estimate),
    ]
    if estimate.train_days is not None:
        tiles.append(_days_tile(plan, estimate.train_days))
    return tuple(tiles)


def _price_tile(estimate: StepEstimate) -> Tile:
    price, hourly = estimate.usd_per_billion_tokens, estimate.usd_per_hour
    if price is None:
        return Tile(name="$ per billion tokens", value="-", detail="no price is known for this cluster")
    detail = f"90 % interval {price_bar(estimate)}; "
    detail += "rent of all devices" if hourly is None else f"{dollars(hourly)} an hour for all devices"
    return Tile(name="$ per billion tokens", value=dollars(price), detail=detail)


def _days_tile(plan: Plan, days: float) -> Tile:
    estimate = plan.chosen.estimate
    tokens, hourly = plan.request.job.tokens, estimate.usd_per_hour
    detail = f"90 % interval {days_bar(estimate)}; "
    detail += "without failures" if tokens is None else f"for {tokens:,.0f} tokens, without failures"
    if hourly is not None:
        hours_per_day = parse_quantity("1 d", SECONDS) / parse_quantity("1 h", SECONDS)
        per_day = hourly * hours_per_day
        detail += f"; {dollars(per_day * days)} in all"
        if estimate.train_low90_days is not None and estimate.train_high90_days is not None:
            low, high = per_day * estimate.train_low90_days, per_day * estimate.train_high90_days
            detail += f" ({dollars(low)} to {dollars(high)})"
    return Tile(name="Days to train", value=f"{days:,.1f}" if days >= 1 else f"{days:.2g}", detail=detail)
