"""From files to a file: reads a plan and its runs, renders the report, and writes it where nothing foreign is lost."""

from pathlib import Path

from glmplan.documents import write_text
from glmplan.errors import InputError
from glmplan.plan.document import read_plan
from glmplan.report import markdown, page
from glmplan.report.run_folder import read_runs
from glmplan.report.sections import make_report

_HEAD_CHARACTERS = 2000
"""The generator's tag stands at the beginning of what we write."""


def report_text(plan_path: Path, run_folders: tuple[Path, ...], output_format: str) -> str:
    """The report as ``html`` or ``md``. Raises InputError, DocumentError for a broken plan or run."""
    report = make_report(read_plan(plan_path), read_runs(run_folders))
    return page.html_page(report) if output_format == "html" else markdown.markdown_page(report)


def write_report(plan_path: Path, run_folders: tuple[Path, ...], output: Path, output_format: str) -> None:
    """Writes the report atomically.

    Raises InputError when ``output`` exists and is not an earlier report, or cannot be written.
    """
    refuse_foreign(output)
    write_text(output, report_text(plan_path, run_folders, output_format))


def refuse_foreign(output: Path) -> None:
    """Raises InputError when ``output`` is a folder, or a file that was not made here."""
    if output.is_dir():
        raise InputError(f"-o: {output}: is a folder; give a file in it, such as {output / 'report.html'}")
    if not output.exists():
        return
    try:
        with output.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(_HEAD_CHARACTERS)
    except OSError as error:
        raise InputError(f"-o: {output}: {(error.strerror or str(error)).lower()}") from None
    if page.GENERATOR_TAG not in head and markdown.GENERATOR_TAG not in head:
        raise InputError(f"-o: {output}: exists and was not made by glmplan; give another name or remove it first")
