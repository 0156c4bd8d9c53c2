"""The plan's layouts as rows of text, for the terminal, Markdown and the report."""

from glmplan.plan.document import Option, Plan
from glmplan.plan.error_bars import memory_bar, price_bar, step_time_bar
from glmplan.units import format_bytes, format_seconds

HEADERS = (
    "rank",
    "layout",
    "tokens/s/GPU",
    "MFU",
    "step time",
    "90 % interval",
    "memory",
    "90 % interval of memory",
    "free",
    "$/B tokens",
    "90 % interval of $",
)


def layout_rows(plan: Plan) -> list[list[str]]:
    """One row a layout, best first; units are in the cells."""
    return [_row(index, option) for index, option in enumerate((plan.chosen, *plan.alternatives), start=1)]


def _row(rank: int, option: Option) -> list[str]:
    e = option.estimate
    price = "-" if e.usd_per_billion_tokens is None else f"{e.usd_per_billion_tokens:,.0f}"
    return [
        str(rank),
        option.layout.label(),
        f"{e.tokens_per_s_per_gpu:,.1f}",
        f"{e.mfu:.1%}",
        format_seconds(e.step_time_s),
        step_time_bar(e),
        format_bytes(e.peak_memory_bytes),
        memory_bar(e),
        f"{1 - e.peak_memory_bytes / e.memory_capacity_bytes:.0%}",
        price,
        price_bar(e) or "-",
    ]
