"""Peak bytes of a step by what they are for, from the storages of tensors that have none.

As ``live_memory``, which counts real allocations: workspaces inside an operator are not seen.
"""

import weakref
from collections.abc import Callable, Iterable
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glmplan.train.dry_run.phase import Clock, Phase


class Use(StrEnum):
    """What a tensor is for, by the names of the cost model's parts."""

    PARAMETERS = "parameters_bytes"
    GRADIENTS = "gradients_bytes"
    OPTIMIZER = "optimizer_bytes"
    GATHERED = "gathered_parameters_bytes"
    """Parameters while they are whole, and gradients before they are cut."""
    ACTIVATIONS = "activations_bytes"
    LOSS = "loss_bytes"
    """What the loss function makes, and the gradients of it."""
    WORKSPACE = "workspace_bytes"
    """Whatever the backward pass and the update make besides."""


USES = {
    Phase.FORWARD: Use.ACTIVATIONS,
    Phase.LOSS: Use.LOSS,
    Phase.BACKWARD: Use.WORKSPACE,
    Phase.UPDATE: Use.WORKSPACE,
}


class MemoryLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """As a context manager; ``peak`` is what was alive at the fullest moment, by use."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: dict[Use, int] = {}
        self.peak_phase = Phase.FORWARD
        self._peak_bytes = 0
        self._by_use = dict.fromkeys(Use, 0)
        self._clock = clock
        self._live: dict[int, tuple[int, Use, weakref.ref[torch.UntypedStorage]]] = {}
        self._resize: Callable[..., Any] = torch.UntypedStorage.resize_

    def enter(self, tensors: Iterable[Tensor | None], use: Use) -> None:
        """Files what ``tensors`` take under ``use``."""
        for tensor in tensors:
            if tensor is not None:
                local = tensor._local_tensor if isinstance(tensor, DTensor) else tensor
                self._set(local.untyped_storage(), use)

    def __enter__(self) -> Self:
        original = self._resize

        def resize(storage: torch.UntypedStorage, num_bytes: int) -> Any:
            result = original(storage, num_bytes)
            entry = self._live.get(storage._cdata)
            if entry is not None:
                self._set(storage, entry[1])
            return result

        # FSDP2 frees gathered parameters by resizing their storage, which is no operator.
        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign,assignment]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(issubclass(kind, (DTensor, AsyncCollectiveTensor)) for kind in types):
            return NotImplemented
        if func is torch.ops._c10d_functional.wait_tensor.default:
            return args[0]  # the fake mode would give a second tensor for the one that was waited for
        self._clock.hear(func.overloadpacket.__name__)
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._find(value.untyped_storage())
        self._refile(func, args, kwargs or {}, result)
        self._look()
        return result

    def _refile(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Knows FSDP2's buffers by the operators that fill them."""
        name = func.overloadpacket.__name__
        if func.namespace == "fsdp":
            outputs = kwargs.get("out", result)
            self.enter((t for t in tree_leaves(outputs) if isinstance(t, Tensor)), Use.GATHERED)
        elif func.namespace == "c10d" and ("reduce_scatter" in name or "allreduce" in name):
            self.enter((t for t in tree_leaves(args[0]) if isinstance(t, Tensor)), Use.GRADIENTS)

    def _find(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._live:
            self._set(storage, USES[self._clock.phase])

    def _set(self, storage: torch.UntypedStorage, use: Use) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        entry = self._live.get(key)
        if entry is not None:
            self._by_use[entry[1]] -= entry[0]
        reference = entry[2] if entry else weakref.ref(storage, lambda _: self._forget(key))
        self._live[key] = (num_bytes, use, reference)
        self._by_use[use] += num_bytes

    def _look(self) -> None:
        total = sum(self._by_use.values())
        if total > self._peak_bytes:
            self._peak_bytes, self.peak, self.peak_phase = total, dict(self._by_use), self._clock.phase

    def _forget(self, key: int) -> None:
        entry = self._live.pop(key, None)
        if entry is not None:
            self._by_use[entry[1]] -= entry[0]
