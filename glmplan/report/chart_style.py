"""How every chart looks: palette, axes, units and labels. Text and grid colours come from the page's style sheet."""

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from glmplan.report.content import plain
from glmplan.units import BYTES, SECONDS, Dimension, parse_quantity

BLUE = "#0072b2"
ORANGE = "#c97b00"
GREEN = "#009e73"
PURPLE = "#b0609a"
VERMILION = "#d55e00"
GREY = "#7f8790"
"""After Okabe and Ito (2008), Color Universal Design; orange and purple darkened to stand out on white and black."""

PALETTE = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""Lines differ in dash as well as in colour."""

BAR_PX = 30
"""Height of one bar with the space around it."""
LABEL_CHARACTERS = 36
AXIS_CHARACTERS = 20
"""Names beside an axis take room from the chart, and a phone has little."""


def base_layout(*, height: int, **layout: Any) -> go.Layout:
    """A layout without decoration that fills its box: no zoom (a finger scrolls the page), legend on top."""
    return go.Layout(
        template="none",
        height=height,
        autosize=True,
        margin={"l": 8, "r": 8, "t": 8, "b": 44},
        font={"family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        dragmode=False,
        hoverlabel={"font": {"family": "system-ui, sans-serif", "size": 13}},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0.0, "traceorder": "normal"},
        separators=". ",
        **layout,
    )


def number_axis(title: str, **axis: Any) -> dict[str, Any]:
    """An axis of numbers."""
    return {
        "title": {"text": title, "standoff": 8},
        "fixedrange": True,
        "automargin": True,
        "zeroline": False,
        "nticks": 6,
        **axis,
    }


def label_axis(labels: Sequence[str]) -> dict[str, Any]:
    """An axis of names (of one or more lines), the first on top.

    The names are tick texts of numbers, so that equal ones do not fall together.
    """
    return {
        "type": "linear",
        "tickmode": "array",
        "tickvals": list(range(len(labels))),
        "ticktext": [
            "<br>".join(label(line, characters=AXIS_CHARACTERS) for line in text.split("\n")) for text in labels
        ],
        "range": [len(labels) - 0.5, -0.5],
        "fixedrange": True,
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 6,
        "tickcolor": "rgba(0,0,0,0)",
    }


def label(text: str, *, characters: int = LABEL_CHARACTERS) -> str:
    """``text`` as plotly shows it letter by letter: plotly takes some HTML tags and entities in labels for markup.

    >>> label("<b>fast</b>")
    '&lt;b&gt;fast&lt;/b&gt;'
    """
    text = plain(text)
    if len(text) > characters:
        text = text[: characters - 1] + "…"
    return html.escape(text, quote=False)


def bytes_unit(largest_bytes: float) -> tuple[str, float]:
    """The unit (and its bytes) in which an axis up to ``largest_bytes`` reads best."""
    return _axis_unit(largest_bytes, ("TiB", "GiB", "MiB", "KiB"), BYTES)


def seconds_unit(largest_s: float) -> tuple[str, float]:
    """The unit (and its seconds) in which an axis up to ``largest_s`` reads best."""
    return _axis_unit(largest_s, ("h", "s", "ms", "us"), SECONDS)


def _axis_unit(largest: float, units: Sequence[str], dimension: Dimension) -> tuple[str, float]:
    for unit in units:
        scale = parse_quantity(f"1 {unit}", dimension)
        if largest >= 2 * scale or (unit in ("GiB", "s") and largest >= scale):
            return unit, scale
    return units[-1], parse_quantity(f"1 {units[-1]}", dimension)
