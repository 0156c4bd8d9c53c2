"""What makes a layout better: a key over a table, smaller first."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from glmplan.cost.step import EstimateTable
from glmplan.layout.parallel_layout import LayoutTable

Objective = Literal["time", "memory"]
TIE_DIGITS = 9
"""Estimates that agree to so many digits are equal: the simpler layout then wins."""


def ranking(table: LayoutTable, estimates: EstimateTable, objective: Objective, keep: int) -> npt.NDArray[np.int64]:
    """Rows of the ``keep`` best layouts, best first; ties go to less memory, then to smaller degrees, always alike."""
    value = estimates.step_time_s if objective == "time" else estimates.peak_memory_bytes
    if len(value) > 8 * keep:  # sort only what can be among the best
        # rounding to that many digits moves a value by up to half of 10^(1 - digits)
        bound = np.partition(value, keep)[keep] * (1 + 10.0 ** (1 - TIE_DIGITS))
        rows = np.flatnonzero(value <= bound)
    else:
        rows = np.arange(len(value))
    chosen = table.take(rows)
    rounded = _rounded(value[rows])
    second = _rounded(estimates.peak_memory_bytes[rows] if objective == "time" else estimates.step_time_s[rows])
    simplicity = (
        chosen.shard_group,
        chosen.sharding,
        chosen.sequence_parallel,
        chosen.schedule,
        chosen.micro_batch,
        chosen.virtual_stages,
        chosen.recompute,
        chosen.ep,
        chosen.cp,
        chosen.pp,
        chosen.tp,
    )
    order = np.lexsort((*simplicity, second, rounded))
    return rows[order[:keep]]


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    digits = TIE_DIGITS - 1 - np.floor(np.log10(np.maximum(np.abs(values), 1e-300)))
    scale = 10.0**digits
    return np.round(values * scale) / scale
