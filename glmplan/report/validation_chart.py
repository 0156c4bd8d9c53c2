"""Charts of a whole validation: predicted against measured, errors by group, sweeps, intervals. Rows first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from glmplan.report.chart_style import (
    BAR_PX,
    BLUE,
    GREY,
    ORANGE,
    PALETTE,
    VERMILION,
    base_layout,
    label,
    label_axis,
    number_axis,
)
from glmplan.report.wording import percent, signed_percent
from glmplan.validation.accuracy import SweepRanking

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "x", "triangle-down", "pentagon")
"""Groups differ in symbol as well as in colour."""
INTERVAL_SHARE = 0.9
_HOVER_CHARACTERS = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRow:
    """One case of one quantity."""

    id: str
    group: str
    measured: float
    predicted: float
    error: float
    """Relative, signed, as the accuracy counts it."""
    inside: bool | None
    """Whether the measured value lies in the 90 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """The errors of one group."""

    group: str
    errors: tuple[float, ...]

    @property
    def inside_of(self) -> str:
        """How many cases there are, in words."""
        return f"{len(self.errors)} cases"


def group_rows(points: Sequence[PointRow]) -> list[GroupRow]:
    """The groups of ``points``, the one with the smallest mean absolute error first."""
    errors: dict[str, list[float]] = {}
    for point in points:
        errors.setdefault(point.group, []).append(point.error)
    rows = [GroupRow(group=group, errors=tuple(values)) for group, values in errors.items()]
    return sorted(rows, key=lambda row: (float(np.mean(np.abs(row.errors))), row.group))


def scatter_figure(points: Sequence[PointRow], *, unit: str) -> go.Figure:
    """Predicted over measured on logarithmic axes; on the line both agree, the dashed lines are 10 % off."""
    groups = sorted({point.group for point in points})
    traces = []
    for index, group in enumerate(groups):
        own = [point for point in points if point.group == group]
        traces.append(
            go.Scatter(
                mode="markers",
                name=label(group),
                x=[point.measured for point in own],
                y=[point.predicted for point in own],
                marker={
                    "color": PALETTE[index % len(PALETTE)],
                    "symbol": SYMBOLS[index % len(SYMBOLS)],
                    "size": 7,
                    "opacity": 0.75,
                },
                hovertext=[label(_point_text(point, unit), characters=_HOVER_CHARACTERS) for point in own],
                hoverinfo="text",
            )
        )
    values = [value for point in points for value in (point.measured, point.predicted)]
    ends = [min(values) * 0.8, max(values) * 1.25]
    for factor, dash, name in ((1.0, "solid", "equal"), (1.1, "dash", "10 % off"), (1 / 1.1, "dash", "")):
        traces.append(
            go.Scatter(
                mode="lines",
                name=name,
                showlegend=bool(name),
                x=ends,
                y=[end * factor for end in ends],
                line={"color": GREY, "width": 1, "dash": dash},
                hoverinfo="skip",
            )
        )
    return go.Figure(
        traces,
        base_layout(
            height=560,
            showlegend=True,
            xaxis=number_axis(f"Measured, {unit}", type="log"),
            yaxis=number_axis(f"Predicted, {unit}", type="log"),
        ),
    )


def _point_text(point: PointRow, unit: str) -> str:
    error = signed_percent(point.error)
    return f"{point.id}: measured {point.measured:.4g}, predicted {point.predicted:.4g} {unit}, {error}"


def error_figure(rows: Sequence[GroupRow]) -> go.Figure:
    """A box of the signed errors of each group, the least erring on top."""
    traces = [
        go.Box(
            orientation="h",
            x=[error * 100 for error in row.errors],
            y=[place] * len(row.errors),
            name=label(row.group),
            marker={"color": BLUE, "size": 4},
            line={"width": 1.5},
            boxpoints="outliers",
            hoverinfo="x",
        )
        for place, row in enumerate(rows)
    ]
    names = [f"{row.group}\n{row.inside_of}" for row in rows]
    figure = go.Figure(
        traces,
        base_layout(
            height=(BAR_PX + 8) * len(rows) + 80,
            showlegend=False,
            xaxis=number_axis("Error, %"),
            yaxis=label_axis(names),
        ),
    )
    figure.add_vline(x=0, line={"color": GREY, "width": 2})
    return figure


def ranking_figure(sweeps: Sequence[SweepRanking]) -> go.Figure:
    """Regret over rank correlation, a point a sweep: right and low is better."""
    return go.Figure(
        go.Scatter(
            mode="markers",
            x=[sweep.spearman for sweep in sweeps],
            y=[sweep.regret * 100 for sweep in sweeps],
            marker={"color": BLUE, "size": [6 + 2 * min(sweep.cases, 20) ** 0.5 for sweep in sweeps], "opacity": 0.7},
            hovertext=[
                label(
                    f"{sweep.sweep}: {sweep.cases} runs, rank correlation {sweep.spearman:.2f}, regret "
                    f"{percent(sweep.regret)}, fastest over slowest {sweep.spread:.2f}",
                    characters=_HOVER_CHARACTERS,
                )
                for sweep in sweeps
            ],
            hoverinfo="text",
            cliponaxis=False,
        ),
        base_layout(
            height=380,
            showlegend=False,
            xaxis=number_axis("Rank correlation of predicted and measured speed", range=[-1.05, 1.05]),
            yaxis=number_axis("Regret of the pick, %", rangemode="tozero"),
        ),
    )


def coverage_figure(groups: Sequence[str], shares: Sequence[float]) -> go.Figure:
    """The share of measurements inside their 90 % interval, a bar a group; the line is what was promised."""
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=list(range(len(groups))),
            x=[share * 100 for share in shares],
            marker={"color": [ORANGE if share < INTERVAL_SHARE - 0.05 else BLUE for share in shares]},
            text=[label(percent(share, digits=0)) for share in shares],
            textposition="inside",
            hoverinfo="skip",
        ),
        base_layout(
            height=BAR_PX * len(groups) + 90,
            showlegend=False,
            bargap=0.3,
            xaxis=number_axis("Inside the 90 % interval, %", range=[0, 102]),
            yaxis=label_axis(groups),
        ),
    )
    figure.add_vline(x=INTERVAL_SHARE * 100, line={"color": VERMILION, "width": 2})
    return figure
