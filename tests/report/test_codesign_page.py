"""The co-design page says what the front says."""

from glmplan.report.codesign_chart import design_figure, design_rows, shown_goals
from glmplan.report.codesign_page import codesign_report
from glmplan.report.page import html_page
from glmplan.search.codesign import CodesignOptions, CodesignResult, search_designs
from glmplan.search.codesign_request import Goal, request_of
from tests.search.test_codesign import REQUEST, Landscape


def front() -> CodesignResult:
    request = request_of(REQUEST)
    return search_designs(request, CodesignOptions(evaluations=20), evaluator=Landscape(request))


def test_every_design_of_the_front_is_a_point_of_its_cluster() -> None:
    result = front()
    rows = design_rows(result)
    assert shown_goals(result) == (Goal.DAYS, Goal.USD)
    assert [(row.x, row.y) for row in rows] == [(p.goals[Goal.DAYS], p.goals[Goal.USD]) for _, p in result.front]
    figure = design_figure(rows, shown_goals(result))
    assert sum(len(trace.x) for trace in figure.data) == len(rows)
    assert {trace.name for trace in figure.data} == {row.cluster for row in rows}


def test_the_page_names_the_best_of_each_goal_and_is_always_the_same() -> None:
    result = front()
    page = html_page(codesign_report(result))
    assert page == html_page(codesign_report(result))
    assert "Least: Energy, kWh" in page
    assert "Energy is an estimate" in page
    assert "others may be better still" in page
