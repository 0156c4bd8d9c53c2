"""The page of a validation: charts that say what their tables say."""

import re
from typing import Any

import pytest

from glmplan.errors import NoData
from glmplan.report.page import figure_json, html_page
from glmplan.report.validation_chart import (
    PointRow,
    coverage_figure,
    error_figure,
    group_rows,
    ranking_figure,
    scatter_figure,
)
from glmplan.report.validation_page import validation_report
from glmplan.validation.accuracy import SweepRanking
from glmplan.validation.case import Skipped
from glmplan.validation.outcome import Outcome
from tests.report.sample_plan import HOSTILE
from tests.validation.records import comparison


def point(error: float, group: str = "a", **changes: Any) -> PointRow:
    values: dict[str, Any] = {"id": "case", "measured": 1.0, "predicted": 1.0 + error, "inside": True}
    return PointRow(group=group, error=error, **(values | changes))


def outcome(name: str = "run") -> Outcome:
    """A sweep of five, a stack that is 50 % off, one doubtful case, one of memory and one skipped."""
    sweep = [
        comparison(f"{name}{i}", measured=1.0 + 0.1 * i, predicted=1.02 + 0.1 * i, sweep=name, labels={"stack": name})
        for i in range(5)
    ]
    far = comparison("far", measured=1.0, predicted=1.5, labels={"stack": "other"})
    doubtful = comparison("doubtful", measured=1.0, predicted=9.0, trusted=False)
    memory = comparison(
        "memory", measured=30.0, predicted=33.0, quantity="peak_memory_gib", tokens_per_s_per_gpu=None, low90=20.0
    )
    return Outcome(compared=(*sweep, far, doubtful, memory), skipped=(Skipped(id="odd", reason=f"not stated: {name}"),))


def test_groups_stand_in_the_order_of_their_error() -> None:
    rows = group_rows([point(0.5, "far"), point(-0.1, "near"), point(0.1, "near")])
    assert [(row.group, row.errors) for row in rows] == [("near", (-0.1, 0.1)), ("far", (0.5,))]


def test_every_point_is_drawn_once_between_the_lines_of_equality_and_a_tenth_off() -> None:
    figure = scatter_figure([point(0.5, "b"), point(0.1), point(-0.1)], unit="GiB")
    markers = [trace for trace in figure.data if trace.mode == "markers"]
    assert [len(trace.x) for trace in markers] == [2, 1]
    assert len(figure.data) == len(markers) + 3
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert "+50.0" in markers[1].hovertext[0]


def test_a_box_a_group_holds_all_of_its_errors_in_percent() -> None:
    figure = error_figure(group_rows([point(0.5, "far"), point(-0.1, "near")]))
    assert [tuple(trace.x) for trace in figure.data] == [(-10.0,), (50.0,)]
    assert [trace.y[0] for trace in figure.data] == [0, 1]


def test_a_bar_well_below_the_promise_stands_out() -> None:
    figure = coverage_figure(["good", "bad"], [0.91, 0.6])
    good, bad = figure.data[0].marker.color
    assert good != bad
    assert figure.layout.shapes[0].x0 == 90


def test_a_sweep_is_a_point_of_correlation_and_regret() -> None:
    sweep = SweepRanking(sweep=HOSTILE, cases=5, spread=1.4, spearman=0.8, regret=0.03)
    trace = ranking_figure([sweep]).data[0]
    assert (trace.x[0], trace.y[0]) == (0.8, pytest.approx(3.0))


def test_the_page_counts_trusted_cases_only_and_says_so() -> None:
    report = validation_report(outcome())
    summary = report.sections[0]
    assert summary.slug == "recommendation"  # where the page's skip link leads
    assert "1 doubtful comparison" in " ".join(summary.paragraphs)
    assert [tile.name for tile in summary.tiles] == [
        "Step time: mean absolute error",
        "Peak memory: mean absolute error",
    ]
    cells = [
        cell for section in report.sections for chart in section.charts for row in chart.table.rows for cell in row
    ]
    assert "far" in cells
    assert "doubtful" not in cells


def test_every_chart_has_its_numbers_and_every_part_its_section() -> None:
    report = validation_report(outcome())
    slugs = [section.slug for section in report.sections]
    assert slugs == [
        "recommendation",
        "speed-section",
        "groups",
        "ranking-section",
        "memory-section",
        "intervals",
        "skipped",
    ]
    charts = [chart for section in report.sections for chart in section.charts]
    assert len({chart.slug for chart in charts}) == len(charts)
    assert all(chart.table.rows for chart in charts)
    assert all(len(row) == len(chart.table.headers) for chart in charts for row in chart.table.rows)


def test_cases_without_sweeps_or_memory_leave_those_sections_out() -> None:
    alone = Outcome(compared=(comparison("a", measured=1.0, predicted=1.1),), skipped=())
    assert [section.slug for section in validation_report(alone).sections] == [
        "recommendation",
        "speed-section",
        "groups",
        "intervals",
    ]


def test_nothing_predicted_is_no_data() -> None:
    with pytest.raises(NoData, match="none of the 1 cases"):
        validation_report(Outcome(compared=(), skipped=(Skipped(id="odd", reason="r"),)))


def test_hostile_names_stay_text_in_page_and_figures() -> None:
    report = validation_report(outcome(HOSTILE))
    for section in report.sections:
        for chart in section.charts:
            assert "</script" not in str(figure_json(chart.figure))
            assert "<img" not in str(figure_json(chart.figure))
    page = html_page(report)
    body = page[page.index("<body>") : page.index("<script>")]
    assert "<img" not in body
    assert len(re.findall("<figure>", page)) == sum(len(section.charts) for section in report.sections)


def test_the_same_outcome_gives_the_same_page() -> None:
    assert html_page(validation_report(outcome())) == html_page(validation_report(outcome()))
