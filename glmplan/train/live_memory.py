"""Counts the bytes of live tensors while code runs: a step's peak memory where the allocator keeps no count.

Allocations inside an operator that do not leave it (workspaces) are not seen. Slows every operator down, so a counted
step is not a timed one.
"""

import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """As a context manager; ``peak_bytes`` is the most bytes alive at one time, those of ``already`` included."""

    def __init__(self, already: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._bytes = 0
        self._live: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}
        self._resize: Callable[..., Any] = torch.UntypedStorage.resize_
        for tensor in already:
            self._count(tensor.to_local() if isinstance(tensor, DTensor) else tensor)

    def __enter__(self) -> Self:
        original = self._resize

        def resize(storage: torch.UntypedStorage, num_bytes: int) -> Any:
            result = original(storage, num_bytes)
            if storage._cdata in self._live:
                self._set(storage)
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
            return NotImplemented  # comes back as operators on plain tensors
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if type(value) is Tensor:
                self._count(value)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._live and storage.device.type != "meta":
            self._set(storage)

    def _set(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        before = self._live.get(key)
        reference = before[1] if before else weakref.ref(storage, lambda _: self._forget(key))
        self._live[key] = (num_bytes, reference)
        self._bytes += num_bytes - (before[0] if before else 0)
        self.peak_bytes = max(self.peak_bytes, self._bytes)

    def _forget(self, key: int) -> None:
        entry = self._live.pop(key, None)
        if entry is not None:
            self._bytes -= entry[0]
