"""Measures collectives between the ranks: gloo on a CPU, NCCL between GPUs.

``bytes`` follows the nccl-tests convention: all_gather the total received, reduce_scatter the total sent, all_reduce
and all_to_all one rank's buffer; send_recv the message, timed as half of a round trip between two ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from glmplan.probe.device_under_test import synchronise
from glmplan.probe.ranks import Rank, new_group
from glmplan.probe.section import Row
from glmplan.probe.timing import sample_seconds, sampling_for, summary, warm_up_seconds

OPS = ("send_recv", "all_reduce", "all_gather", "reduce_scatter", "all_to_all")
ELEMENT_BYTES = 4
SIZES_IN_ANY_CASE = (2**10, 2**20)
"""Measured whatever time is left: the least that tells latency from bandwidth."""
CPU_SIZES = (*SIZES_IN_ANY_CASE, *(2**power for power in (16, 24, 22, 14, 18, 12, 26)))
CUDA_SIZES = (*SIZES_IN_ANY_CASE, *(2**power for power in (28, 16, 24, 22, 26, 14, 18, 12, 30)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveCase:
    """One operation among the first ``ranks`` ranks."""

    op: str
    ranks: int
    size_bytes: int

    def moved_bytes(self) -> float:
        """What grows with the time: the buffer, times the ranks that handle it."""
        return float(self.size_bytes) * self.ranks

    def elements(self) -> int:
        """fp32 elements of the whole buffer, a multiple of the ranks."""
        return max(1, self.size_bytes // ELEMENT_BYTES // self.ranks) * self.ranks


def rank_counts(ranks: int) -> list[int]:
    """Group sizes to measure: all ranks first, then 2, 4, ... below.

    >>> rank_counts(8)
    [8, 2, 4]
    """
    return [ranks] + [count for count in (2**power for power in range(1, 12)) if count < ranks]


def collective_cases(kind: str, ranks: int) -> list[CollectiveCase]:
    """Every operation at one size before the next size; send_recv between two ranks only. Empty for one rank."""
    if ranks < 2:
        return []
    return [
        CollectiveCase(op=op, ranks=count, size_bytes=size)
        for size in (CUDA_SIZES if kind == "cuda" else CPU_SIZES)
        for count in rank_counts(ranks)
        for op in OPS
        if op != "send_recv" or count == 2
    ]


def make_groups(rank: Rank) -> dict[int, dist.ProcessGroup]:
    """The process groups of the first 2, 4, ... ranks. Every rank calls this."""
    return {count: new_group(range(count)) for count in rank_counts(rank.count)}


def measure_collective(
    case: CollectiveCase, groups: dict[int, dist.ProcessGroup], rank: Rank, budget_s: float
) -> Row | None:
    """Times one operation for about ``budget_s`` seconds; None on a rank outside the group.

    Every rank calls this: the number of repeats is agreed by all.
    """
    member = rank.index < case.ranks

    def wait_for_device() -> None:
        synchronise(rank.device)

    call = _operation(case, groups[case.ranks], rank) if member else None
    estimate_s = rank.agree(warm_up_seconds(call, wait_for_device) if call is not None else 0.0)
    if call is None:
        return None
    timing = summary(sample_seconds(call, wait_for_device, sampling_for(estimate_s, budget_s)))
    if case.op == "send_recv":
        timing = type(timing)(
            seconds=timing.seconds / 2, spread_fraction=timing.spread_fraction, samples=timing.samples
        )
    columns: dict[str, str | int] = {"op": case.op, "ranks": case.ranks, "bytes": case.elements() * ELEMENT_BYTES}
    return Row(columns=columns, timing=timing)


def _operation(case: CollectiveCase, group: dist.ProcessGroup, rank: Rank) -> Callable[[], Any]:
    whole = torch.zeros(case.elements(), device=rank.device)
    part = torch.zeros(case.elements() // case.ranks, device=rank.device)
    if case.op == "all_reduce":
        return lambda: dist.all_reduce(whole, group=group)
    if case.op == "all_gather":
        return lambda: _all_gather(whole, part, group=group)
    if case.op == "reduce_scatter":
        return lambda: _reduce_scatter(part, whole, group=group)
    if case.op == "all_to_all":
        received = torch.empty_like(whole)
        return lambda: dist.all_to_all_single(received, whole, group=group)

    def ping_pong() -> None:
        if rank.index == 0:
            dist.send(whole, dst=1, group=group)
            dist.recv(whole, src=1, group=group)
        else:
            dist.recv(whole, src=0, group=group)
            dist.send(whole, dst=0, group=group)

    return ping_pong


# torch 2.13 renamed these two and warns about the old names; older versions have only those.
_all_gather: Callable[..., Any] = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Callable[..., Any] = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
