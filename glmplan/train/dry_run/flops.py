"""FLOPs of a rank, operator by operator. Attention counts what a kernel executes that skips masked blocks."""

from typing import Any

import torch
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

CAUSAL_SHARE = 0.5
"""Of the score matrix, what stands on or below the diagonal, as ``workload.operation.Attention`` counts it."""
FORWARD_PRODUCTS = 2
"""Scores and context."""
BACKWARD_PRODUCTS = 5
"""Scores again, and the gradients of v, of the probabilities, of q and of k (Dao 2023, arXiv:2307.08691,
section 3.1)."""


class FlopLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """As a context manager; ``by_operator`` is what was executed inside, in FLOPs by the operator's name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_operator: dict[str, float] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(issubclass(kind, (DTensor, AsyncCollectiveTensor)) for kind in types):
            return NotImplemented  # comes back as operators on this rank's parts
        result = func(*args, **(kwargs or {}))
        flops = _flops(func, args, kwargs or {}, result)
        if flops:
            name = func.overloadpacket.__name__.lstrip("_")
            self.by_operator[name] = self.by_operator.get(name, 0.0) + flops
        return result


def _flops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> float:
    name = func.overloadpacket.__name__
    if "flash_attention" in name:
        backward = name.endswith("backward")
        query, key = args[1:3] if backward else args[:2]
        pairs = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
        products = BACKWARD_PRODUCTS if backward else FORWARD_PRODUCTS
        share = CAUSAL_SHARE if any(value is True for value in (*args, *kwargs.values())) else 1.0
        flops: float = 2.0 * products * pairs * query.shape[3] * share
        return flops
    if func.overloadpacket not in flop_registry or not isinstance(args[0], torch.Tensor):
        return 0.0
    return float(flop_registry[func.overloadpacket](*args, **kwargs, out_val=result))
