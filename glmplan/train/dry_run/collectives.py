"""Which collectives a rank takes part in: kind, group, how often, how many bytes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.distributed_c10d import GroupName, _resolve_process_group  # type: ignore[attr-defined]
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glmplan.layout.communication import Collective
from glmplan.train.dry_run.counts import LOSS, MODEL, UPDATE
from glmplan.train.dry_run.phase import Clock, Phase

KINDS = {
    "all_reduce": Collective.ALL_REDUCE,
    "allreduce": Collective.ALL_REDUCE,
    "all_gather": Collective.ALL_GATHER,
    "allgather": Collective.ALL_GATHER,
    "reduce_scatter": Collective.REDUCE_SCATTER,
    "all_to_all": Collective.ALL_TO_ALL,
    "alltoall": Collective.ALL_TO_ALL,
    "send": Collective.SEND_RECV,
}
"""How torch's operators of a kind begin. A message is counted where it is sent."""


PARTS = {Phase.FORWARD: MODEL, Phase.LOSS: LOSS, Phase.BACKWARD: MODEL, Phase.UPDATE: UPDATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What makes two collectives the same."""

    kind: Collective
    ranks: tuple[int, ...]
    part: str


@dataclass(slots=True)
class Tally:
    """How often, and bytes of all together by the convention of ``layout.communication.Communication``."""

    count: int = 0
    num_bytes: int = 0


class CollectiveLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """As a context manager; ``tallies`` are the collectives issued inside among two ranks or more."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tallies: dict[Call, Tally] = {}
        self._clock = clock

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(issubclass(kind, (DTensor, AsyncCollectiveTensor)) for kind in types):
            return NotImplemented
        self._clock.hear(func.overloadpacket.__name__)
        result = func(*args, **(kwargs or {}))
        if func.namespace in ("c10d", "_c10d_functional"):
            # FSDP2 gathers the last layer again before the loss's backward pass is done; it uses plain collectives.
            part = MODEL if func.namespace == "c10d" and self._clock.phase is Phase.LOSS else PARTS[self._clock.phase]
            self._enter(func.overloadpacket.__name__.lstrip("_"), part, args, result)
        return result

    def _enter(self, name: str, part: str, args: tuple[Any, ...], result: Any) -> None:
        kind = next((kind for start, kind in KINDS.items() if name.startswith(start)), None)
        ranks = _ranks(args)
        if kind is None or len(ranks) < 2:
            return
        tally = self.tallies.setdefault(Call(kind=kind, ranks=ranks, part=part), Tally())
        tally.count += 1
        # Of an all-gather the result is the largest tensor, of a reduce-scatter the input, of the others all are alike.
        tally.num_bytes += max(_num_bytes(value) for value in (*args, result))


def _ranks(args: tuple[Any, ...]) -> tuple[int, ...]:
    for value in args:
        if isinstance(value, str):
            try:
                return tuple(distributed.get_process_group_ranks(_resolve_process_group(GroupName(value))))
            except (LookupError, ValueError, RuntimeError):
                continue
        if isinstance(value, torch.ScriptObject):
            try:
                return tuple(distributed.get_process_group_ranks(distributed.ProcessGroup.unbox(value)))
            except (RuntimeError, TypeError):
                continue
    return ()


def _num_bytes(value: Any) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
