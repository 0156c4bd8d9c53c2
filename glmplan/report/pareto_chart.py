"""The Pareto chart: step time against memory, over the chosen layout and the alternatives that the plan kept."""

from dataclasses import dataclass

import plotly.graph_objects as go

from glmplan.plan.document import Plan
from glmplan.report.chart_style import (
    BLUE,
    GREY,
    VERMILION,
    base_layout,
    bytes_unit,
    label,
    number_axis,
    seconds_unit,
)
from glmplan.report.content import Table
from glmplan.units import format_bytes, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoRow:
    """One layout as a point."""

    rank: int
    """1 for the chosen layout, then the alternatives in order."""
    label: str
    step_time_s: float
    peak_memory_bytes: float
    on_front: bool
    """No other layout of the plan is at least as good in both and better in one."""


def pareto_rows(plan: Plan) -> list[ParetoRow]:
    """The plan's layouts in their order, each told whether it is on the front."""
    options = (plan.chosen, *plan.alternatives)
    points = [(option.estimate.step_time_s, option.estimate.peak_memory_bytes) for option in options]
    return [
        ParetoRow(
            rank=rank,
            label=option.layout.label(),
            step_time_s=point[0],
            peak_memory_bytes=point[1],
            on_front=not any(_dominates(other, point) for other in points),
        )
        for rank, (option, point) in enumerate(zip(options, points, strict=True), start=1)
    ]


def _point_text(row: ParetoRow) -> str:
    return f"{format_seconds(row.step_time_s)}, {format_bytes(row.peak_memory_bytes)}"


def _dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and a != b


def pareto_figure(rows: list[ParetoRow]) -> go.Figure:
    """Points of all layouts, a stepped line through the front, a diamond for the chosen one."""
    memory_unit, memory_scale = bytes_unit(max(row.peak_memory_bytes for row in rows))
    time_unit, time_scale = seconds_unit(max(row.step_time_s for row in rows))

    def points(chosen: list[ParetoRow], **style: object) -> go.Scatter:
        return go.Scatter(
            x=[row.peak_memory_bytes / memory_scale for row in chosen],
            y=[row.step_time_s / time_scale for row in chosen],
            hovertext=[label(f"{row.rank}: {row.label}, {_point_text(row)}", characters=120) for row in chosen],
            hoverinfo="text",
            cliponaxis=False,
            **style,
        )

    front = sorted((row for row in rows if row.on_front), key=lambda row: (row.peak_memory_bytes, -row.step_time_s))
    others = [row for row in rows if not row.on_front and row.rank != 1]
    figure = go.Figure(
        [
            points(others, mode="markers", name="Other layouts", marker={"color": GREY, "size": 9, "symbol": "circle"}),
            points(
                front,
                mode="lines+markers",
                name="Nothing better in both",
                line={"color": BLUE, "width": 1.5, "shape": "hv"},
                marker={"color": BLUE, "size": 10, "symbol": "square"},
            ),
            points(
                [row for row in rows if row.rank == 1],
                mode="markers",
                name="Chosen",
                marker={"color": VERMILION, "size": 15, "symbol": "diamond"},
            ),
        ],
        base_layout(
            height=400,
            showlegend=True,
            xaxis=number_axis(f"Peak memory per device, {memory_unit}"),
            yaxis=number_axis(f"Step time, {time_unit}"),
        ),
    )
    if not others:
        figure.data = figure.data[1:]
    return figure


def pareto_table(rows: list[ParetoRow]) -> Table:
    """The same as text."""
    return Table(
        caption="Step time and memory of the plan's layouts",
        headers=("#", "Layout", "Step time", "Peak memory", "On the front"),
        rows=tuple(
            (
                str(row.rank),
                row.label,
                format_seconds(row.step_time_s),
                format_bytes(row.peak_memory_bytes),
                "yes" if row.on_front else "no",
            )
            for row in rows
        ),
        numeric=(0, 2, 3),
        marked=0,
    )
