"""Puts a report together: which sections a plan and its runs give, in reading order."""

from glmplan import __version__
from glmplan.plan.document import Plan
from glmplan.plan.error_bars import memory_bar
from glmplan.plan.part_names import GRADE_SENTENCES
from glmplan.report.accuracy_chart import accuracy_figure, accuracy_table
from glmplan.report.comparison import AccuracyRow, accuracy_rows, match_run
from glmplan.report.content import Chart, Report, Section
from glmplan.report.headline import headline_sentences, headline_tiles
from glmplan.report.layouts_chart import SHOWN_LAYOUTS, layout_figure, layout_rows, layout_time_table
from glmplan.report.loss_chart import loss_figure, loss_rows, loss_table
from glmplan.report.memory_chart import memory_figure, memory_rows, memory_table
from glmplan.report.pareto_chart import pareto_figure, pareto_rows, pareto_table
from glmplan.report.reproduction import plan_command
from glmplan.report.run_folder import Run
from glmplan.report.tables import (
    assumptions_table,
    job_table,
    layout_table,
    layouts_table,
    profiles_table,
    rejected_table,
    runs_table,
)
from glmplan.report.time_chart import time_figure, time_rows, time_table
from glmplan.report.wording import counted, percent, share
from glmplan.units import format_bytes, format_seconds

_TOLERANCE = 0.01
"""Parts may miss their whole by this fraction before the report says so."""


def make_report(plan: Plan, runs: tuple[Run, ...] = ()) -> Report:
    """The report of ``plan``, and of ``runs`` of it. The same input gives the same report."""
    measured = (_measured_section(plan, runs), *_loss_sections(runs)) if runs else ()
    return Report(
        title=f"{plan.request.job.architecture.name} on {plan.request.num_gpus:,} × {plan.cluster.device}",
        subtitle=f"Training plan for {plan.cluster.name}, software stack {plan.request.stack}",
        generator=f"glmplan {__version__}",
        sections=(
            _recommendation_section(plan),
            _reasons_section(plan),
            _memory_section(plan),
            _time_section(plan),
            _layouts_section(plan),
            _pareto_section(plan),
            *measured,
            _rejected_section(plan),
            _assumptions_section(plan),
            _provenance_section(plan),
        ),
    )


def _recommendation_section(plan: Plan) -> Section:
    return Section(
        slug="recommendation",
        title="Recommendation",
        paragraphs=headline_sentences(plan),
        tiles=headline_tiles(plan),
        tables=(job_table(plan), layout_table(plan)),
    )


def _reasons_section(plan: Plan) -> Section:
    # The headline has already said how the prediction is graded.
    sentences = [text for text in plan.explanation if text != GRADE_SENTENCES[plan.chosen.estimate.grade]]
    if not sentences or not plan.search.optimal:
        sentences.append(_search_sentence(plan))
    return Section(slug="why", title="Why this layout", paragraphs=tuple(sentences))


def _search_sentence(plan: Plan) -> str:
    search = plan.search
    if search.considered <= 1:
        return "This layout was given, not searched for: other layouts may be better."
    goal = {"time": "the shortest step", "memory": "the least memory"}[plan.request.objective]
    looked = (
        f"The search looked for {goal}. It considered {counted(search.considered, 'layout')}, "
        f"of which {search.feasible:,} could run."
    )
    if search.pruned:
        looked += f" {sum(search.pruned.values()):,} more are ruled out by proof."
    if search.optimal:
        return f"{looked} No legal layout of this space is predicted to be better."
    bound = f", by at most {percent(search.gap)}" if search.gap else ""
    return f"{looked} A better layout may exist{bound}."


def _memory_section(plan: Plan) -> Section:
    estimate, rows = plan.chosen.estimate, memory_rows(plan)
    largest = max(rows, key=lambda row: row.value_bytes)
    capacity, peak = estimate.memory_capacity_bytes, estimate.peak_memory_bytes
    paragraphs = [
        f"The fullest device peaks at {format_bytes(peak)} (90 % interval {memory_bar(estimate)}) of "
        f"{format_bytes(capacity)}: the layout {estimate.memory_verdict}. The largest part is {largest.name.lower()}, "
        f"{format_bytes(largest.value_bytes)}.",
        "The solid line is what the device has, the dotted one what the asked-for margin leaves; the bar on the peak "
        "is its 90 % interval.",
    ]
    paragraphs += _whole(sum(row.value_bytes for row in rows), peak, format_bytes(peak))
    chart = Chart(
        slug="memory",
        title="Memory of the fullest device, part by part",
        figure=memory_figure(
            rows,
            capacity_bytes=capacity,
            margin_fraction=plan.request.memory_margin,
            bounds_bytes=(estimate.peak_memory_low90_bytes, estimate.peak_memory_high90_bytes),
        ),
        table=memory_table(rows, capacity_bytes=capacity, peak_bytes=peak, bar=memory_bar(estimate)),
    )
    return Section(slug="memory-section", title="Memory", paragraphs=tuple(paragraphs), charts=(chart,))


def _time_section(plan: Plan) -> Section:
    estimate, rows = plan.chosen.estimate, time_rows(plan)
    largest = max(rows, key=lambda row: row.value_s)
    paragraphs = [
        f"On the slowest rank, {percent(largest.share_fraction)} of the step is {largest.name.lower()}. "
        "Communication counts as far as no computation hides it."
    ]
    total, step_s = sum(row.value_s for row in rows), estimate.step_time_s
    paragraphs += _whole(total, step_s, format_seconds(step_s))
    chart = Chart(
        slug="time",
        title="Time of one step, part by part",
        figure=time_figure(rows),
        table=time_table(rows, step_time_s=step_s),
    )
    return Section(slug="time-section", title="Step time", paragraphs=tuple(paragraphs), charts=(chart,))


def _whole(total: float, whole: float, text: str) -> list[str]:
    """A warning where a plan's parts do not add up to its whole."""
    if abs(total - whole) <= _TOLERANCE * abs(whole):
        return []
    return [f"Mind: the parts add up to {percent(share(total, whole))} of the {text} that the plan states."]


def _layouts_section(plan: Plan) -> Section:
    rows = layout_rows(plan)
    chart = Chart(
        slug="layouts",
        title="Step time of the best layouts, by kind of work",
        figure=layout_figure(rows),
        table=layout_time_table(rows),
    )
    kept = 1 + len(plan.alternatives)
    sentence = f"The plan keeps {counted(kept, 'layout')}; number 1 is the chosen one."
    if kept > SHOWN_LAYOUTS:
        sentence += f" The chart shows the best {SHOWN_LAYOUTS}."
    return Section(
        slug="layouts-section",
        title="Best layouts",
        paragraphs=(sentence,),
        charts=(chart,),
        tables=(layouts_table(plan),),
    )


def _pareto_section(plan: Plan) -> Section:
    rows = pareto_rows(plan)
    chart = Chart(slug="pareto", title="Step time against memory", figure=pareto_figure(rows), table=pareto_table(rows))
    text = (
        "Lower and further left is better. Only the layouts that the plan kept are shown, "
        "so the front is that of these, not of every legal layout."
    )
    return Section(slug="pareto-section", title="Time or memory", paragraphs=(text,), charts=(chart,))


def _measured_section(plan: Plan, runs: tuple[Run, ...]) -> Section:
    rows = accuracy_rows(plan, runs)
    paragraphs = [*_accuracy_sentences(rows)]
    for run in runs:
        match = match_run(plan, run)
        if match.option is None:
            paragraphs.append(f"{run.name} is not compared with a prediction: {match.reason}.")
    charts: tuple[Chart, ...] = ()
    if rows:
        title = "Relative error of the predictions"
        charts = (Chart(slug="accuracy", title=title, figure=accuracy_figure(rows), table=accuracy_table(rows)),)
    return Section(
        slug="measured",
        title="Predicted against measured",
        paragraphs=tuple(paragraphs),
        charts=charts,
        tables=(runs_table(plan, runs),),
    )


def _accuracy_sentences(rows: list[AccuracyRow]) -> list[str]:
    times = [row for row in rows if row.quantity == "step_time_s"]
    sentences = []
    if times:
        mean = sum(abs(row.relative_error) for row in times) / len(times)
        inside = sum(row.inside is True for row in times)
        sentences.append(
            f"Step time was predicted with a mean absolute error of {percent(mean)} over {counted(len(times), 'run')}; "
            f"{inside} of {len(times)} lay inside the 90 % interval."
        )
    if any(row.quantity == "peak_allocated_bytes" for row in rows):
        sentences.append(
            "Memory is compared as allocated bytes: without the reserve of the device context and the allocator."
        )
    return sentences


def _loss_sections(runs: tuple[Run, ...]) -> tuple[Section, ...]:
    rows = loss_rows(runs)
    if not rows:
        return ()
    chart = Chart(slug="loss", title="Training loss over steps", figure=loss_figure(rows), table=loss_table(rows))
    return (Section(slug="loss-section", title="Training loss", charts=(chart,)),)


def _rejected_section(plan: Plan) -> Section:
    total = sum(plan.search.rejected.values())
    if not total:
        return Section(slug="rejected", title="What was rejected", paragraphs=("No layout was rejected.",))
    sentence = f"{counted(total, 'rejection')} among {counted(plan.search.considered, 'considered layout')}, by reason:"
    return Section(slug="rejected", title="What was rejected", paragraphs=(sentence,), tables=(rejected_table(plan),))


def _assumptions_section(plan: Plan) -> Section:
    flagged = plan.assumptions or ("Everything that the prediction rests on was measured on this device and stack.",)
    if not plan.provenance.assumptions:
        text = "The plan states no numbers that it rests on."
        return Section(slug="assumptions", title="Assumptions", paragraphs=(*plan.assumptions, text))
    return Section(
        slug="assumptions",
        title="Assumptions",
        paragraphs=(*flagged, "The numbers that the estimate rests on, how each is known, and from where:"),
        tables=(assumptions_table(plan),),
    )


def _provenance_section(plan: Plan) -> Section:
    origin = plan.provenance
    sentence = (
        f"Planned by glmplan {origin.glmplan_version} with seed {origin.seed}; "
        f"plan document of schema version {plan.schema_version}. The same command gives the same plan as long as "
        f"the profiles below have the same content. The shape of the model: {plan.request.job.architecture.source}."
    )
    paragraphs = [sentence]
    if any(item.grade == "fitted" for item in origin.assumptions):
        # The request does not hold the file's name, and a cluster's profile may bring its own calibration.
        paragraphs.append("Some constants are fitted: if a calibration file was given, give it again (--calibration).")
    return Section(
        slug="provenance",
        title="Provenance and reproduction",
        paragraphs=tuple(paragraphs),
        commands=(plan_command(plan.request),),
        tables=(profiles_table(plan),) if origin.profiles else (),
    )
