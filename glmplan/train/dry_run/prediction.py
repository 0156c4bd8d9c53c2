"""The cost model's own word on what a dry run counts: its operations and messages of one rank, before any is priced.

Multiplied out here: blocks by how often they stand, by micro-batches, and by what recomputation repeats.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from glmplan.cost.memory import PARTS
from glmplan.cost.step import CostModel
from glmplan.layout.communication import Communication
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.layout.partition import RankBlock
from glmplan.layout.rank_step import rank_step
from glmplan.layout.stages import Stages
from glmplan.train.dry_run.counts import MODEL, CollectiveCount, StepCounts
from glmplan.workload.graph import LAYER_KINDS
from glmplan.workload.operation import Attention, Matmul, Operation

MATMUL_BACKWARD = 2.0
"""Gradients of the input and of the weights."""
ATTENTION_BACKWARD = 2.5
"""Five products for two: flash attention computes the scores again (Dao 2023, arXiv:2307.08691, section 3.1)."""
LEFT_OUT = "reserve_bytes"
"""No tensors."""
SHARDED = ("gathered", "scattered", "gradient_shards", "updated")
"""How the names of messages end that go around among the ranks of a shard group; others go among replicas."""


@dataclass(slots=True)
class _Sums:
    """FLOPs by operation, and (count, bytes) of messages by kind, axis and ranks."""

    flops: dict[str, float] = field(default_factory=dict)
    messages: dict[tuple[str, str, int], tuple[float, float]] = field(default_factory=dict)

    def add_flops(self, name: str, flops: float) -> None:
        self.flops[name] = self.flops.get(name, 0.0) + flops

    def add_message(self, message: Communication, axis: str, times: float) -> None:
        count, ranks = _first(message.count) * times, int(_first(message.group.ranks))
        num_bytes = count * _first(message.bytes)
        if ranks < 2 or num_bytes == 0.0:
            return
        key = message.collective.value, axis, ranks
        before = self.messages.get(key, (0.0, 0.0))
        self.messages[key] = before[0] + count, before[1] + num_bytes


def predicted_counts(model: CostModel, layout: ParallelLayout) -> StepCounts:
    """What the cost model says that a rank does in one step of ``layout``, which has no pipeline."""
    table, sums = LayoutTable.of(layout), _Sums()
    step = rank_step(model.blocks, table, model.job, model.stack)
    early = model.stack.kernels.recompute_stops_early
    for block in model.rank_blocks(table):
        for work, forward, backward in _passes(block, step.stages, stops_early=early):
            _enter(sums, work, forward * layout.grad_accum, backward * layout.grad_accum)
    for message in step.data:
        sums.add_message(message, "shard" if message.name.endswith(SHARDED) else "replicate", 1.0)
    memory = model.memory(table)
    parts = {name: float(memory[name][0]) for name in PARTS if name != LEFT_OUT}
    return StepCounts(
        flops=sum(sums.flops.values()),
        flops_by_operator=sums.flops,
        collectives=tuple(
            CollectiveCount(kind=kind, group=axis, ranks=ranks, part=MODEL, count=count, bytes=num_bytes)
            for (kind, axis, ranks), (count, num_bytes) in sorted(sums.messages.items())
        ),
        peak_memory_bytes=sum(parts.values()),
        memory=parts,
    )


def _passes(
    block: RankBlock, stages: Stages, *, stops_early: bool
) -> Iterator[tuple[Operation | Communication, float, float]]:
    """Each work of all blocks of a kind, with how often it is done forward and backward in a micro-batch."""
    kind, count = block.block.kind, float(block.block.count)
    again = partly = 0.0
    if kind in LAYER_KINDS:
        again, partly = _first(stages.all_repeated[kind]), _first(stages.all_partly_repeated[kind])
    works = [block.graph.nodes[name]["work"] for name in block.graph]
    last = next((work.name for work in reversed(works) if isinstance(work, Matmul)), "") if stops_early else ""
    for work in works:
        if isinstance(work, Communication):
            # Full recomputation ends before the last matmul, and so before the sum of its outputs.
            whole = 0.0 if last and work.name.startswith(f"{last}_sum") else again
            forward = count + whole + partly * work.repeated
            yield work, 0.0 if work.backward else forward, count if work.backward else 0.0
        else:
            whole = 0.0 if work.name == last else again
            yield work, count + whole + partly * work.repeated_share, count


def _enter(sums: _Sums, work: Operation | Communication, forward: float, backward: float) -> None:
    match work:
        case Communication():
            sums.add_message(work, "tensor", forward + backward)
        case Matmul():
            sums.add_flops(work.name, _first(work.flops) * (forward + MATMUL_BACKWARD * backward))
        case Attention():
            sums.add_flops(work.name, _first(work.flops) * (forward + ATTENTION_BACKWARD * backward))


def _first(values: object) -> float:
    """The number of the only layout."""
    return float(np.ravel(np.asarray(values, dtype=float))[0])
