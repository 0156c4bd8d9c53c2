"""The page of a validation: every prediction beside its measurement, as charts with the tables behind them."""

from collections.abc import Sequence
from pathlib import Path

from glmplan import __version__
from glmplan.documents import write_text
from glmplan.errors import NoData
from glmplan.report import page
from glmplan.report.content import Chart, Report, Section, Table, Tile
from glmplan.report.publication import refuse_foreign
from glmplan.report.validation_chart import (
    PointRow,
    coverage_figure,
    error_figure,
    group_rows,
    ranking_figure,
    scatter_figure,
)
from glmplan.report.wording import counted, percent, signed_percent
from glmplan.validation.accuracy import Accuracy, SweepRanking, accuracy, rankings
from glmplan.validation.comparison import Comparison
from glmplan.validation.outcome import Outcome

_WORST = 20
_COUNTED = {"allocated": "allocated by the framework", "reserved": "reserved", "device": "taken of the device"}


def validation_report(outcome: Outcome) -> Report:
    """The report of ``outcome``. Raises NoData where nothing could be predicted."""
    trusted = [item for item in outcome.compared if item.membership.trusted] or list(outcome.compared)
    if not trusted:
        raise NoData(f"validate: none of the {len(outcome.skipped)} cases can be predicted; there is nothing to chart")
    times = [item for item in trusted if not item.is_memory]
    memory = [item for item in trusted if item.is_memory]
    sections = [_summary_section(outcome, times, memory)]
    if times:
        sections += [_speed_section(times), _groups_section(times)]
        sections += _ranking_sections(rankings(times))
    if memory:
        sections.append(_memory_section(outcome, memory))
    sections.append(_interval_section(times, memory))
    if outcome.skipped:
        sections.append(_skipped_section(outcome))
    return Report(
        title="Predicted against measured",
        subtitle=f"{counted(len(outcome.compared), 'comparison')} of cost model and measurements",
        generator=f"glmplan {__version__}",
        sections=tuple(sections),
    )


def write_validation_page(outcome: Outcome, output: Path) -> None:
    """Writes the page atomically. Raises InputError when ``output`` exists and is not a page of ours."""
    refuse_foreign(output)
    write_text(output, page.html_page(validation_report(outcome)))


def _summary_section(outcome: Outcome, times: Sequence[Comparison], memory: Sequence[Comparison]) -> Section:
    tiles = []
    for name, items in (("Step time", times), ("Peak memory", memory)):
        if items:
            found = accuracy(items)
            tiles.append(
                Tile(
                    name=f"{name}: mean absolute error",
                    value=percent(found.mape),
                    detail=f"median {percent(found.median)}, bias {signed_percent(found.bias)}, "
                    f"{counted(found.configurations, 'configuration')}"
                    + ("" if found.coverage is None else f"; {percent(found.coverage, digits=0)} inside the interval"),
                )
            )
    doubtful = len(outcome.compared) - len(times) - len(memory)
    paragraphs = [
        "Every case is predicted from its inputs alone, with the software presets as they ship; averages count re-runs "
        "of one configuration once. Errors below 0 are too fast, or too little memory."
    ]
    if doubtful:
        paragraphs.append(
            f"{counted(doubtful, 'doubtful comparison')} (wrong at the source, or of low trust) are left out."
        )
    return Section(slug="recommendation", title="Summary", paragraphs=tuple(paragraphs), tiles=tuple(tiles))


def _speed_section(times: Sequence[Comparison]) -> Section:
    points = [
        _point(item, group=item.membership.labels["device"], measured=speed[0], predicted=speed[1])
        for item in times
        if (speed := item.tokens_per_s_per_gpu) is not None
    ]
    chart = Chart(
        slug="speed",
        title="Tokens per second and device, predicted over measured",
        figure=scatter_figure(points, unit="tokens/s per device"),
        table=_points_table("Speed of every case", points, unit="tokens/s per device"),
    )
    return Section(
        slug="speed-section",
        title="Speed",
        paragraphs=("A point a case, by device. On the solid line both agree; the dashed ones are 10 % off.",),
        charts=(chart,),
        tables=(_worst_table(points),),
    )


def _groups_section(times: Sequence[Comparison]) -> Section:
    charts = []
    for slug, by in (("errors-stack", "stack"), ("errors-device", "device"), ("errors-technique", "technique")):
        points = [_point(item, group=item.membership.labels[by]) for item in times]
        rows = group_rows(points)
        charts.append(
            Chart(
                slug=slug,
                title=f"Error of the step time by {by}",
                figure=error_figure(rows),
                table=_groups_table(f"By {by}", times, by),
            )
        )
    text = "The box holds the middle half of a group, the line in it is the median; points are outliers."
    return Section(slug="groups", title="Errors by group", paragraphs=(text,), charts=tuple(charts))


def _ranking_sections(sweeps: Sequence[SweepRanking]) -> list[Section]:
    telling = [sweep for sweep in sweeps if sweep.tells]
    if not telling:
        return []
    ordered = sorted(telling, key=lambda sweep: (-sweep.regret, sweep.spearman, sweep.sweep))
    table = Table(
        caption="Sweeps, the largest regret first",
        headers=("Sweep", "Runs", "Fastest over slowest", "Rank correlation", "Regret"),
        rows=tuple((s.sweep, str(s.cases), f"{s.spread:.2f}", f"{s.spearman:.2f}", percent(s.regret)) for s in ordered),
        numeric=(1, 2, 3, 4),
    )
    chart = Chart(
        slug="ranking", title="Regret and rank correlation of each sweep", figure=ranking_figure(ordered), table=table
    )
    mean = sum(sweep.regret for sweep in telling) / len(telling)
    text = (
        f"{counted(len(telling), 'sweep')} of one source, model and number of devices whose fastest run beats the "
        f"slowest by more than 7 %. Regret is what the layout that is predicted fastest loses to the one measured "
        f"fastest: {percent(mean)} on average, {percent(ordered[0].regret)} at worst."
    )
    return [Section(slug="ranking-section", title="Choosing layouts", paragraphs=(text,), charts=(chart,))]


def _memory_section(outcome: Outcome, memory: Sequence[Comparison]) -> Section:
    counting = {case.id: _COUNTED[case.memory.kind] for case in outcome.inputs if case.memory is not None}
    points = [
        _point(item, group=counting.get(item.id, "peak"), measured=item.measured, predicted=item.predicted)
        for item in memory
    ]
    chart = Chart(
        slug="memory",
        title="Peak memory, predicted over measured",
        figure=scatter_figure(points, unit="GiB"),
        table=_points_table("Peak memory of every case", points, unit="GiB"),
    )
    text = "By how the source counts: what tensors take, what the allocator holds, or all that is taken of the device."
    return Section(slug="memory-section", title="Memory", paragraphs=(text,), charts=(chart,))


def _interval_section(times: Sequence[Comparison], memory: Sequence[Comparison]) -> Section:
    names, shares, rows = [], [], []
    for topic, items in (("step time", times), ("memory", memory)):
        for by in ("grade", "stack"):
            for group in sorted({item.membership.labels[by] for item in items}):
                found = accuracy([item for item in items if item.membership.labels[by] == group])
                if found.coverage is not None:
                    names.append(f"{topic}\n{group}")
                    shares.append(found.coverage)
                    rows.append((topic, by, group, str(found.configurations), percent(found.coverage)))
    table = Table(
        caption="Share of configurations inside the 90 % interval",
        headers=("Of", "By", "Group", "Configurations", "Inside"),
        rows=tuple(rows),
        numeric=(3, 4),
    )
    chart = Chart(
        slug="coverage",
        title="How often the 90 % intervals hold, by grade and by stack",
        figure=coverage_figure(names, shares),
        table=table,
    )
    text = (
        "The intervals are those that plans print. They are made from held-out residuals of all published runs of a "
        "grade, so that they hold for nine of ten over all; a single stack may lie apart."
    )
    return Section(slug="intervals", title="Error bars", paragraphs=(text,), charts=(chart,))


def _skipped_section(outcome: Outcome) -> Section:
    reasons: dict[str, list[str]] = {}
    for item in outcome.skipped:
        reasons.setdefault(item.reason, []).append(item.id)
    rows = [(str(len(ids)), reason, ids[0]) for reason, ids in sorted(reasons.items(), key=lambda e: -len(e[1]))]
    table = Table(caption="Skipped", headers=("Cases", "Reason", "Such as"), rows=tuple(rows), numeric=(0,))
    text = f"{counted(len(outcome.skipped), 'case')} cannot be predicted; none is dropped without a reason."
    return Section(slug="skipped", title="What was skipped", paragraphs=(text,), tables=(table,))


def _point(item: Comparison, *, group: str, measured: float | None = None, predicted: float | None = None) -> PointRow:
    bounded = item.low90 is not None and item.high90 is not None
    return PointRow(
        id=item.id,
        group=group,
        measured=item.measured if measured is None else measured,
        predicted=item.predicted if predicted is None else predicted,
        error=item.error,
        inside=item.low90 <= item.measured <= item.high90 if bounded else None,  # type: ignore[operator]
    )


def _points_table(caption: str, points: Sequence[PointRow], *, unit: str) -> Table:
    inside = {True: "yes", False: "no", None: "-"}
    return Table(
        caption=caption,
        headers=("Case", "Group", f"Measured, {unit}", f"Predicted, {unit}", "Error", "In 90 %"),
        rows=tuple(
            (p.id, p.group, f"{p.measured:.5g}", f"{p.predicted:.5g}", signed_percent(p.error), inside[p.inside])
            for p in points
        ),
        numeric=(2, 3, 4),
    )


def _worst_table(points: Sequence[PointRow]) -> Table:
    worst = sorted(points, key=lambda point: (-abs(point.error), point.id))[:_WORST]
    return _points_table("The largest errors", worst, unit="tokens/s per device")


def _groups_table(caption: str, times: Sequence[Comparison], by: str) -> Table:
    groups = {
        name: accuracy([item for item in times if item.membership.labels[by] == name])
        for name in sorted({item.membership.labels[by] for item in times})
    }
    return Table(
        caption=caption,
        headers=("Group", "Cases", "Configurations", "Mean", "Median", "90th percentile", "Bias", "In 90 %", "Worst"),
        rows=tuple(_group_cells(name, found) for name, found in groups.items()),
        numeric=(1, 2, 3, 4, 5, 6, 7),
    )


def _group_cells(name: str, found: Accuracy) -> tuple[str, ...]:
    worst, error = found.worst[0]
    return (
        name,
        str(found.cases),
        str(found.configurations),
        percent(found.mape),
        percent(found.median),
        percent(found.p90),
        signed_percent(found.bias),
        "-" if found.coverage is None else percent(found.coverage, digits=0),
        f"{worst} ({signed_percent(error)})",
    )
