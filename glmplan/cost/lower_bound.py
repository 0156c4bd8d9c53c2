"""Seconds that a step takes at least, from its plainest variant: what a search need not cost in full."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from glmplan.cost.block import block_times
from glmplan.cost.step import CostModel
from glmplan.cost.step_work import StepWork
from glmplan.cost.stragglers import slowest_of
from glmplan.layout.parallel_layout import LayoutTable

Floats = npt.NDArray[np.float64]
CERTAIN = (
    "forward_s",
    "backward_s",
    "recompute_s",
    "tensor_parallel_s",
    "context_parallel_s",
    "expert_parallel_s",
    "other_s",
)
"""Parts that do not depend on how state is sharded, on virtual stages or on the bubble."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepFloor:
    """What is certain of a step, arrays over plain layouts."""

    certain_s: Floats
    """Micro-batches through the slowest stage, the least wait for the slowest device, the fixed cost of a step."""
    bubble_s: Floats
    """Of 1F1B: one passage through the other stages."""
    transfer_s: Floats
    """All sends between stages, each boundary crossed once a micro-batch and direction."""
    micro_batches: Floats
    spread: Floats
    """How much later than the typical device the slowest one comes, relative to computing."""

    def least_s(self, rows: npt.NDArray[np.int64], bubble: Floats, crossings: Floats) -> Floats:
        """Seconds below which no variant of the plain layouts ``rows`` has its step.

        Its bubble is at least ``bubble`` of 1F1B's, and each boundary is crossed ``crossings`` times. With ``S`` the
        slowest stage, ``P`` the passage through all, ``m`` micro-batches and the spread ``x``, a step takes at least
        ``m S + b (P - S)``, ``b = bubble (1 + x)``: it grows with S, so that what a variant adds to a stage cannot
        shorten it, while ``b <= m``.
        """
        share = np.minimum(bubble * (1.0 + self.spread[rows]), self.micro_batches[rows])
        return np.asarray(self.certain_s[rows] + share * self.bubble_s[rows] + crossings * self.transfer_s[rows])

    @classmethod
    def concatenate(cls, floors: list[Self]) -> Self:
        """The floors of all layouts, in order."""
        joined = {field.name: [getattr(floor, field.name) for floor in floors] for field in fields(cls)}
        return cls(**{name: np.concatenate(each) for name, each in joined.items()})


def step_floor(model: CostModel, table: LayoutTable) -> StepFloor:
    """The floor of every layout that differs from one of ``table`` in its bubble, in crossings, in more recomputation,
    in sharding and in what it offloads. The layouts of ``table`` have a 1F1B schedule without virtual stages.
    """
    work = model.work(table)
    times = model.times(work)
    spread = slowest_of(work.step.devices, model.stack["device_spread"])
    certain_s = np.asarray(sum(times[name] for name in CERTAIN))
    return StepFloor(
        certain_s=certain_s + spread * work.step.micro_batches * _least_computing_s(model, work),
        bubble_s=times["pipeline_bubble_s"],
        transfer_s=times["pipeline_transfer_s"],
        micro_batches=work.step.micro_batches,
        spread=spread,
    )


def _least_computing_s(model: CostModel, work: StepWork) -> Floats:
    """Of one micro-batch on the stage that computes least, whichever turns out to be the slowest."""
    stages, total = work.step.stages, np.zeros(work.step.stages.exists.shape)
    for kind, block in work.blocks.items():
        times = block_times(block, model.stack, model.launch_s)
        total = total + stages.counts[kind] * (times.forward_s + times.backward_s)[work.rows]
    return np.asarray(np.where(stages.exists, total, np.inf).min(axis=0) * model.stack["machine_derate"])
