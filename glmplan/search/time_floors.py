"""Lower bounds of the step time of everything that can be made of a stem, and the stems in the order of promise."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.cost.lower_bound import StepFloor, step_floor
from glmplan.cost.step import CostModel
from glmplan.layout.choices import Choices
from glmplan.layout.crossing import with_columns
from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute
from glmplan.layout.pipeline_parallel import bubble

Floats = npt.NDArray[np.float64]
STEMS_AT_ONCE = 40_000
"""Stems costed together: bounds memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeFloors:
    """Floors over stems."""

    by_recompute: dict[int, StepFloor]
    """Code of the recomputation -> floors."""

    @property
    def most_promising(self) -> npt.NDArray[np.int64]:
        """The stems, the one with the lowest floor first."""
        floors = []
        for floor in self.by_recompute.values():
            none = np.zeros(len(floor.certain_s))
            floors.append(floor.least_s(np.arange(len(none)), none, none))
        return np.argsort(np.min(floors, axis=0), kind="stable")

    def least_s(self, table: LayoutTable, stems: npt.NDArray[np.int64]) -> Floats:
        """Seconds below which no sharding of the scheduled rows ``table`` of ``stems`` has its step."""
        everything = np.ones(len(table))  # no more than the whole passage is weight gradients that fill the bubble
        share, crossings = bubble(table).factor(everything), table.virtual_stages.astype(float)
        found = np.zeros(len(table))
        for code, floor in self.by_recompute.items():
            rows = np.flatnonzero(table.recompute == code)
            found[rows] = floor.least_s(stems[rows], share[rows], crossings[rows])
        return found


def time_floors(model: CostModel, stems: LayoutTable, choices: Choices, *, partial: bool) -> TimeFloors:
    """The floors of ``stems``. ``partial``: full recomputation may be of some layers only, which costs at least what
    none costs."""
    floors: dict[int, StepFloor] = {}
    known: dict[Recompute, StepFloor] = {}
    for kind in dict.fromkeys(choices.recompute or RECOMPUTES):
        free = kind is Recompute.FULL and (partial or choices.recompute_layers is not None)
        least = Recompute.NONE if free else kind
        if least not in known:
            known[least] = _floor(model, stems, least)
        floors[RECOMPUTES.index(kind)] = known[least]
    return TimeFloors(by_recompute=floors)


def _floor(model: CostModel, stems: LayoutTable, kind: Recompute) -> StepFloor:
    plain = with_columns(stems, recompute=np.full(len(stems), RECOMPUTES.index(kind)))
    starts = range(0, max(len(stems), 1), STEMS_AT_ONCE)
    return StepFloor.concatenate([step_floor(model, plain.take(slice(i, i + STEMS_AT_ONCE))) for i in starts])
