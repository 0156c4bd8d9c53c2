"""Seconds of one micro-batch through each block of the model, as the step counts them, and what no split can beat."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.cost.block import block_parts, block_times
from glmplan.cost.step import CostModel
from glmplan.cost.step_work import COMPUTING, StepWork
from glmplan.cost.stragglers import slowest_of
from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute
from glmplan.workload.graph import LAYER_KINDS, BlockKind

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockSeconds:
    """By block, arrays over layouts."""

    once: dict[BlockKind, Floats]
    """Forward and backward."""
    extra: dict[tuple[BlockKind, Recompute], Floats]
    """On top, with each kind of recomputation."""
    weight_gradient_share: Floats
    """Of a passage through all blocks."""

    def with_option(self, kind: BlockKind, option: Recompute) -> Floats:
        """Of a layer, or of an end, which is never repeated."""
        return self.once[kind] + self.extra.get((kind, option), 0.0)


def block_seconds(model: CostModel, work: StepWork) -> BlockSeconds:
    """The blocks of ``work`` on the slowest of all devices."""
    slower = 1.0 + slowest_of(work.step.devices, model.stack["device_spread"])
    derate = model.stack["machine_derate"]

    def total(named: dict[str, Floats]) -> Floats:
        each = [seconds * (slower if name in COMPUTING else 1.0) for name, seconds in named.items()]
        return np.asarray(sum(each) * derate)

    once: dict[BlockKind, Floats] = {}
    extra: dict[tuple[BlockKind, Recompute], Floats] = {}
    weight_gradients = passage = np.zeros(len(work.rows))
    for block in model.blocks:
        times = block_times(work.blocks[block.kind], model.stack, model.launch_s).take(work.rows)
        parts = block_parts(times)
        once[block.kind] = total(parts.once)
        if block.kind in LAYER_KINDS:
            extra[block.kind, Recompute.FULL] = total(parts.repeated)
            extra[block.kind, Recompute.SELECTIVE] = total(parts.partly_repeated)
        weight_gradients = weight_gradients + block.count * times.weight_gradient_s
        passage = passage + block.count * sum(parts.once.values())
    return BlockSeconds(once=once, extra=extra, weight_gradient_share=np.asarray(weight_gradients / passage))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Passage:
    """Of one micro-batch through all blocks, arrays over layouts."""

    total_s: Floats
    largest_s: Floats
    """Of the slowest block; times the chunks of a stage, which are to be alike."""
    bubble: Floats
    """Over that of 1F1B."""
    transfer_s: Floats
    """Sends between stages, of the whole step."""


def least_passage(model: CostModel, table: LayoutTable, *, partial: bool) -> Passage:
    """The passage with the least recomputation. ``partial``: layouts with full recomputation may do without, unless
    they interleave."""
    work = model.work(table)
    seconds, free = block_seconds(model, work), (table.virtual_stages == 1) & partial
    total_s, largest_s = np.zeros(len(table)), np.zeros(len(table))
    for block in model.blocks:
        each = seconds.once[block.kind]
        for option in (Recompute.SELECTIVE, Recompute.FULL):
            more = seconds.extra.get((block.kind, option), np.zeros(len(table)))
            must = (table.recompute == RECOMPUTES.index(option)) & ~(free if option is Recompute.FULL else False)
            each = each + np.where(must, more, 0.0)
        total_s, largest_s = total_s + block.count * each, np.maximum(largest_s, each)
    return Passage(
        total_s=total_s,
        largest_s=largest_s * table.virtual_stages,
        bubble=work.step.bubble.factor(seconds.weight_gradient_share),
        transfer_s=model.times(work)["pipeline_transfer_s"],
    )


def least_step_s(model: CostModel, table: LayoutTable, *, partial: bool) -> Floats:
    """Seconds below which no split of the layers brings a step: stages in perfect balance, chunks of a stage alike,
    nothing but passages and transfers."""
    passage, m = least_passage(model, table, partial=partial), table.grad_accum
    slowest_s = np.maximum(passage.total_s / table.pp, passage.largest_s)
    return np.asarray((m - passage.bubble) * slowest_s + passage.bubble * passage.total_s + passage.transfer_s)
