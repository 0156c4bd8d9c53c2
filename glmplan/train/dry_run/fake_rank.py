"""One process that stands for rank R of a run: a process group without peers, and tensors without storage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import distributed
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor._sharding_prop import ShardingPropagator
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import _disable_current_modes


@contextmanager
def fake_rank(rank: int, world_size: int) -> Iterator[FakeTensorMode]:
    """The default process group with this process as ``rank`` of ``world_size``. Collectives return at once.

    Yields the mode under which tensors have shapes only. It must not be on while a device mesh is made or sliced.
    """
    distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    try:
        with _quiet_propagation():
            yield FakeTensorMode()
    finally:
        distributed.destroy_process_group()


@contextmanager
def _quiet_propagation() -> Iterator[None]:
    """Keeps the trial operators by which DTensor finds shapes of whole tensors from the modes that count.

    DTensor runs them under the fake mode that is on already, so a counter would take them for this rank's work.
    """
    name = "_propagate_tensor_meta_non_cached"
    original = getattr(ShardingPropagator, name)

    def quiet(propagator: ShardingPropagator, schema: Any) -> Any:
        with _disable_current_modes():
            return original(propagator, schema)

    setattr(ShardingPropagator, name, quiet)
    try:
        yield
    finally:
        setattr(ShardingPropagator, name, original)
