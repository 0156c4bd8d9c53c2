"""One collective among a group of ranks: kind, bytes, group. No seconds: those are ``cost``'s."""

from dataclasses import dataclass
from enum import StrEnum

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
