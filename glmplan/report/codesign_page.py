"""The co-design front as a report: what each goal's best design is, the chart, the table, the notes."""

from glmplan import __version__
from glmplan.report.codesign_chart import AXIS_TITLES, design_figure, design_rows, design_table, shown_goals
from glmplan.report.content import Chart, Report, Section, Tile
from glmplan.search.codesign import CodesignResult
from glmplan.search.codesign_request import Goal
from glmplan.search.codesign_space import CodesignSpace
from glmplan.search.codesign_text import notes


def codesign_report(result: CodesignResult) -> Report:
    """The report of ``result``; the same result gives the same report."""
    request = result.request
    goals = shown_goals(result)
    chart = Chart(
        slug="front-chart",
        title=f"{AXIS_TITLES[goals[0]]} against {AXIS_TITLES[goals[1]].lower()}",
        figure=design_figure(design_rows(result), goals),
        table=design_table(result),
    )
    return Report(
        title=f"Co-design for {request.model}",
        subtitle=f"{request.tokens:.4g} tokens at sequence length {request.seq_len:,}",
        generator=f"glmplan {__version__}",
        sections=(
            Section(
                slug="recommendation",
                title="The best in each goal",
                paragraphs=(
                    f"{len(result.front)} designs are beaten by no other in every goal; which of them is right depends"
                    " on what a day, a dollar and a kilowatt-hour are worth.",
                ),
                tiles=_tiles(result),
            ),
            Section(slug="front", title="The front", charts=(chart,)),
            Section(slug="notes", title="What the figures rest on", paragraphs=tuple(notes(result))),
        ),
    )


def _tiles(result: CodesignResult) -> tuple[Tile, ...]:
    space = CodesignSpace(request=result.request)
    tiles = []
    for goal in result.request.goals:
        index, planned = min(result.front, key=lambda member: member[1].goals[goal])
        design = space.design(index)
        tiles.append(
            Tile(
                name=f"Least: {AXIS_TITLES[goal]}",
                value=_value(goal, planned.goals[goal]),
                detail=f"{design.gpus} GPUs of {design.cluster}, {design.precision}, batch {design.global_batch}",
            )
        )
    return tuple(tiles)


def _value(goal: Goal, value: float) -> str:
    return f"{value:,.1f}" if goal is Goal.DAYS else f"{value:,.0f}"
