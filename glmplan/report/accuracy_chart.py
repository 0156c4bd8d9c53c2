"""The accuracy chart: how far each run's measured values lie from what was predicted."""

from collections.abc import Callable

import plotly.graph_objects as go

from glmplan.report.chart_style import BAR_PX, BLUE, GREY, ORANGE, base_layout, label, label_axis, number_axis
from glmplan.report.comparison import AccuracyRow
from glmplan.report.content import Table
from glmplan.report.wording import percent, rate, signed_percent
from glmplan.units import format_bytes, format_seconds

QUANTITIES: dict[str, tuple[str, Callable[[float], str]]] = {
    "step_time_s": ("Step time", format_seconds),
    "tokens_per_s_per_gpu": ("Tokens/s per device", rate),
    "mfu": ("MFU", percent),
    "hfu": ("HFU", percent),
    "peak_allocated_bytes": ("Allocated memory", format_bytes),
}
"""Quantity of a comparison -> its name and how its values are written."""


def accuracy_figure(rows: list[AccuracyRow]) -> go.Figure:
    """A point for each relative error with the predicted 90 % interval as a bar around it; zero is a perfect hit."""
    several = len({row.run for row in rows}) > 1
    names = [f"{row.run}\n{QUANTITIES[row.quantity][0]}" if several else QUANTITIES[row.quantity][0] for row in rows]
    errors = [row.relative_error for row in rows]
    high = [0.0 if row.high90 is None else (row.high90 - row.predicted) / row.measured for row in rows]
    low = [0.0 if row.low90 is None else (row.predicted - row.low90) / row.measured for row in rows]
    reach = max(abs(error) + max(up, down) for error, up, down in zip(errors, high, low, strict=True))
    limit = max(reach * 1.25, 0.05) * 100
    figure = go.Figure(
        go.Scatter(
            x=[error * 100 for error in errors],
            y=list(range(len(rows))),
            mode="markers+text",
            marker={
                "color": [ORANGE if row.inside is False else BLUE for row in rows],
                "symbol": ["x" if row.inside is False else "circle" for row in rows],
                "size": 11,
            },
            text=[label(signed_percent(error)) for error in errors],
            textposition="top center",
            cliponaxis=False,
            hovertext=[
                label(f"{name}: predicted {signed_percent(error)} off", characters=100)
                for name, error in zip(names, errors, strict=True)
            ],
            hoverinfo="text",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [value * 100 for value in high],
                "arrayminus": [value * 100 for value in low],
                "color": GREY,
                "thickness": 2,
                "width": 5,
            },
        ),
        base_layout(
            height=(BAR_PX + 14) * len(rows) + 80,
            showlegend=False,
            xaxis=number_axis("Error, %", range=[-limit, limit]),
            yaxis=label_axis(names),
        ),
    )
    figure.add_vline(x=0, line={"color": GREY, "width": 2})
    return figure


def accuracy_table(rows: list[AccuracyRow]) -> Table:
    """The same as text, in the quantities' own units."""
    cells = []
    for row in rows:
        name, text = QUANTITIES[row.quantity]
        between = "-" if row.low90 is None or row.high90 is None else f"{text(row.low90)} to {text(row.high90)}"
        inside = {None: "-", True: "yes", False: "no"}[row.inside]
        cells.append(
            (
                row.run,
                name,
                text(row.predicted),
                between,
                text(row.measured),
                signed_percent(row.relative_error),
                inside,
            )
        )
    return Table(
        caption="Predicted against measured",
        headers=("Run", "Quantity", "Predicted", "90 % interval", "Measured", "Error", "Inside"),
        rows=tuple(cells),
        numeric=(2, 3, 4, 5),
    )
