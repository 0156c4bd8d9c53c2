"""What a search has seen so far: counts by reason, the best layouts, and the value that the next one must beat."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from glmplan.cost.step import EstimateTable
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.search.objective import TIE_DIGITS, Objective, ranking

Floats = npt.NDArray[np.float64]
TIES = 10.0 ** (1 - TIE_DIGITS)
"""Values that lie so close, relative to each other, may count as equal."""


@dataclass(slots=True, kw_only=True, eq=False)
class Tally:
    """Filled while a search goes through its layouts."""

    objective: Objective
    keep: int
    considered: int = 0
    feasible: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)
    best: list[LayoutTable] = field(default_factory=list)
    """The best of each table that was costed."""
    values: Floats = field(default_factory=lambda: np.zeros(0))
    """What the objective is of the best so far, at most ``keep``."""
    smallest: LayoutTable | None = None
    """The layout with the least memory; for when none fits."""
    smallest_bytes: float = np.inf

    def reject(self, reasons: dict[str, int]) -> None:
        """Counts layouts that were looked at and cannot be."""
        self.considered += sum(reasons.values())
        for reason, number in reasons.items():
            if number:
                self.rejected[reason] = self.rejected.get(reason, 0) + number

    def prune(self, reason: str, number: int) -> None:
        """Counts layouts that need no look."""
        if number:
            self.pruned[reason] = self.pruned.get(reason, 0) + number

    def hopeless(self, least: Floats) -> npt.NDArray[np.bool_]:
        """Whether a layout whose objective is at least ``least`` cannot be among the best."""
        if len(self.values) < self.keep:
            return np.zeros(len(least), dtype=bool)
        return np.asarray(least > self.values.max() * (1.0 + TIES))

    def weigh(self, table: LayoutTable, peak_bytes: Floats) -> None:
        """Remembers the layout with the least memory."""
        least = int(np.argmin(peak_bytes))
        if peak_bytes[least] < self.smallest_bytes:
            self.smallest_bytes = float(peak_bytes[least])
            self.smallest = table.take(slice(least, least + 1))

    def enter(self, table: LayoutTable, estimates: EstimateTable) -> None:
        """Keeps the best of layouts that fit."""
        self.considered += len(table)
        self.feasible += len(table)
        rows = ranking(table, estimates, self.objective, self.keep)
        self.best.append(table.take(rows))
        value = estimates.step_time_s if self.objective == "time" else estimates.peak_memory_bytes
        self.values = np.sort(np.concatenate([self.values, value[rows]]))[: self.keep]
