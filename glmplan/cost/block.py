"""Seconds of one block (a layer, the embedding, the head) on one rank, for one micro-batch.

In two steps: what the device and the links take by themselves (``BlockWork``), and what becomes of it in a software
stack (``BlockTimes``). A fit of the stack's constants repeats the second step only.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from glmplan.cost.collective import CollectiveModel
from glmplan.cost.overlap import smooth_maximum
from glmplan.cost.roofline import DeviceModel
from glmplan.layout.communication import Communication, Purpose
from glmplan.layout.parallel_layout import RECOMPUTES, LayoutTable, Recompute
from glmplan.layout.partition import RankBlock
from glmplan.software.kernel_factors import KernelFactors
from glmplan.software.stack import HOST_SHARE, Kernels, Stack
from glmplan.workload.graph import LAYER_KINDS, BlockKind
from glmplan.workload.operation import Attention, Matmul, Number, Region, Stream
from glmplan.workload.selective_recompute import repeated_share

Floats = npt.NDArray[np.float64]
Exchanges = dict[tuple[Purpose, bool], Floats]
"""(purpose, in the backward pass) -> seconds."""


EXPOSED_CONSTANT = {
    Purpose.TENSOR: "tensor_parallel_exposed",
    Purpose.CONTEXT: "tensor_parallel_exposed",
    Purpose.EXPERT: "expert_parallel_exposed",
}
"""Which of a stack's constants says how much of a block's communication stays visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockWork:
    """Arrays over layouts, in seconds on the measured device and links. One device runs one kernel after the other."""

    kind: BlockKind
    launches: float
    """Kernels of the forward pass, as the operations count them."""
    local_experts: Floats
    """Experts that the rank holds of one layer; 0 in other blocks."""
    matmul_forward_s: Floats
    matmul_backward_s: Floats
    attention_s: Floats
    attention_backward_s: Floats
    stream_forward_s: Floats
    stream_backward_s: Floats
    repeated_matmul_s: Floats
    """Of ``matmul_forward_s``, what selective recomputation repeats."""
    repeated_attention_s: Floats
    repeated_stream_s: Floats
    exchanges: Exchanges


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTimes:
    """Arrays over layouts, in seconds of a stack. Communication is what stays exposed."""

    forward_s: Floats
    backward_s: Floats
    selective_s: Floats
    """Of the forward pass, what selective recomputation repeats."""
    weight_gradient_s: Floats
    """Of ``backward_s``, what no other stage waits for."""
    exchanges: Exchanges

    def take(self, rows: npt.NDArray[np.int64]) -> "BlockTimes":
        """The times of the layouts at ``rows``."""
        return replace(
            self,
            forward_s=self.forward_s[rows],
            backward_s=self.backward_s[rows],
            selective_s=self.selective_s[rows],
            weight_gradient_s=self.weight_gradient_s[rows],
            exchanges={key: seconds[rows] for key, seconds in self.exchanges.items()},
        )


def block_work(
    rank_block: RankBlock,
    device: DeviceModel,
    collectives: CollectiveModel,
    kernels: Kernels,
    factors: KernelFactors,
    size: int,
) -> BlockWork:
    """The work of ``rank_block`` over its ``size`` layouts; ``factors`` tell its kernels from the tables'."""
    sums: dict[str, Number] = {
        field.name: np.zeros(size) for field in fields(BlockWork) if field.name.endswith(("_s", "_experts"))
    }
    exchanges: Exchanges = {}
    launches = 0.0
    for name in rank_block.graph:
        work = rank_block.graph.nodes[name]["work"]
        match work:
            case Communication():
                key = work.purpose, work.backward
                seconds = collectives.seconds(work) * work.count
                exchanges[key] = exchanges.get(key, np.zeros(size)) + seconds
            case Matmul():
                ahead, back = (seconds * factors.matmul for seconds in device.matmul_passes_s(work))
                if work.region is Region.EXPERT:
                    ahead, back = ahead * factors.grouped_matmul_forward, back * factors.grouped_matmul_backward
                sums["matmul_forward_s"] = sums["matmul_forward_s"] + ahead
                sums["matmul_backward_s"] = sums["matmul_backward_s"] + back
                repeated = ahead * repeated_share(work, kernels)
                sums["repeated_matmul_s"] = sums["repeated_matmul_s"] + repeated
                launches += work.launches
                if work.region is Region.EXPERT:
                    sums["local_experts"] = np.maximum(sums["local_experts"], work.batch)
            case Attention():
                core = device.attention_s(work) * factors.attention
                sums["attention_s"] = sums["attention_s"] + core
                repeated = core * repeated_share(work, kernels)
                sums["repeated_attention_s"] = sums["repeated_attention_s"] + repeated
                ratio = device.attention_backward_factor(work, factors.attention_backward)
                sums["attention_backward_s"] = sums["attention_backward_s"] + core * ratio
                launches += 1.0
            case Stream():
                ahead, back = device.stream_passes_s(work)
                sums["stream_forward_s"] = sums["stream_forward_s"] + ahead
                sums["stream_backward_s"] = sums["stream_backward_s"] + back
                launches += work.launches
                repeated = ahead * repeated_share(work, kernels)
                sums["repeated_stream_s"] = sums["repeated_stream_s"] + repeated
    return BlockWork(
        kind=rank_block.block.kind,
        launches=launches,
        exchanges=exchanges,
        **{name: np.asarray(np.broadcast_to(value, (size,)), dtype=float) for name, value in sums.items()},
    )


def block_times(work: BlockWork, stack: Stack, launch_s: float) -> BlockTimes:
    """The times of ``work`` in ``stack``; ``launch_s`` is what the host takes for one launch.

    Device and host run side by side: the slower one counts, with a soft corner.
    """
    attention_s = work.attention_s * stack["attention_time_factor"]
    attention_backward_s = (
        work.attention_backward_s * stack["attention_time_factor"] * stack["attention_backward_factor"]
    )
    traffic = stack["elementwise_traffic_factor"]
    matmul = stack["matmul_time_factor"]
    launches: Number = work.launches
    if work.kind in LAYER_KINDS:
        launches = stack["host_launches_per_layer"] + stack["host_launches_per_expert"] * work.local_experts
    host_s = launches * launch_s * HOST_SHARE[stack.kernels.cuda_graph]
    device_forward_s = work.matmul_forward_s * matmul + attention_s + work.stream_forward_s * traffic
    device_backward_s = work.matmul_backward_s * matmul + attention_backward_s + work.stream_backward_s * traffic
    exposed = {
        purpose: stack["collective_time_factor"] * stack[constant] for purpose, constant in EXPOSED_CONSTANT.items()
    }
    return BlockTimes(
        forward_s=np.asarray(smooth_maximum(device_forward_s, host_s)),
        backward_s=np.asarray(smooth_maximum(device_backward_s, host_s * stack["host_backward_factor"])),
        selective_s=work.repeated_matmul_s * matmul
        + work.repeated_attention_s * stack["attention_time_factor"]
        + work.repeated_stream_s * traffic,
        weight_gradient_s=work.matmul_backward_s * matmul / 2.0,  # the other half are input gradients
        exchanges={key: seconds * exposed[key[0]] for key, seconds in work.exchanges.items()},
    )


def block_parts(times: BlockTimes, table: LayoutTable, kind: BlockKind) -> dict[str, Floats]:
    """Seconds by part of one micro-batch of one block, recomputation included."""
    full = (table.recompute == RECOMPUTES.index(Recompute.FULL)) & (kind in LAYER_KINDS)
    selective = (table.recompute == RECOMPUTES.index(Recompute.SELECTIVE)) & (kind in LAYER_KINDS)
    again = np.where(full, times.forward_s, np.where(selective, times.selective_s, 0.0))
    parts = {"forward_s": times.forward_s, "backward_s": times.backward_s, "recompute_s": again}
    for purpose in (Purpose.TENSOR, Purpose.CONTEXT, Purpose.EXPERT):
        zero = np.zeros(len(table))
        ahead = times.exchanges.get((purpose, False), zero)
        back = times.exchanges.get((purpose, True), zero)
        parts[f"{purpose}_s"] = ahead * np.where(full, 2.0, 1.0) + back
    return parts
