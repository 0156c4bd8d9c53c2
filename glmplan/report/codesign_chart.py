"""The co-design front as a chart: days against money (or the next goal), one colour a cluster."""

from dataclasses import dataclass

import plotly.graph_objects as go

from glmplan.report.chart_style import PALETTE, base_layout, label, number_axis
from glmplan.report.content import Table
from glmplan.search.codesign import CodesignResult
from glmplan.search.codesign_request import Goal
from glmplan.search.codesign_space import CodesignSpace
from glmplan.search.codesign_text import HEADERS, front_rows_text

AXIS_TITLES = {
    Goal.DAYS: "Days to train",
    Goal.USD: "Money, USD",
    Goal.ENERGY: "Energy, kWh",
    Goal.GPUS: "GPUs",
}
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
"""Clusters differ in shape as well as in colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignRow:
    """One design of the front as a point."""

    cluster: str
    x: float
    y: float
    text: str


def shown_goals(result: CodesignResult) -> tuple[Goal, Goal]:
    """The chart's axes: the first two goals, or days beside the only one."""
    goals = result.request.goals
    if len(goals) > 1:
        return goals[0], goals[1]
    return (goals[0], Goal.GPUS) if goals[0] is not Goal.GPUS else (Goal.DAYS, Goal.GPUS)


def design_rows(result: CodesignResult) -> list[DesignRow]:
    """The front in its order."""
    space = CodesignSpace(request=result.request)
    first, second = shown_goals(result)
    rows = []
    for index, planned in result.front:
        design = space.design(index)
        text = f"{design.gpus} GPUs, {design.precision}, batch {design.global_batch}, {planned.layout.label()}"
        rows.append(DesignRow(cluster=design.cluster, x=planned.goals[first], y=planned.goals[second], text=text))
    return rows


def design_figure(rows: list[DesignRow], goals: tuple[Goal, Goal]) -> go.Figure:
    """Points of the front; both axes are logarithmic, as designs differ by factors."""
    clusters = list(dict.fromkeys(row.cluster for row in rows))
    traces = []
    for number, cluster in enumerate(clusters):
        own = [row for row in rows if row.cluster == cluster]
        traces.append(
            go.Scatter(
                x=[row.x for row in own],
                y=[row.y for row in own],
                name=label(cluster),
                mode="markers",
                marker={"color": PALETTE[number % len(PALETTE)], "size": 11, "symbol": SYMBOLS[number % len(SYMBOLS)]},
                hovertext=[label(f"{cluster}: {row.text}", characters=120) for row in own],
                hoverinfo="text",
                cliponaxis=False,
            )
        )
    return go.Figure(
        traces,
        base_layout(
            height=420,
            showlegend=True,
            xaxis=number_axis(AXIS_TITLES[goals[0]], type="log"),
            yaxis=number_axis(AXIS_TITLES[goals[1]], type="log"),
        ),
    )


def design_table(result: CodesignResult) -> Table:
    """The front as text."""
    return Table(
        caption="Designs that no other beats in every goal",
        headers=HEADERS,
        rows=tuple(tuple(row) for row in front_rows_text(result)),
        numeric=(0, 1, 2, 3, 4, 8, 11),
    )
