"""Charts and pages of sensitivity and scaling."""

from pathlib import Path

import pytest

from glmplan.errors import InputError
from glmplan.report.markdown import markdown_page
from glmplan.report.page import html_page
from glmplan.report.scaling_chart import efficiency_figure, scaling_chart_rows, throughput_figure
from glmplan.report.study_page import scaling_report, sensitivity_report, write_study
from glmplan.report.tornado_chart import SHOWN_FIGURES, tornado_figure, tornado_rows
from glmplan.search.scaling import Point, ScalingCurve
from glmplan.search.sensitivity import Sensitivity, SensitivityStudy
from glmplan.search.upgrades import Upgrade
from tests.report.sample_plan import sample_plan

BASE = sample_plan().chosen


def figure(name: str, low: float | None, high: float | None) -> Sensitivity:
    tokens_per_s = BASE.estimate.tokens_per_s
    return Sensitivity(
        name=name,
        meaning="a figure",
        value=1.0,
        unit="",
        throughput_elasticity=0.1,
        cost_elasticity=-0.1,
        low_tokens_per_s=None if low is None else tokens_per_s * (1 + low),
        high_tokens_per_s=None if high is None else tokens_per_s * (1 + high),
        replanned=False,
    )


def study(*rows: Sensitivity) -> SensitivityStudy:
    return SensitivityStudy(layout=BASE.layout, estimate=BASE.estimate, swing_fraction=0.2, rows=rows)


def curve() -> ScalingCurve:
    points = [
        Point(num_gpus=1024, global_batch=1536, option=BASE, obstacle=""),
        Point(num_gpus=2048, global_batch=1536, option=BASE, obstacle=""),
        Point(num_gpus=4096, global_batch=1536, option=None, obstacle="plan: nothing fits"),
    ]
    return ScalingCurve(mode="strong", points=tuple(points))


UPGRADE = Upgrade(
    name="twice the network cards", before="8", after="16", option=BASE, gain_fraction=0.1, usd_per_device_hour=0.2
)


def test_the_widest_swing_is_on_top_and_what_moves_nothing_is_left_out() -> None:
    rows = tornado_rows(study(figure("narrow", -0.1, 0.1), figure("still", 0.0, 0.0), figure("wide", -0.3, 0.1)))
    assert [row.name for row in rows] == ["wide", "narrow"]
    assert rows[0].low_fraction == pytest.approx(-0.3)
    many = tornado_rows(study(*(figure(f"f{index}", -0.01 * index, 0.0) for index in range(1, 30))))
    assert len(many) == SHOWN_FIGURES


def test_a_swing_that_leaves_nothing_is_no_bar_but_is_told() -> None:
    drawn = tornado_figure(tornado_rows(study(figure("memory", None, 0.2))), 0.2)
    assert list(drawn.data[0].x) == [0.0]
    assert drawn.data[0].hovertext[0].endswith("nothing fits")


def test_points_that_do_not_fit_are_not_drawn() -> None:
    rows = scaling_chart_rows((curve(),))
    assert [row.num_gpus for row in rows] == [1024, 2048]
    assert rows[1].efficiency == pytest.approx(0.5)
    assert rows[1].ideal_tokens_per_s == pytest.approx(2 * rows[0].tokens_per_s)
    assert rows[0].low90_tokens_per_s < rows[0].tokens_per_s < rows[0].high90_tokens_per_s
    assert list(throughput_figure(rows).data[1].x) == [1024, 2048]
    assert list(efficiency_figure(rows).data[0].y) == pytest.approx([100.0, 50.0])


def test_pages_hold_charts_and_tables_and_are_the_same_each_time() -> None:
    plan = sample_plan()
    report = sensitivity_report(plan, study(figure("device.<b>", -0.2, 0.1)), BASE, [UPGRADE])
    text = html_page(report)
    assert text == html_page(report)
    assert "device.<b>" not in text
    assert "twice the network cards" in text
    assert "nothing fits" in html_page(scaling_report(plan.request, (curve(),)))
    assert "| 4,096 |" in markdown_page(scaling_report(plan.request, (curve(),)))


def test_a_page_never_replaces_a_foreign_file(tmp_path: Path) -> None:
    report = scaling_report(sample_plan().request, (curve(),))
    path = tmp_path / "page.html"
    write_study(report, path)
    write_study(report, path)
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="was not made by glmplan"):
        write_study(report, path)
    write_study(report, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith("<!-- generator: glmplan")
