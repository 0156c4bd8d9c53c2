"""The device this process trains on, and what it can tell. The only place that knows CUDA from CPU."""

import os
import resource

import torch

from glmplan.errors import InputError

_RUSAGE_UNIT_BYTES = 1024  # Linux counts ru_maxrss in KiB (getrusage(2))


def select_device(device_kind: str, local_rank: int) -> torch.device:
    """The accelerator of ``local_rank`` when there is one and the plan is not for CPUs; the CPU otherwise.

    Raises InputError when this node has accelerators, but fewer than ranks.
    """
    if device_kind == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise InputError(f"layout: rank {local_rank} on this node needs a device, but it has {count}; plan for {count}")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def communication_backend(device: torch.device) -> str:
    """The collectives' library for ``device``. Gloo beside NCCL serves objects and barriers on the host."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def device_name(device: torch.device) -> str:
    """What the runtime calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))


def set_threads(device: torch.device, ranks_on_node: int, threads: int | None = None) -> None:
    """Gives this rank ``threads``, or its share of the node's cores: two ranks with all cores each are far slower."""
    if device.type == "cpu":
        torch.set_num_threads(threads or max(1, usable_cores() // ranks_on_node))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: the device's, or the host's under a limit (which PyTorch tells in words only)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: torch.device) -> None:
    """Starts the count of ``peak_memory_bytes`` anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int | None:
    """The most bytes of tensors at one time since the last reset; None where the allocator does not count."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def peak_reserved_bytes(device: torch.device) -> int | None:
    """The most bytes the caching allocator held; None where there is none."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def peak_resident_bytes() -> int:
    """The most memory this process occupied, with all its libraries."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RUSAGE_UNIT_BYTES
