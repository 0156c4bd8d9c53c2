"""The chart of the best layouts side by side: their step time, stacked by what the ranks do."""

from dataclasses import dataclass

import plotly.graph_objects as go

from glmplan.plan.document import Plan
from glmplan.report.chart_style import BAR_PX, VERMILION, base_layout, label, label_axis, number_axis, seconds_unit
from glmplan.report.content import Table
from glmplan.report.time_chart import Kind, estimate_time_rows, kind_marker
from glmplan.units import format_seconds

SHOWN_LAYOUTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutRow:
    """The seconds that one layout spends on one kind of work."""

    rank: int
    """1 for the chosen layout, then the alternatives in order."""
    label: str
    kind: Kind
    value_s: float
    low90_s: float
    """Of the whole step."""
    high90_s: float


def layout_rows(plan: Plan) -> list[LayoutRow]:
    """A row for each layout (the chosen one and the best alternatives) and kind."""
    rows = []
    for rank, option in enumerate((plan.chosen, *plan.alternatives)[:SHOWN_LAYOUTS], start=1):
        parts = estimate_time_rows(option.estimate)
        for kind in Kind:
            value = sum(part.value_s for part in parts if part.kind is kind)
            rows.append(
                LayoutRow(
                    rank=rank,
                    label=option.layout.label(),
                    kind=kind,
                    value_s=value,
                    low90_s=option.estimate.step_time_low90_s,
                    high90_s=option.estimate.step_time_high90_s,
                )
            )
    return rows


def layout_figure(rows: list[LayoutRow]) -> go.Figure:
    """Stacked bars, the chosen layout on top; a whisker is the 90 % interval of the step."""
    ranks = sorted({row.rank for row in rows})
    names = [f"{rank}" for rank in ranks]
    totals = {rank: sum(row.value_s for row in rows if row.rank == rank) for rank in ranks}
    unit, scale = seconds_unit(max(totals.values()))
    bars = []
    for kind in Kind:
        own = [row for row in rows if row.kind is kind]
        if not any(row.value_s for row in own):
            continue
        bars.append(
            go.Bar(
                orientation="h",
                name=label(str(kind)),
                y=[ranks.index(row.rank) for row in own],
                x=[row.value_s / scale for row in own],
                marker=kind_marker(kind),
                hovertext=[label(f"{row.label}: {kind} {format_seconds(row.value_s)}", characters=120) for row in own],
                hoverinfo="text",
            )
        )
    bars.append(_whiskers(rows, ranks, totals, scale))
    return go.Figure(
        bars,
        base_layout(
            height=BAR_PX * len(names) + 150,
            barmode="stack",
            bargap=0.3,
            showlegend=True,
            xaxis=number_axis(f"Step time, {unit}", rangemode="tozero"),
            yaxis=label_axis(names) | {"title": {"text": "Layout", "standoff": 8}},
        ),
    )


def _whiskers(rows: list[LayoutRow], ranks: list[int], totals: dict[int, float], scale: float) -> go.Scatter:
    bounds = {row.rank: (row.low90_s, row.high90_s) for row in rows}
    return go.Scatter(
        name="90 % interval",
        mode="markers",
        x=[totals[rank] / scale for rank in ranks],
        y=list(range(len(ranks))),
        marker={"color": VERMILION, "size": 5},
        hoverinfo="skip",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(bounds[rank][1] - totals[rank], 0.0) / scale for rank in ranks],
            "arrayminus": [max(totals[rank] - bounds[rank][0], 0.0) / scale for rank in ranks],
            "color": VERMILION,
            "thickness": 1.5,
            "width": 4,
        },
    )


def layout_time_table(rows: list[LayoutRow]) -> Table:
    """The same as text: a row for each layout."""
    ranks = sorted({row.rank for row in rows})
    cells = []
    for rank in ranks:
        own = [row for row in rows if row.rank == rank]
        cells.append((str(rank), own[0].label, *(format_seconds(row.value_s) for row in own)))
    return Table(
        caption="Step time of the best layouts by kind of work",
        headers=("#", "Layout", *(str(kind) for kind in Kind)),
        rows=tuple(cells),
        numeric=(0, *range(2, 2 + len(Kind))),
        marked=0,
    )
