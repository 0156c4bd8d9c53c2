"""One collective among a group of ranks: kind, bytes, group. No seconds: those are ``cost``'s."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from glmplan.workload.operation import Number


class Collective(StrEnum):
    """Kinds of communication, by the names of nccl-tests."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"
    SEND_RECV = "send_recv"


class Purpose(StrEnum):
    """Which technique asks for it; breakdowns group by this."""

    TENSOR = "tensor_parallel"
    CONTEXT = "context_parallel"
    EXPERT = "expert_parallel"
    PIPELINE = "pipeline_transfer"
    DATA = "data_parallel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Ranks that communicate: ``ranks`` of them, ``stride`` apart in the order in which ranks fill nodes."""

    ranks: Number
    stride: Number
    chain: Number | None = None
    """Ranks of the chain of which the group is one link (pipeline stages); None: the group stands alone."""

    @property
    def span(self) -> Number:
        """Consecutive devices that one such group (or its chain) lies among; blocks of so many are laid end to end."""
        return self.stride * (self.ranks if self.chain is None else self.chain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Where the items of an all-to-all go when one copy is sent for all targets on the same rank or node."""

    targets: int
    """Targets of each item, out of ``pool``; every rank of the group holds as many of the pool."""
    pool: int
    contiguous: bool = False
    """An item's targets are neighbours in the pool; otherwise any set is as likely as any other."""

    def reached(self, units: Number) -> npt.NDArray[np.float64]:
        """Ranks (or nodes) out of ``units`` that an item goes to, on average.

        Drawn without replacement from ``pool`` targets, ``m = pool / units`` on each unit, a unit is missed with
        probability ``prod (pool - m - i) / (pool - i)`` over ``i`` below ``targets`` (hypergeometric distribution).

        >>> round(float(Scatter(targets=8, pool=256).reached(8.0)), 2)
        5.29
        """
        units = np.asarray(units, dtype=float)
        each = self.pool / units
        if self.contiguous:
            return np.asarray(np.maximum(1.0, self.targets / each))
        drawn = np.arange(self.targets, dtype=float)
        left = np.maximum(self.pool - each[..., None] - drawn, 0.0) / (self.pool - drawn)
        return np.asarray(units * (1.0 - np.prod(left, axis=-1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Communication:
    """A collective. ``bytes`` by the convention of nccl-tests.

    All-gather: what each rank ends up with. Reduce-scatter: what each rank puts in. All-reduce and all-to-all: the
    buffer of one rank. Send/receive: the message.
    """

    name: str
    purpose: Purpose
    collective: Collective
    bytes: Number
    group: Group
    backward: bool
    """Part of the backward pass; otherwise of the forward pass."""
    count: Number = 1.0
    beside_attention: Number | None = None
    """Share of the block's attention during which it may travel; None: it does not wait for attention."""
    beside: str | None = None
    """The matmul whose pieces it can run beside, one after the other; None: it waits, and is waited for."""
    partial_sums: int = 1
    """Matmuls whose outputs are added up before they are sent."""
    repeated: bool = False
    """Selective recomputation sends it again."""
    scatter: Scatter | None = None
    """Of an all-to-all whose buffer holds an item once for each target; None: every copy is sent."""
