"""The 90 % intervals of an estimate as text, the same in every output."""

from glmplan.cost.estimate import StepEstimate
from glmplan.units import format_bytes, format_seconds


def step_time_bar(estimate: StepEstimate) -> str:
    """Of the step time."""
    return f"{format_seconds(estimate.step_time_low90_s)} to {format_seconds(estimate.step_time_high90_s)}"


def memory_bar(estimate: StepEstimate) -> str:
    """Of the peak memory."""
    return f"{format_bytes(estimate.peak_memory_low90_bytes)} to {format_bytes(estimate.peak_memory_high90_bytes)}"


def price_bar(estimate: StepEstimate) -> str | None:
    """Of the dollars for a billion tokens; None where no price is known."""
    low, high = estimate.usd_per_billion_tokens_low90, estimate.usd_per_billion_tokens_high90
    return None if low is None or high is None else f"{_dollars(low)} to {_dollars(high)}"


def days_bar(estimate: StepEstimate) -> str | None:
    """Of the days to train; None where no token count is given."""
    low, high = estimate.train_low90_days, estimate.train_high90_days
    return None if low is None or high is None else f"{_days(low)} to {_days(high)}"


def _dollars(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def _days(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"
