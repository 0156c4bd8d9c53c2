"""How a run shows on stderr: a live bar on a terminal, a line now and then elsewhere, nothing when quiet."""

import sys
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glmplan.train.evaluation import Evaluation
from glmplan.train.step_log import StepRecord

_LINES = 20


class Display(Protocol):
    """Where a run tells what it does; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def step(self, record: StepRecord) -> None:
        """After a step."""
        ...

    def validation(self, step: int, result: Evaluation) -> None:
        """After a validation."""
        ...

    def note(self, text: str) -> None:
        """A sentence."""
        ...


class Silence:
    """Shows nothing: for quiet runs and for ranks other than 0."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def step(self, record: StepRecord) -> None:
        pass

    def validation(self, step: int, result: Evaluation) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Terminal(Silence):
    """A progress bar with the last loss and speed, or about twenty plain lines where stderr is no terminal."""

    def __init__(self, first_step: int, last_step: int) -> None:
        self._last = last_step
        self._every = max(1, -(-(last_step - first_step + 1) // _LINES))
        self._console = Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=last_step, completed=first_step - 1)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, record: StepRecord) -> None:
        summary = f"loss {record.loss:.4f}  {record.tokens_per_s:,.0f} tokens/s"
        self._progress.update(self._task, completed=record.step, description=summary)
        if not self._console.is_terminal and (record.step % self._every == 0 or record.step == self._last):
            self.note(f"step {record.step}/{self._last}  {summary}")

    def validation(self, step: int, result: Evaluation) -> None:
        self.note(
            f"step {step}  validation loss {result.loss:.4f}  perplexity {result.perplexity:.2f}  "
            f"accuracy {result.accuracy:.1%}"
        )

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
