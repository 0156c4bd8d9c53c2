"""Progress on stderr: one bar a phase on a terminal, one line a phase elsewhere, nothing when quiet."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from glmplan.cli.terminal import note

Progress = Callable[[str, float], None]
"""Called with the phase's name and the fraction done, 0 to 1."""


@contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Yields what long work calls to say how far it is."""
    if quiet:
        yield lambda phase, fraction: None
        return
    if not sys.stderr.isatty():
        seen: set[str] = set()

        def say(phase: str, fraction: float) -> None:
            if phase not in seen:
                seen.add(phase)
                note(f"{title}: {phase}")

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<16}"), BarColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, fraction: float) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=1.0)
            bars.update(tasks[phase], completed=fraction)

        yield show
