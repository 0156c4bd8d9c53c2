"""What the quickstart found: a row for each run, and sentences."""

from dataclasses import asdict, dataclass
from typing import Any

from glmplan.units import format_quantity, format_seconds

GIB = 2.0**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run against one prediction."""

    when: str
    """before calibration, calibrated (the runs it was fitted to), or fresh (a run it never saw)."""
    layout: str
    predicted_s: float
    measured_s: float
    predicted_gib: float | None
    measured_gib: float | None

    @property
    def time_error(self) -> float:
        """Predicted over measured step time, less one."""
        return self.predicted_s / self.measured_s - 1.0

    @property
    def memory_error(self) -> float | None:
        """Predicted over measured memory, less one."""
        if self.predicted_gib is None or self.measured_gib is None:
            return None
        return self.predicted_gib / self.measured_gib - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The result of a quickstart."""

    runs: tuple[Row, ...]
    chosen: str
    chosen_again: str
    report: str
    losses: tuple[float, float]
    """First and last training loss of the fresh run."""

    @property
    def regret(self) -> float:
        """How much slower the first choice was than the fastest layout measured."""
        measured = {row.layout: row.measured_s for row in self.runs if row.when == "before calibration"}
        return measured[self.chosen] / min(measured.values()) - 1.0

    @property
    def fresh(self) -> Row:
        """The run after calibration."""
        return next(row for row in self.runs if row.when == "fresh")

    def headers(self) -> tuple[str, ...]:
        """Of the table."""
        return ("prediction", "layout", "predicted", "measured", "error", "memory predicted", "measured", "error")

    def rows(self) -> list[tuple[str, ...]]:
        """Of the table, as text."""
        return [self._row(run) for run in self.runs]

    def _row(self, row: Row) -> tuple[str, ...]:
        memory = ["-", "-", "-"]
        if row.predicted_gib is not None and row.measured_gib is not None and row.memory_error is not None:
            sizes = (row.predicted_gib, row.measured_gib)
            memory = [format_quantity(size * GIB, "B", binary=True) for size in sizes] + [f"{row.memory_error:+.1%}"]
        times = (format_seconds(row.predicted_s), format_seconds(row.measured_s), f"{row.time_error:+.1%}")
        return (row.when, row.layout, *times, *memory)

    def sentences(self) -> list[str]:
        """What to take away."""
        first, last = self.losses
        same = "the same" if self.chosen == self.chosen_again else self.chosen_again
        return [
            f"Chosen before calibration: {self.chosen}; after: {same}.",
            f"Regret of the first choice against the fastest layout measured: {self.regret:.1%}.",
            f"The calibrated prediction is {self.fresh.time_error:+.1%} off a fresh measurement of the chosen layout.",
            f"Training loss of the fresh run: {first:.3f} at the first step, {last:.3f} at the last.",
            f"Report: {self.report}",
        ]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        rows = [asdict(row) | {"time_error": row.time_error, "memory_error": row.memory_error} for row in self.runs]
        return {
            "schema_version": 1,
            "finished": True,
            "rows": rows,
            "chosen": self.chosen,
            "chosen_again": self.chosen_again,
            "regret": self.regret,
            "report": self.report,
            "losses": list(self.losses),
        }
