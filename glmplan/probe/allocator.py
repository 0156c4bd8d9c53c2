"""Measures what a GPU's caching allocator and context take beyond the tensors themselves. A CPU has neither."""

from dataclasses import asdict, dataclass

import torch

from glmplan.probe.ranks import Rank

HIDDEN_BYTES = 4096 * 2048 * 2
"""One activation of a layer: 4,096 tokens of width 2,048 in bf16."""
KEPT_OF_LAYER = (1, 1, 1.5, 1, 4, 4, 4, 1)
"""What a layer keeps for its backward pass, in activations: norms, attention, the gated MLP."""
LAYERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorFacts:
    """Memory beyond tensors, in bytes."""

    context_bytes: int
    """Device memory in use that the allocator does not hold: contexts and libraries, of other processes too."""
    smallest_block_bytes: int
    """What a tensor of one byte takes."""
    smallest_segment_bytes: int
    """What the allocator asks the device for to serve it."""
    step_allocated_bytes: int
    """Peak of live tensors in a sequence of allocations like that of a training step."""
    step_reserved_bytes: int
    """Peak of what the allocator held for it."""

    @property
    def fragmentation_fraction(self) -> float:
        """Reserved over allocated bytes at the peak, less one."""
        return self.step_reserved_bytes / self.step_allocated_bytes - 1

    def as_record(self) -> dict[str, float]:
        """The facts by name, for a JSON document."""
        return {**asdict(self), "fragmentation_fraction": self.fragmentation_fraction}


def measure_allocator(rank: Rank) -> AllocatorFacts | None:
    """The facts of the GPU that ``rank`` holds, in a fresh process; None on a CPU."""
    if rank.device.type != "cuda":
        return None
    cuda = torch.cuda
    one_byte = torch.empty(1, dtype=torch.uint8, device=rank.device)
    cuda.synchronize(rank.device)
    free_bytes, total_bytes = cuda.mem_get_info(rank.device)
    block, segment = cuda.memory_allocated(rank.device), cuda.memory_reserved(rank.device)
    del one_byte
    cuda.reset_peak_memory_stats(rank.device)
    for _ in range(2):  # the second step finds the cache that the first one left, as in training
        _allocate_as_a_step(rank.device)
    return AllocatorFacts(
        context_bytes=total_bytes - free_bytes - segment,
        smallest_block_bytes=block,
        smallest_segment_bytes=segment,
        step_allocated_bytes=cuda.max_memory_allocated(rank.device),
        step_reserved_bytes=cuda.max_memory_reserved(rank.device),
    )


def _allocate_as_a_step(device: torch.device) -> None:
    """Forward: each layer keeps its activations. Backward: it frees them while gradients of their size come and go."""

    def tensor(activations: float) -> torch.Tensor:
        return torch.empty(int(activations * HIDDEN_BYTES), dtype=torch.uint8, device=device)

    layers = [[tensor(size) for size in KEPT_OF_LAYER] for _ in range(LAYERS)]
    upstream = tensor(1)
    while layers:
        kept = layers.pop()
        for size in reversed(KEPT_OF_LAYER):
            gradient = tensor(size)
            kept.pop()
            del gradient
        upstream = tensor(1)
    del upstream
