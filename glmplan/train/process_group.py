"""This process's place among all processes of a run, and their process group."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch._C._distributed_c10d import HashStore

from glmplan.errors import InputError
from glmplan.train import devices

_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where this process stands, as torchrun tells it."""

    rank: int
    world_size: int
    local_rank: int
    ranks_on_node: int


def own_place() -> Place:
    """From torchrun's environment; one process alone without it."""
    return Place(
        rank=int(os.environ.get("RANK", "0")),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        ranks_on_node=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )


@contextmanager
def joined(place: Place, *, device_kind: str, world_size: int, threads: int | None = None) -> Iterator[torch.device]:
    """The default process group of a run that needs ``world_size`` processes; yields this process's device.

    ``threads`` are this rank's on a CPU, None for its share of the cores.

    Raises InputError when torchrun started another number of processes, or a node has too few devices.
    """
    if place.world_size != world_size:
        raise InputError(
            f"the layout needs {world_size} processes, torchrun started {place.world_size}; use --nproc-per-node and "
            f"--nnodes with the product {world_size}"
        )
    device = devices.select_device(device_kind, place.local_rank)
    devices.set_threads(device, place.ranks_on_node, threads)
    backend = devices.communication_backend(device)
    if "RANK" in os.environ:
        distributed.init_process_group(backend, timeout=_TIMEOUT)
    else:
        distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        yield device
    finally:
        distributed.destroy_process_group()
