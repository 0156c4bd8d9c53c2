"""Seconds of one block (a layer, the embedding, the head) on one rank, for one micro-batch, in a software stack.

The second of two steps: ``block_work`` says what the device and the links take by themselves. A fit of the stack's
constants repeats this step only.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from glmplan.cost.block_work import BlockWork, Exchanges
from glmplan.cost.overlap import beside_compute_s, exposed_s, smooth_maximum
from glmplan.layout.communication import Purpose
from glmplan.software.stack import HOST_SHARE, Stack
from glmplan.workload.graph import LAYER_KINDS
from glmplan.workload.operation import Number

Floats = npt.NDArray[np.float64]

EXPOSED_CONSTANT = {
    Purpose.TENSOR: "tensor_parallel_exposed",
    Purpose.EXPERT: "expert_parallel_exposed",
}
"""Which of a stack's constants says how much of a block's communication stays visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTimes:
    """Arrays over layouts, in seconds of a stack. Communication is what stays exposed."""

    forward_s: Floats
    backward_s: Floats
    selective_s: Floats
    """Of the forward pass, what selective recomputation repeats."""
    repeated_forward_s: Floats
    """Of the forward pass, what full recomputation repeats."""
    weight_gradient_s: Floats
    """Of ``backward_s``, what no other stage waits for."""
    exchanges: Exchanges
    selective_exchanges: Exchanges
    repeated_exchanges: Exchanges
    """Of the forward pass's, what full recomputation repeats."""

    def take(self, rows: npt.NDArray[np.int64]) -> "BlockTimes":
        """The times of the layouts at ``rows``."""
        return replace(
            self,
            forward_s=self.forward_s[rows],
            backward_s=self.backward_s[rows],
            selective_s=self.selective_s[rows],
            repeated_forward_s=self.repeated_forward_s[rows],
            weight_gradient_s=self.weight_gradient_s[rows],
            exchanges={key: seconds[rows] for key, seconds in self.exchanges.items()},
            selective_exchanges={key: seconds[rows] for key, seconds in self.selective_exchanges.items()},
            repeated_exchanges={key: seconds[rows] for key, seconds in self.repeated_exchanges.items()},
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
    launches = launches + work.quantising_launches
    host_s = launches * launch_s * HOST_SHARE[stack.kernels.cuda_graph]
    device_forward_s = work.matmul_forward_s * matmul + attention_s + work.stream_forward_s * traffic
    device_forward_s = device_forward_s + work.counted_forward_s
    device_backward_s = work.matmul_backward_s * matmul + attention_backward_s + work.stream_backward_s * traffic
    device_backward_s = device_backward_s + work.counted_backward_s
    repeated_device_s = device_forward_s - work.last_matmul_s * matmul
    exposed = {
        purpose: stack["collective_time_factor"] * stack[constant] for purpose, constant in EXPOSED_CONSTANT.items()
    }
    if stack.kernels.serial_tp:
        exposed[Purpose.TENSOR] = stack["collective_time_factor"]
    forward_s = np.asarray(smooth_maximum(device_forward_s, host_s))
    backward_s = np.asarray(smooth_maximum(device_backward_s, host_s * stack["host_backward_factor"]))
    collective = stack["collective_time_factor"]
    exchanges = {key: seconds * exposed.get(key[0], collective) for key, seconds in work.exchanges.items()}
    for backward, (seconds, share) in work.beside_attention.items():
        core_s = attention_backward_s if backward else attention_s
        key = Purpose.CONTEXT, backward
        visible_s = exposed_s(seconds * collective, core_s * share, stack["context_parallel_exposed"])
        exchanges[key] = exchanges.get(key, np.zeros(len(seconds))) + visible_s
    if stack.kernels.experts.overlap:
        for backward, compute_s in ((False, forward_s), (True, backward_s)):
            if (key := (Purpose.EXPERT, backward)) in exchanges:
                occupied = stack.kernels.experts.communication_share
                exchanges[key] = np.asarray(beside_compute_s(exchanges[key], compute_s, occupied))
    return BlockTimes(
        forward_s=forward_s,
        backward_s=backward_s,
        selective_s=work.repeated_matmul_s * matmul
        + work.repeated_attention_s * stack["attention_time_factor"]
        + work.repeated_stream_s * traffic
        + work.repeated_counted_s,
        repeated_forward_s=np.asarray(smooth_maximum(repeated_device_s, host_s)),
        weight_gradient_s=work.matmul_backward_s * matmul / 2.0,  # the other half are input gradients
        exchanges=exchanges,
        selective_exchanges={
            key: seconds * exposed.get(key[0], collective) for key, seconds in work.repeated_exchanges.items()
        },
        repeated_exchanges={
            key: seconds - work.last_exchanges.get(key, 0.0) * exposed.get(key[0], collective)
            for key, seconds in exchanges.items()
            if not key[1]
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockParts:
    """Seconds by part of one micro-batch of one block; the parts of TimeBreakdown."""

    once: dict[str, Floats]
    repeated: dict[str, Floats]
    """On top, where the whole forward pass is repeated before the backward pass."""
    partly_repeated: dict[str, Floats]
    """On top, where the operations that the stack chooses are repeated."""


def block_parts(times: BlockTimes) -> BlockParts:
    """The parts of ``times``. A repeated forward pass repeats its communication."""
    once = {"forward_s": times.forward_s, "backward_s": times.backward_s}
    repeated = {"recompute_s": times.repeated_forward_s}
    for (purpose, _), seconds in times.exchanges.items():
        part = f"{purpose}_s"
        once[part] = once[part] + seconds if part in once else seconds
    repeated |= {f"{purpose}_s": seconds for (purpose, _), seconds in times.repeated_exchanges.items()}
    partly = {"recompute_s": times.selective_s}
    partly |= {f"{purpose}_s": seconds for (purpose, _), seconds in times.selective_exchanges.items()}
    return BlockParts(once=once, repeated=repeated, partly_repeated=partly)
