"""The loss chart: training loss over steps, a line for each run."""

from dataclasses import dataclass

import plotly.graph_objects as go

from glmplan.report.chart_style import DASHES, PALETTE, base_layout, label, number_axis
from glmplan.report.content import Table
from glmplan.report.run_folder import Run

MAX_POINTS = 2000
"""Points drawn for each run; more would only make the page larger."""
TABLE_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRow:
    """The loss of one step."""

    run: str
    step: int
    loss: float


def loss_rows(runs: tuple[Run, ...], *, max_points: int = MAX_POINTS) -> list[LossRow]:
    """The logged losses of all runs; of a longer run evenly spaced steps, the first and the last among them."""
    rows = []
    for run in runs:
        logged = [(step.step, step.loss) for step in run.steps if step.loss is not None]
        for index in evenly_spaced(len(logged), max_points):
            step, loss = logged[index]
            rows.append(LossRow(run=run.name, step=step, loss=loss))
    return rows


def evenly_spaced(length: int, count: int) -> list[int]:
    """At most ``count`` (two or more) indices of a sequence, first and last included.

    >>> evenly_spaced(10, 4)
    [0, 3, 6, 9]
    """
    if length <= count:
        return list(range(length))
    return [position * (length - 1) // (count - 1) for position in range(count)]


def loss_figure(rows: list[LossRow]) -> go.Figure:
    """Lines that differ in colour and dash."""
    runs = list(dict.fromkeys(row.run for row in rows))
    lines = []
    for index, run in enumerate(runs):
        own = [row for row in rows if row.run == run]
        lines.append(
            go.Scatter(
                x=[row.step for row in own],
                y=[row.loss for row in own],
                name=label(run),
                mode="lines" if len(own) > 1 else "markers",
                line={"color": PALETTE[index % len(PALETTE)], "dash": DASHES[index % len(DASHES)], "width": 2},
                hovertext=[label(f"{run}, step {row.step}: {row.loss:.4f}", characters=80) for row in own],
                hoverinfo="text",
            )
        )
    layout = base_layout(height=360, showlegend=len(runs) > 1, xaxis=number_axis("Step"), yaxis=number_axis("Loss"))
    return go.Figure(lines, layout)


def loss_table(rows: list[LossRow]) -> Table:
    """Some steps of each run as text."""
    cells = []
    for run in dict.fromkeys(row.run for row in rows):
        own = [row for row in rows if row.run == run]
        cells += [(run, f"{own[i].step:,}", f"{own[i].loss:.4f}") for i in evenly_spaced(len(own), TABLE_ROWS)]
    return Table(caption="Training loss", headers=("Run", "Step", "Loss"), rows=tuple(cells), numeric=(1, 2))
