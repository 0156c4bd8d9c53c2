"""Seconds of one block (a layer, the embedding, the head) on one rank, for one micro-batch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.cost.collective import CollectiveModel
from glmplan.cost.critical_path import critical_path_s
from glmplan.cost.overlap import smooth_maximum
from glmplan.cost.roofline import DeviceModel
from glmplan.layout.communication import Communication, Purpose
from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute
from glmplan.layout.partition import RankBlock
from glmplan.software.stack import Stack
from glmplan.workload.attention import is_attention_core
from glmplan.workload.graph import LAYER_KINDS, BlockKind
from glmplan.workload.operation import Attention, Matmul, Number, Operation, Stream

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTimes:
    """Arrays over layouts, in seconds. Communication is what stays exposed."""

    forward_s: Floats
    backward_s: Floats
    core_s: Floats
    """Forward of the attention core: what selective recomputation repeats."""
    communication_forward_s: dict[Purpose, Floats]
    communication_backward_s: dict[Purpose, Floats]

    def take(self, rows: npt.NDArray[np.int64]) -> "BlockTimes":
        """The times of the layouts at ``rows``."""
        return BlockTimes(
            forward_s=self.forward_s[rows],
            backward_s=self.backward_s[rows],
            core_s=self.core_s[rows],
            communication_forward_s={k: v[rows] for k, v in self.communication_forward_s.items()},
            communication_backward_s={k: v[rows] for k, v in self.communication_backward_s.items()},
        )


def block_times(
    rank_block: RankBlock, device: DeviceModel, collectives: CollectiveModel, stack: Stack, launch_s: float, size: int
) -> BlockTimes:
    """Times of ``rank_block`` over its ``size`` layouts; ``launch_s`` is what the host takes for one launch."""
    forward: dict[str, Number] = {}
    backward: dict[str, Number] = {}
    core: Number = np.zeros(size)
    launches = 0.0
    sent: dict[bool, dict[Purpose, Floats]] = {False: {}, True: {}}
    for name in rank_block.graph:
        work = rank_block.graph.nodes[name]["work"]
        if isinstance(work, Communication):
            exposed = collectives.seconds(work) * work.count
            exposed = exposed * stack["collective_time_factor"] * stack["tensor_parallel_exposed"]
            total = sent[work.backward]
            total[work.purpose] = total.get(work.purpose, np.zeros(size)) + exposed
            continue
        forward[name], backward[name] = operation_passes_s(work, device, stack)
        launches += getattr(work, "launches", 1.0)
        if is_attention_core(name):
            core = core + forward[name]
    if rank_block.block.kind in LAYER_KINDS:
        launches = stack["host_launches_per_layer"]
    host_s = launches * launch_s
    device_forward = critical_path_s(rank_block.graph, forward)
    device_backward = critical_path_s(rank_block.graph, backward)
    return BlockTimes(
        forward_s=_over(smooth_maximum(device_forward, host_s), size),
        backward_s=_over(smooth_maximum(device_backward, host_s * stack["host_backward_factor"]), size),
        core_s=_over(core, size),
        communication_forward_s=sent[False],
        communication_backward_s=sent[True],
    )


def block_parts(times: BlockTimes, table: LayoutTable, kind: BlockKind) -> dict[str, Floats]:
    """Seconds by part of one micro-batch of one block, recomputation included."""
    full = (table.recompute == RECOMPUTES.index(Recompute.FULL)) & (kind in LAYER_KINDS)
    selective = (table.recompute == RECOMPUTES.index(Recompute.SELECTIVE)) & (kind in LAYER_KINDS)
    again = np.where(full, times.forward_s, np.where(selective, times.core_s, 0.0))
    parts = {"forward_s": times.forward_s, "backward_s": times.backward_s, "recompute_s": again}
    for purpose in (Purpose.TENSOR, Purpose.CONTEXT, Purpose.EXPERT):
        zero = np.zeros(len(table))
        ahead = times.communication_forward_s.get(purpose, zero)
        back = times.communication_backward_s.get(purpose, zero)
        parts[f"{purpose}_s"] = ahead * np.where(full, 2.0, 1.0) + back
    return parts


def operation_passes_s(op: Operation, device: DeviceModel, stack: Stack) -> tuple[Number, Number]:
    """Forward and backward seconds of one operation, the stack's factors included."""
    match op:
        case Matmul():
            ahead, back = device.matmul_passes_s(op)
            return ahead * stack["matmul_time_factor"], back * stack["matmul_time_factor"]
        case Attention():
            core = device.attention_s(op) * stack["attention_time_factor"]
            return core, core * device.attention_backward_factor(op, stack["attention_backward_factor"])
        case Stream():
            ahead, back = device.stream_passes_s(op)
            return ahead * stack["elementwise_traffic_factor"], back * stack["elementwise_traffic_factor"]


def _over(value: Number, size: int) -> Floats:
    return np.asarray(np.broadcast_to(np.asarray(value, dtype=float), (size,)))
