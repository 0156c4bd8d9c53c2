"""The scaling charts: tokens per second and efficiency over the number of devices."""

from dataclasses import dataclass

import plotly.graph_objects as go

from glmplan.report.chart_style import DASHES, GREY, PALETTE, base_layout, label, number_axis
from glmplan.report.content import Table
from glmplan.search.scaling import ScalingCurve
from glmplan.search.scaling_text import HEADERS, scaling_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRow:
    """One point of a curve."""

    mode: str
    num_gpus: int
    layout: str
    tokens_per_s: float
    low90_tokens_per_s: float
    high90_tokens_per_s: float
    ideal_tokens_per_s: float
    """As many tokens per second and device as at the smallest point."""
    efficiency: float


def scaling_chart_rows(curves: tuple[ScalingCurve, ...]) -> list[ScalingRow]:
    """The points that fit, curve after curve."""
    rows = []
    for curve in curves:
        for point in curve.points:
            efficiency = curve.efficiency(point)
            if point.option is None or efficiency is None:
                continue
            estimate = point.option.estimate
            rows.append(
                ScalingRow(
                    mode=curve.mode,
                    num_gpus=point.num_gpus,
                    layout=point.option.layout.label(),
                    tokens_per_s=estimate.tokens_per_s,
                    low90_tokens_per_s=estimate.tokens_per_s * estimate.step_time_s / estimate.step_time_high90_s,
                    high90_tokens_per_s=estimate.tokens_per_s * estimate.step_time_s / estimate.step_time_low90_s,
                    ideal_tokens_per_s=estimate.tokens_per_s / efficiency,
                    efficiency=efficiency,
                )
            )
    return rows


def throughput_figure(rows: list[ScalingRow]) -> go.Figure:
    """Tokens per second with their 90 % interval, and the ideal line of each curve."""
    traces = []
    for style, (mode, points) in enumerate(_by_mode(rows).items()):
        counts = [row.num_gpus for row in points]
        traces.append(
            go.Scatter(
                x=counts,
                y=[row.ideal_tokens_per_s for row in points],
                mode="lines",
                name=f"Ideal, {mode}",
                line={"color": GREY, "width": 1.5, "dash": DASHES[2 + style]},
                hoverinfo="skip",
            )
        )
        traces.append(
            go.Scatter(
                x=counts,
                y=[row.tokens_per_s for row in points],
                error_y={
                    "type": "data",
                    "array": [row.high90_tokens_per_s - row.tokens_per_s for row in points],
                    "arrayminus": [row.tokens_per_s - row.low90_tokens_per_s for row in points],
                },
                **_line(style, mode.capitalize()),
                **_hover(points, [f"{row.tokens_per_s:,.0f} tokens/s" for row in points]),
            )
        )
    return go.Figure(traces, _layout(rows, number_axis("Tokens per second", type="log")))


def efficiency_figure(rows: list[ScalingRow]) -> go.Figure:
    """Tokens per second and device over those of the smallest point."""
    traces = [
        go.Scatter(
            x=[row.num_gpus for row in points],
            y=[row.efficiency * 100.0 for row in points],
            **_line(style, mode.capitalize()),
            **_hover(points, [f"{row.efficiency:.1%}" for row in points]),
        )
        for style, (mode, points) in enumerate(_by_mode(rows).items())
    ]
    return go.Figure(traces, _layout(rows, number_axis("Efficiency, %", rangemode="tozero")))


def scaling_table(curves: tuple[ScalingCurve, ...]) -> Table:
    """Every point, those where nothing fits as well."""
    rows = tuple(tuple(row) for row in scaling_rows(curves))
    return Table(caption="Scaling", headers=HEADERS, rows=rows, numeric=(1, 2, *range(4, len(HEADERS))))


def _by_mode(rows: list[ScalingRow]) -> dict[str, list[ScalingRow]]:
    modes = dict.fromkeys(row.mode for row in rows)
    return {mode: [row for row in rows if row.mode == mode] for mode in modes}


def _line(style: int, name: str) -> dict[str, object]:
    return {
        "mode": "lines+markers",
        "name": name,
        "cliponaxis": False,
        "line": {"color": PALETTE[style], "width": 2, "dash": DASHES[style]},
        "marker": {"color": PALETTE[style], "size": 9, "symbol": ("circle", "square")[style % 2]},
    }


def _hover(points: list[ScalingRow], values: list[str]) -> dict[str, object]:
    texts = [f"{row.num_gpus:,} GPUs: {value}, {row.layout}" for row, value in zip(points, values, strict=True)]
    return {"hovertext": [label(text, characters=120) for text in texts], "hoverinfo": "text"}


def _layout(rows: list[ScalingRow], yaxis: dict[str, object]) -> go.Layout:
    counts = sorted({row.num_gpus for row in rows})
    xaxis = number_axis("GPUs", type="log", tickmode="array", tickvals=counts, ticktext=[f"{n:,}" for n in counts])
    return base_layout(height=400, showlegend=True, xaxis=xaxis, yaxis=yaxis)
