"""Pipeline parallelism: which layers each stage holds, what is in flight, what the bubble is, what stages send.

Three stages stand for all: the first (embedding, most micro-batches in flight), an inner one, and the last (head).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.layout.communication import Collective, Communication, Purpose
from glmplan.layout.parallel_layout import SCHEDULES, LayoutTable, Schedule
from glmplan.layout.placement import pipeline_group
from glmplan.workload.graph import LAYER_KINDS, Block, BlockKind
from glmplan.workload.operation import Number

Floats = npt.NDArray[np.float64]
FIRST, INNER, LAST = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Blocks held by the first, an inner and the last stage: arrays of shape ``[3, layouts]``."""

    counts: dict[BlockKind, Floats]
    exists: npt.NDArray[np.bool_]
    """False for the inner stage of fewer than three stages and for the last stage of one."""
    position: Floats
    """Index of the stage in the pipeline."""


def split_into_stages(blocks: tuple[Block, ...], table: LayoutTable) -> Stages:
    """Layers over stages as evenly as they go; a remainder falls on inner stages first, on the last never.

    With one stage, all blocks are the first stage's.
    """
    layers = {block.kind: block.count for block in blocks if block.kind in LAYER_KINDS}
    kinds = list(layers)
    early, late = kinds[0], kinds[-1]
    total, pp = sum(layers.values()), table.pp
    share, rest = total // pp, total % pp
    first = share + (rest > np.maximum(pp - 2, 0))
    inner = share + (rest > 0)
    held = np.stack([first, inner, share])
    counts = {kind: np.zeros(held.shape) for kind in (*kinds, BlockKind.EMBEDDING, BlockKind.HEAD)}
    if early == late:
        counts[early][:] = held
    else:
        counts[early][FIRST] = np.minimum(layers[early], held[FIRST])
        counts[late][FIRST] = held[FIRST] - counts[early][FIRST]
        counts[late][LAST] = np.minimum(layers[late], held[LAST])
        counts[late][INNER] = np.minimum(layers[late] - counts[late][LAST], held[INNER])
        counts[early][INNER:] = held[INNER:] - counts[late][INNER:]
        counts[early][FIRST] = np.where(pp == 1, layers[early], counts[early][FIRST])
        counts[late][FIRST] = np.where(pp == 1, layers[late], counts[late][FIRST])
    counts[BlockKind.EMBEDDING][FIRST] = 1.0
    counts[BlockKind.HEAD][FIRST] = np.where(pp == 1, 1.0, 0.0)
    counts[BlockKind.HEAD][LAST] = np.where(pp > 1, 1.0, 0.0)
    exists = np.stack([np.ones(len(pp), dtype=bool), pp > 2, pp > 1])
    position = np.stack([np.zeros(len(pp)), np.minimum(1.0, pp - 1.0), pp - 1.0])
    return Stages(counts=counts, exists=exists, position=position)


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


def bubble_factor(table: LayoutTable, weight_gradient_share: Floats) -> Floats:
    """The bubble over that of 1F1B, ``(p-1)(F+B+W)`` with input gradients B and weight gradients W.

    Interleaving divides it by v (Narayanan 2021, section 2.2.2). Zero-bubble schedules leave ``(p-1)(F+B-W)`` (H1) and
    ``(p-1)(F+B-2W)`` (Qi 2023, arXiv:2401.10241, table 1). ``weight_gradient_share`` is W / (F+B+W).
    """
    factor = np.where(_is(table, Schedule.INTERLEAVED), 1.0 / table.virtual_stages, 1.0)
    w, fillers = weight_gradient_share, (table.grad_accum - 1.0) / np.maximum(table.pp - 1.0, 1.0)
    fewest = 1.0 - w - fillers * w
    factor = np.where(_is(table, Schedule.ZERO_BUBBLE_H1), np.maximum(1.0 - 2.0 * w, fewest), factor)
    factor = np.where(_is(table, Schedule.ZERO_BUBBLE_2P), np.maximum(1.0 - 3.0 * w, fewest), factor)
    return np.asarray(np.maximum(factor, 0.0))


def stage_transfer(table: LayoutTable, boundary_bytes: Number) -> Communication:
    """What a stage receives in one step: activations forward and gradients backward, for each chunk and micro-batch."""
    return Communication(
        name="stage_boundary",
        purpose=Purpose.PIPELINE,
        collective=Collective.SEND_RECV,
        bytes=np.where(table.pp > 1, boundary_bytes, 0.0),
        group=pipeline_group(table),
        backward=False,
        count=(2 * table.grad_accum * table.virtual_stages).astype(float),
    )


def _is(table: LayoutTable, schedule: Schedule) -> npt.NDArray[np.bool_]:
    return np.asarray(table.schedule == SCHEDULES.index(schedule))
