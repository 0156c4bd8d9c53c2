"""The time chart: where the seconds of one step go on the slowest rank, part by part."""

from dataclasses import dataclass
from enum import StrEnum

import plotly.graph_objects as go

from glmplan.cost.estimate import StepEstimate
from glmplan.plan.document import Plan
from glmplan.report.chart_style import (
    BAR_PX,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    base_layout,
    label,
    label_axis,
    number_axis,
    seconds_unit,
)
from glmplan.report.content import Table
from glmplan.report.wording import percent, share
from glmplan.units import format_seconds


class Kind(StrEnum):
    """What a rank does in a part of the step."""

    COMPUTE = "Compute"
    RECOMPUTE = "Recomputation"
    COMMUNICATION = "Exposed communication"
    WAITING = "Pipeline bubble"
    OTHER = "Optimizer and other"


KIND_COLORS: dict[Kind, str] = {
    Kind.COMPUTE: BLUE,
    Kind.RECOMPUTE: PURPLE,
    Kind.COMMUNICATION: ORANGE,
    Kind.WAITING: GREY,
    Kind.OTHER: GREEN,
}
KIND_PATTERNS: dict[Kind, str] = {
    Kind.COMPUTE: "",
    Kind.RECOMPUTE: "x",
    Kind.COMMUNICATION: "/",
    Kind.WAITING: ".",
    Kind.OTHER: "\\",
}
"""Bars differ in pattern as well as in colour."""

PARTS: tuple[tuple[str, str, Kind], ...] = (
    ("forward_s", "Forward", Kind.COMPUTE),
    ("backward_s", "Backward", Kind.COMPUTE),
    ("recompute_s", "Recomputation", Kind.RECOMPUTE),
    ("tensor_parallel_s", "Tensor parallel", Kind.COMMUNICATION),
    ("context_parallel_s", "Context parallel", Kind.COMMUNICATION),
    ("expert_parallel_s", "Expert parallel", Kind.COMMUNICATION),
    ("pipeline_transfer_s", "Pipeline transfer", Kind.COMMUNICATION),
    ("data_parallel_s", "Data parallel", Kind.COMMUNICATION),
    ("offload_s", "Offload", Kind.COMMUNICATION),
    ("pipeline_bubble_s", "Pipeline bubble", Kind.WAITING),
    ("straggler_s", "Slowest device", Kind.WAITING),
    ("optimizer_s", "Optimizer", Kind.OTHER),
    ("other_s", "Other", Kind.OTHER),
)
"""Field of the breakdown, its name, its kind; parts of one kind stand together."""


def kind_marker(kind: Kind) -> dict[str, object]:
    """How the bars of a kind are filled."""
    pattern = {
        "shape": KIND_PATTERNS[kind],
        "fillmode": "overlay",
        "fgcolor": "white",
        "fgopacity": 0.55,
        "size": 7,
        "solidity": 0.2,
    }
    return {"color": KIND_COLORS[kind], "pattern": pattern}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRow:
    """One part of the step."""

    name: str
    kind: Kind
    value_s: float
    share_fraction: float
    """Of the step."""


def time_rows(plan: Plan) -> list[TimeRow]:
    """The parts of the chosen layout's step."""
    return estimate_time_rows(plan.chosen.estimate)


def estimate_time_rows(estimate: StepEstimate) -> list[TimeRow]:
    """The parts of one estimate's step, in the order of ``PARTS``."""
    values = [(name, kind, float(getattr(estimate.time, field))) for field, name, kind in PARTS]
    return [
        TimeRow(name=name, kind=kind, value_s=value, share_fraction=share(value, estimate.step_time_s))
        for name, kind, value in values
    ]


def time_figure(rows: list[TimeRow]) -> go.Figure:
    """A bar for each part that takes time; a trace for each kind, so that the legend names the colours."""
    shown = [row for row in rows if row.value_s] or rows[:1]
    longest_s = max(row.value_s for row in shown)
    unit, scale = seconds_unit(longest_s)
    bars = []
    for kind in Kind:
        own = [(position, row) for position, row in enumerate(shown) if row.kind is kind]
        if not own:
            continue
        texts = [_bar_text(row) for _, row in own]
        bars.append(
            go.Bar(
                orientation="h",
                name=label(str(kind)),
                y=[position for position, _ in own],
                x=[row.value_s / scale for _, row in own],
                marker=kind_marker(kind),
                text=[label(text) for text in texts],
                textposition="outside",
                cliponaxis=False,
                hovertext=[label(f"{row.name}: {text}") for (_, row), text in zip(own, texts, strict=True)],
                hoverinfo="text",
            )
        )
    return go.Figure(
        bars,
        base_layout(
            height=BAR_PX * len(shown) + 130,
            showlegend=True,
            barmode="overlay",
            bargap=0.3,
            # Room on the right for the longest bar's text, which stands outside it.
            xaxis=number_axis(f"Time, {unit}", range=[0, longest_s / scale * 1.7]),
            yaxis=label_axis([row.name for row in shown]),
        ),
    )


def _bar_text(row: TimeRow) -> str:
    digits = 0 if row.share_fraction >= 0.1 else 1
    return f"{format_seconds(row.value_s)} · {percent(row.share_fraction, digits=digits)}"


def time_table(rows: list[TimeRow], *, step_time_s: float) -> Table:
    """The same as text, with the whole step."""
    cells = [(row.name, str(row.kind), format_seconds(row.value_s), percent(row.share_fraction)) for row in rows]
    cells.append(("Step", "", format_seconds(step_time_s), percent(1.0)))
    return Table(
        caption="One step on the slowest rank",
        headers=("Part", "Kind", "Time", "Of the step"),
        rows=tuple(cells),
        numeric=(2, 3),
        marked=len(rows),
    )
