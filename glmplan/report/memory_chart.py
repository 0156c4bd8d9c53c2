"""The memory chart: the peak of the fullest device as a waterfall of its parts, against what the device has."""

from dataclasses import dataclass

import plotly.graph_objects as go

from glmplan.cost.estimate import MemoryBreakdown
from glmplan.plan.document import Plan
from glmplan.report.chart_style import (
    BAR_PX,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    base_layout,
    bytes_unit,
    label,
    label_axis,
    number_axis,
)
from glmplan.report.content import Table
from glmplan.report.wording import percent, share, signed_bytes
from glmplan.units import format_bytes

PART_NAMES: dict[str, tuple[str, str]] = {
    "parameters_bytes": ("Parameters", BLUE),
    "main_parameters_bytes": ("fp32 parameters", BLUE),
    "gradients_bytes": ("Gradients", BLUE),
    "optimizer_bytes": ("Optimizer", BLUE),
    "gathered_parameters_bytes": ("Gathered parameters", PURPLE),
    "activations_bytes": ("Activations", ORANGE),
    "loss_bytes": ("Logits and loss", ORANGE),
    "workspace_bytes": ("Workspace", GREEN),
    "reserve_bytes": ("Reserve", GREY),
}
"""Field of the breakdown -> name and colour; the colour tells model state, gathered state, activations and the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """One part of the peak."""

    name: str
    value_bytes: float
    start_bytes: float
    """Where its bar starts: the sum of the parts before it."""
    share_fraction: float
    """Of the device's capacity."""
    color: str


def memory_rows(plan: Plan) -> list[MemoryRow]:
    """The parts of the chosen layout's peak memory, in the order of the record."""
    estimate = plan.chosen.estimate
    rows: list[MemoryRow] = []
    start = 0.0
    for field in MemoryBreakdown.model_fields:
        value = float(getattr(estimate.memory, field))
        name, color = PART_NAMES[field]
        fraction = share(value, estimate.memory_capacity_bytes)
        rows.append(MemoryRow(name=name, value_bytes=value, start_bytes=start, share_fraction=fraction, color=color))
        start += value
    return rows


def memory_figure(
    rows: list[MemoryRow], *, capacity_bytes: float, margin_fraction: float, bounds_bytes: tuple[float, float]
) -> go.Figure:
    """The parts that take memory as a waterfall, with lines at the capacity and at what the margin leaves of it.

    ``bounds_bytes`` is the 90 % interval of the peak, a bar on its end.
    """
    rows = [row for row in rows if row.value_bytes]
    total = sum(row.value_bytes for row in rows)
    furthest = max(total, bounds_bytes[1], capacity_bytes)
    unit, scale = bytes_unit(furthest)
    names = [*(row.name for row in rows), "Peak"]
    values = [*(row.value_bytes for row in rows), total]
    starts = [*(row.start_bytes for row in rows), 0.0]
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=list(range(len(names))),
            x=[value / scale for value in values],
            base=[start / scale for start in starts],
            marker={"color": [*(row.color for row in rows), VERMILION if total > capacity_bytes else GREY]},
            text=[label(format_bytes(value)) for value in values],
            # the peak's text would stand on its error bar
            textposition=[*("outside" for _ in rows), "inside"],
            cliponaxis=False,
            hovertext=[label(f"{name}: {format_bytes(value)}") for name, value in zip(names, values, strict=True)],
            hoverinfo="text",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [*(0.0 for _ in rows), max(bounds_bytes[1] - total, 0.0) / scale],
                "arrayminus": [*(0.0 for _ in rows), max(total - bounds_bytes[0], 0.0) / scale],
                "thickness": 2,
                "width": 5,
            },
        ),
        base_layout(
            height=BAR_PX * len(names) + 90,
            showlegend=False,
            bargap=0.3,
            xaxis=number_axis(f"Memory, {unit}", range=[0, furthest / scale * 1.16]),
            yaxis=label_axis(names),
        ),
    )
    limit = capacity_bytes * (1 - margin_fraction)
    figure.add_vline(x=capacity_bytes / scale, line={"color": VERMILION, "width": 2})
    figure.add_vline(x=limit / scale, line={"color": VERMILION, "width": 1, "dash": "dot"})
    figure.add_annotation(
        x=limit / scale, y=1, yref="paper", yanchor="bottom", xanchor="right", showarrow=False, text="limit, capacity"
    )
    figure.update_layout(margin={"t": 26})
    return figure


def memory_table(rows: list[MemoryRow], *, capacity_bytes: float, peak_bytes: float, bar: str) -> Table:
    """The same as text, with the total, its 90 % interval ``bar`` and what stays free."""
    free = capacity_bytes - peak_bytes
    cells = [(row.name, format_bytes(row.value_bytes), percent(row.share_fraction)) for row in rows]
    cells += [
        ("Peak", format_bytes(peak_bytes), percent(share(peak_bytes, capacity_bytes))),
        ("90 % interval", bar, ""),
        ("Free", signed_bytes(free), percent(share(free, capacity_bytes))),
        ("Capacity", format_bytes(capacity_bytes), ""),
    ]
    return Table(
        caption="Peak memory of the fullest device",
        headers=("Part", "Bytes", "Of capacity"),
        rows=tuple(cells),
        numeric=(1, 2),
        marked=len(rows),
    )
