import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.cost.estimate import MemoryBreakdown, TimeBreakdown
from glmplan.plan.document import Plan
from glmplan.report import (
    accuracy_chart,
    chart_style,
    layouts_chart,
    loss_chart,
    memory_chart,
    pareto_chart,
    time_chart,
)
from glmplan.report.comparison import accuracy_rows
from glmplan.report.page import figure_json
from glmplan.report.run_folder import LoggedStep, Run
from tests.report.sample_plan import CAPACITY_BYTES, GIB, HOSTILE, sample_measurement, sample_plan


def sample_run(plan: Plan, *, name: str = "first", steps: int = 5) -> Run:
    logged = tuple(LoggedStep(step=step, loss=10.0 / (step + 1)) for step in range(steps))
    measurement = sample_measurement(plan, plan.chosen, step_time_s=8.0, peak_memory_gib=40.0)
    return Run(name=name, steps=logged, measurement=measurement)


def test_memory_rows_sum_to_the_peak_and_each_starts_where_the_one_before_ends() -> None:
    plan = sample_plan()
    rows = memory_chart.memory_rows(plan)
    assert len(rows) == len(MemoryBreakdown.model_fields)
    assert sum(row.value_bytes for row in rows) == pytest.approx(plan.chosen.estimate.peak_memory_bytes)
    for before, after in itertools.pairwise(rows):
        assert after.start_bytes == pytest.approx(before.start_bytes + before.value_bytes)
    activations = next(row for row in rows if row.name == "Activations")
    assert activations.value_bytes == 18.5 * GIB
    assert activations.share_fraction == pytest.approx(18.5 / 80)


def test_memory_table_states_what_stays_free_also_when_nothing_does() -> None:
    rows = memory_chart.memory_rows(sample_plan())
    fits = memory_chart.memory_table(rows, capacity_bytes=CAPACITY_BYTES, peak_bytes=44.3 * GIB, bar="a to b")
    assert ("90 % interval", "a to b", "") in fits.rows
    assert ("Free", "35.7 GiB", "44.6\N{NO-BREAK SPACE}%") in fits.rows
    over = memory_chart.memory_table(rows, capacity_bytes=40 * GIB, peak_bytes=50 * GIB, bar="")
    assert ("Free", "-10 GiB", "-25.0\N{NO-BREAK SPACE}%") in over.rows


def test_memory_figure_draws_the_capacity_and_the_limit() -> None:
    rows = memory_chart.memory_rows(sample_plan())
    bounds = 40 * GIB, 90 * GIB
    figure = memory_chart.memory_figure(rows, capacity_bytes=CAPACITY_BYTES, margin_fraction=0.05, bounds_bytes=bounds)
    bar, peak = figure.data[0].error_x, figure.data[0].x[-1]
    assert (peak - bar.arrayminus[-1], peak + bar.array[-1]) == pytest.approx((40, 90))
    assert figure.layout.xaxis.range[1] > 90
    assert [shape.x0 for shape in figure.layout.shapes] == [80.0, 76.0]
    assert sum(figure.data[0].x[:-1]) == pytest.approx(figure.data[0].x[-1])


def test_time_rows_hold_every_part_once_and_sum_to_the_step() -> None:
    plan = sample_plan()
    rows = time_chart.time_rows(plan)
    assert {field for field, _, _ in time_chart.PARTS} == set(TimeBreakdown.model_fields)
    assert sum(row.value_s for row in rows) == pytest.approx(plan.chosen.estimate.step_time_s)
    assert sum(row.share_fraction for row in rows) == pytest.approx(1.0)


def test_time_figure_draws_only_parts_that_take_time() -> None:
    figure = time_chart.time_figure(time_chart.time_rows(sample_plan()))
    assert "Expert parallel" not in figure.layout.yaxis.ticktext
    assert sum(len(trace.y) for trace in figure.data) == len(figure.layout.yaxis.ticktext) == 9


def test_layout_rows_sum_to_each_layouts_step() -> None:
    plan = sample_plan()
    rows = layouts_chart.layout_rows(plan)
    for rank, option in enumerate((plan.chosen, *plan.alternatives), start=1):
        total = sum(row.value_s for row in rows if row.rank == rank)
        assert total == pytest.approx(option.estimate.step_time_s)
    assert {(row.low90_s, row.high90_s) for row in rows if row.rank == 1} == {
        (plan.chosen.estimate.step_time_low90_s, plan.chosen.estimate.step_time_high90_s)
    }
    bar = layouts_chart.layout_figure(rows).data[-1]
    assert bar.x[0] + bar.error_x.array[0] == pytest.approx(plan.chosen.estimate.step_time_high90_s)


def test_the_front_is_the_layouts_that_no_other_beats() -> None:
    rows = pareto_chart.pareto_rows(sample_plan())
    assert [row.rank for row in rows if row.on_front] == [1, 2, 4]


points = st.tuples(st.integers(1, 6), st.integers(1, 6))


@settings(deadline=None, max_examples=60)
@given(st.lists(points, min_size=1, max_size=8))
def test_every_layout_off_the_front_is_beaten_by_one_on_it(pairs: list[tuple[int, int]]) -> None:
    plan = sample_plan()
    options = [
        plan.chosen.model_copy(
            update={
                "estimate": plan.chosen.estimate.model_copy(update={"step_time_s": time, "peak_memory_bytes": memory})
            }
        )
        for time, memory in pairs
    ]
    rows = pareto_chart.pareto_rows(plan.model_copy(update={"chosen": options[0], "alternatives": tuple(options[1:])}))
    front = [row for row in rows if row.on_front]
    assert front
    for row in rows:
        beaten = any(
            other.step_time_s <= row.step_time_s
            and other.peak_memory_bytes <= row.peak_memory_bytes
            and (other.step_time_s, other.peak_memory_bytes) != (row.step_time_s, row.peak_memory_bytes)
            for other in front
        )
        assert beaten != row.on_front


def test_loss_rows_of_a_long_run_keep_the_first_and_the_last_step() -> None:
    rows = loss_chart.loss_rows((sample_run(sample_plan(), steps=5001),), max_points=100)
    assert len(rows) == 100
    assert (rows[0].step, rows[-1].step) == (0, 5000)


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(2, 60))
def test_evenly_spaced_indices_are_distinct_and_span_the_sequence(length: int, count: int) -> None:
    indices = loss_chart.evenly_spaced(length, count)
    assert len(indices) == min(length, count)
    assert indices == sorted(set(indices))
    if length:
        assert (indices[0], indices[-1]) == (0, length - 1)


def all_figures(plan: Plan) -> dict[str, Any]:
    runs = (sample_run(plan), sample_run(plan, name=HOSTILE, steps=1))
    memory = memory_chart.memory_figure(
        memory_chart.memory_rows(plan),
        capacity_bytes=CAPACITY_BYTES,
        margin_fraction=0.05,
        bounds_bytes=(40 * GIB, 50 * GIB),
    )
    return {
        "memory": memory,
        "time": time_chart.time_figure(time_chart.time_rows(plan)),
        "layouts": layouts_chart.layout_figure(layouts_chart.layout_rows(plan)),
        "pareto": pareto_chart.pareto_figure(pareto_chart.pareto_rows(plan)),
        "accuracy": accuracy_chart.accuracy_figure(accuracy_rows(plan, runs)),
        "loss": loss_chart.loss_figure(loss_chart.loss_rows(runs)),
    }


def test_figures_carry_no_markup_from_names_and_cannot_end_their_script_element() -> None:
    figures = all_figures(sample_plan(HOSTILE, device=HOSTILE))
    for figure in figures.values():
        text = figure_json(figure)
        assert not set("<>&\u2028\u2029") & set(text)
        shown = json.dumps(json.loads(text), ensure_ascii=False).replace("<br>", "")
        assert "<" not in shown
    # The name is shown letter by letter: plotly turns the entities into the characters they stand for.
    assert "&lt;/script&gt;" in json.loads(figure_json(figures["loss"]))["data"][1]["name"]


@pytest.mark.parametrize("slug", ["memory", "time", "layouts", "pareto", "accuracy", "loss"])
def test_figures_do_not_catch_the_scrolling_finger(slug: str) -> None:
    figure = all_figures(sample_plan())[slug]
    assert figure.layout.dragmode is False
    assert figure.layout.xaxis.fixedrange and figure.layout.yaxis.fixedrange
    assert figure.layout.height > 100


@pytest.mark.parametrize(
    ("unit", "largest", "name"),
    [
        (chart_style.bytes_unit, 80 * GIB, "GiB"),
        (chart_style.bytes_unit, 1.0 * GIB, "GiB"),
        (chart_style.bytes_unit, 0.0, "KiB"),
        (chart_style.seconds_unit, 0.2, "ms"),
        (chart_style.seconds_unit, 60.0, "s"),
        (chart_style.seconds_unit, 0.0, "us"),
    ],
)
def test_axes_use_the_unit_that_reads_best(
    unit: Callable[[float], tuple[str, float]], largest: float, name: str
) -> None:
    assert unit(largest)[0] == name


def test_a_long_label_is_cut_before_it_is_escaped() -> None:
    assert chart_style.label("&" * 100, characters=5) == "&amp;" * 4 + "…"
