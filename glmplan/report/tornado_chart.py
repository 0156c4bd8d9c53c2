"""The tornado chart: how far tokens per second swing with each figure, the strongest on top."""

from dataclasses import dataclass

import plotly.graph_objects as go

from glmplan.report.chart_style import BLUE, ORANGE, base_layout, label, label_axis, number_axis
from glmplan.report.content import Table
from glmplan.search.sensitivity import SensitivityStudy
from glmplan.search.sensitivity_text import sensitivity_headers, sensitivity_rows

SHOWN_FIGURES = 14
ROW_PX = 44
"""Names stand on two lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TornadoRow:
    """One figure's swing, as fractions of today's tokens per second."""

    name: str
    low_fraction: float | None
    """With the figure lowered; None where nothing fits."""
    high_fraction: float | None


def tornado_rows(study: SensitivityStudy) -> list[TornadoRow]:
    """The strongest swings, largest first; figures that move nothing are left out."""
    base = study.estimate.tokens_per_s

    def fraction(tokens_per_s: float | None) -> float | None:
        return None if tokens_per_s is None else tokens_per_s / base - 1.0

    rows = [
        TornadoRow(
            name=row.name,
            low_fraction=fraction(row.low_tokens_per_s),
            high_fraction=fraction(row.high_tokens_per_s),
        )
        for row in study.rows
    ]
    moved = [row for row in rows if _reach(row) >= 1e-4]
    return sorted(moved, key=lambda row: (-round(_reach(row), 6), row.name))[:SHOWN_FIGURES]


def _reach(row: TornadoRow) -> float:
    return max(abs(row.low_fraction or 0.0), abs(row.high_fraction or 0.0))


def tornado_figure(rows: list[TornadoRow], swing_fraction: float) -> go.Figure:
    """Two bars a figure from today's value outwards, differing in colour and pattern."""

    def bars(values: list[float | None], name: str, colour: str, shape: str) -> go.Bar:
        shown = [0.0 if value is None else value * 100.0 for value in values]
        return go.Bar(
            x=shown,
            y=list(range(len(rows))),
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": {"shape": shape, "fgopacity": 0.5}},
            hovertext=[
                label(f"{row.name}, {name}: {'nothing fits' if value is None else f'{value:+.1%}'}", characters=120)
                for row, value in zip(rows, values, strict=True)
            ],
            hoverinfo="text",
        )

    figure = go.Figure(
        [
            bars([row.low_fraction for row in rows], f"{swing_fraction:.0%} less", ORANGE, "/"),
            bars([row.high_fraction for row in rows], f"{swing_fraction:.0%} more", BLUE, ""),
        ],
        base_layout(
            height=110 + ROW_PX * max(len(rows), 1),
            showlegend=True,
            barmode="overlay",
            bargap=0.35,
            xaxis=number_axis("Change of tokens per second, %"),
            yaxis=label_axis([".\n".join(row.name.rsplit(".", 1)) for row in rows]),
        ),
    )
    figure.update_xaxes(zeroline=True)
    return figure


def tornado_table(study: SensitivityStudy) -> Table:
    """Every figure, those without a bar as well."""
    return Table(
        caption="Elasticities and swings of every figure",
        headers=sensitivity_headers(study),
        rows=tuple(tuple(row) for row in sensitivity_rows(study)),
        numeric=(1, 2, 3, 4, 5),
    )
