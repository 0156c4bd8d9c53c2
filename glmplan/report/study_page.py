"""Pages of studies: what a plan hangs on, and how a job scales."""

from collections.abc import Sequence
from pathlib import Path

from glmplan import __version__
from glmplan.documents import write_text
from glmplan.plan.document import Option, Plan
from glmplan.plan.request import PlanRequest
from glmplan.report import markdown, page
from glmplan.report.content import Chart, Report, Section, Table
from glmplan.report.publication import refuse_foreign
from glmplan.report.scaling_chart import efficiency_figure, scaling_chart_rows, scaling_table, throughput_figure
from glmplan.report.tornado_chart import tornado_figure, tornado_rows, tornado_table
from glmplan.search.scaling import ScalingCurve
from glmplan.search.scaling_text import scaling_sentences
from glmplan.search.sensitivity import SensitivityStudy
from glmplan.search.sensitivity_text import UPGRADE_HEADERS, sensitivity_sentences, upgrade_rows
from glmplan.search.upgrades import Upgrade


def sensitivity_report(plan: Plan, study: SensitivityStudy, base: Option | None, found: Sequence[Upgrade]) -> Report:
    """The tornado chart, the elasticities and the worth of upgrades."""
    swing = f"{study.swing_fraction:.0%}"
    chart = Chart(
        slug="tornado",
        title=f"Tokens per second with each figure {swing} lower and higher",
        figure=tornado_figure(tornado_rows(study), study.swing_fraction),
        table=tornado_table(study),
    )
    sections = [
        Section(
            slug="recommendation",
            title="What the plan hangs on",
            paragraphs=tuple(sensitivity_sentences(study, base, found)),
            charts=(chart,),
        )
    ]
    if found:
        rows = tuple(tuple(row) for row in upgrade_rows(found))
        table = Table(caption="Upgrades, each planned anew", headers=UPGRADE_HEADERS, rows=rows, numeric=(4, 5, 6, 7))
        sections.append(Section(slug="upgrades", title="What an upgrade is worth", tables=(table,)))
    machine = f"{plan.request.num_gpus:,} × {plan.cluster.device}"
    return Report(
        title=f"Sensitivity of {plan.request.job.architecture.name} on {machine}",
        subtitle=f"Layout {study.layout.label()}, {plan.cluster.name}, software stack {plan.request.stack}",
        generator=f"glmplan {__version__}",
        sections=tuple(sections),
    )


def scaling_report(request: PlanRequest, curves: tuple[ScalingCurve, ...]) -> Report:
    """Throughput and efficiency over the number of devices."""
    rows, table = scaling_chart_rows(curves), scaling_table(curves)
    charts = (
        Chart(slug="throughput", title="Tokens per second over GPUs", figure=throughput_figure(rows), table=table),
        Chart(slug="efficiency", title="Efficiency over GPUs", figure=efficiency_figure(rows), table=table),
    )
    section = Section(
        slug="recommendation",
        title="How the job scales",
        paragraphs=tuple(scaling_sentences(curves)),
        charts=charts,
        tables=(table,),
    )
    return Report(
        title=f"Scaling of {request.job.architecture.name} on {request.cluster}",
        subtitle=f"Every point planned anew; software stack {request.stack}",
        generator=f"glmplan {__version__}",
        sections=(section,),
    )


def write_study(report: Report, output: Path) -> None:
    """Writes the page, as Markdown where ``output`` ends in .md.

    Raises InputError when ``output`` exists and is not an earlier page of ours, or cannot be written.
    """
    refuse_foreign(output)
    as_markdown = output.suffix.lower() == ".md"
    write_text(output, markdown.markdown_page(report) if as_markdown else page.html_page(report))
