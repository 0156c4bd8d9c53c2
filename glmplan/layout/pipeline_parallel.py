"""Pipeline parallelism: how many micro-batches are in flight, what the bubble is, what stages send."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.layout.communication import Collective, Communication, Group, Purpose
from glmplan.layout.parallel_layout import SCHEDULES, LayoutTable, Schedule
from glmplan.layout.placement import pipeline_group, tensor_group
from glmplan.workload.operation import Number

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubble:
    """How long a pipeline idles, in passages of one micro-batch through the other stages; arrays over layouts."""

    passages: Floats
    """Without anything that fills it."""
    filling: Floats
    """Weight-gradient passes that fill it."""

    def factor(self, weight_gradient_share: Floats) -> Floats:
        """The bubble over that of 1F1B, where weight gradients W take ``W / (F+B+W)`` of a passage."""
        return np.asarray(np.maximum(self.passages - self.filling * weight_gradient_share, 0.0))


def in_flight(table: LayoutTable, position: Floats) -> Floats:
    """Micro-batches whose activations a stage holds at once, in units of the whole stage's activations.

    1F1B: Narayanan 2021 (arXiv:2104.04473, section 2.2). Interleaved: ``(v-1) p + 2 (p-i-1) + 1`` chunks of ``1/v`` of
    the stage, which gives the factor ``1 + (p-1)/(p v)`` of Korthikanti 2022 (section 4.2.3) on the first stage.
    """
    pp, v, m = table.pp.astype(float), table.virtual_stages.astype(float), table.grad_accum.astype(float)
    one_f_one_b = pp - position
    interleaved = ((v - 1) * pp + 2 * (pp - position - 1) + 1) / v
    held = np.where(_is(table, Schedule.INTERLEAVED), interleaved, one_f_one_b)
    held = np.where(_is(table, Schedule.GPIPE), m, held)
    held = np.where(_is(table, Schedule.ZERO_BUBBLE_2P), 2 * pp - 1 - 2 * position, held)
    return np.asarray(np.minimum(held, m), dtype=np.float64)


def bubble(table: LayoutTable) -> Bubble:
    """1F1B idles for ``(p-1)(F+B+W)`` with input gradients B and weight gradients W; no pipeline for nothing.

    Interleaving divides it by v (Narayanan 2021, section 2.2.2). Zero-bubble schedules leave ``(p-1)(F+B-W)`` (H1) and
    ``(p-1)(F+B-2W)`` (Qi 2023, arXiv:2401.10241, table 1), where the other micro-batches bring weight gradients enough.
    """
    fillers = (table.grad_accum - 1.0) / np.maximum(table.pp - 1.0, 1.0)
    wanted = np.where(_is(table, Schedule.ZERO_BUBBLE_H1), 2.0, np.where(_is(table, Schedule.ZERO_BUBBLE_2P), 3.0, 0.0))
    passages = np.where(_is(table, Schedule.INTERLEAVED), 1.0 / table.virtual_stages, 1.0)
    return Bubble(passages=np.where(table.pp > 1, passages, 0.0), filling=np.minimum(wanted, 1.0 + fillers))


def stage_transfers(table: LayoutTable, boundary_bytes: Number, *, split: bool) -> tuple[Communication, ...]:
    """What a stage receives in one step: activations forward and gradients backward, for each chunk and micro-batch.

    ``split``: tensor-parallel ranks that hold the same boundary send a share each, and gather it on arrival.
    """
    whole = np.where(table.pp > 1, boundary_bytes, 0.0)
    shares = np.where(table.sequence_parallel > 0, 1, table.tp) if split else np.ones(len(table))
    count = (2 * table.grad_accum * table.virtual_stages).astype(float)

    def move(name: str, collective: Collective, bytes_: Floats, group: Group) -> Communication:
        return Communication(
            name=name,
            purpose=Purpose.PIPELINE,
            collective=collective,
            bytes=bytes_,
            group=group,
            backward=False,
            count=count,
        )

    return (
        move("stage_boundary", Collective.SEND_RECV, whole / shares, pipeline_group(table)),
        move("stage_boundary_gathered", Collective.ALL_GATHER, np.where(shares > 1, whole, 0.0), tensor_group(table)),
    )


def _is(table: LayoutTable, schedule: Schedule) -> npt.NDArray[np.bool_]:
    return np.asarray(table.schedule == SCHEDULES.index(schedule))
