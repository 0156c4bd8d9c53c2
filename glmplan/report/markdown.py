"""Renders a report as Markdown: the same sentences and tables, a chart as the table behind it."""

import re

from glmplan.report.content import Report, Section, Table, plain

GENERATOR_TAG = "<!-- generator: glmplan"
"""How a file made here is told from a foreign one."""


def markdown_page(report: Report) -> str:
    """The report as Markdown text."""
    blocks = [f"{GENERATOR_TAG} -->", f"# {_text(report.title)}", _text(report.subtitle)]
    for section in report.sections:
        blocks += _section_blocks(section)
    blocks.append(f"Made by {_text(report.generator)}.")
    return "\n\n".join(blocks) + "\n"


def _section_blocks(section: Section) -> list[str]:
    blocks = [f"## {_text(section.title)}", *(_text(paragraph) for paragraph in section.paragraphs)]
    if section.tiles:
        blocks.append("\n".join(f"- {_text(t.name)}: **{_text(t.value)}** ({_text(t.detail)})" for t in section.tiles))
    blocks += [_fenced(command) for command in section.commands]
    blocks += [_table(table) for table in (*(chart.table for chart in section.charts), *section.tables)]
    return blocks


def _table(table: Table) -> str:
    rule = ["---:" if column in table.numeric else "---" for column in range(len(table.headers))]
    lines = [_row(table.headers), f"| {' | '.join(rule)} |", *(_row(row) for row in table.rows)]
    return "\n".join([f"**{_text(table.caption)}**", "", *lines])


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(_text(cell) for cell in cells)} |"


def _text(text: str) -> str:
    """``text`` without what Markdown takes for HTML, a link, code or the end of a cell."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`|\[\]])", r"\\\1", text)


def _fenced(code: str) -> str:
    code = plain(code, keep_lines=True)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", code)), default=0))
    return f"{fence}sh\n{code}\n{fence}"
