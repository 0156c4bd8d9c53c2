"""What one rank does in one step, counted by a dry run or predicted by the cost model: the same record. No torch."""

from dataclasses import dataclass

MODEL, LOSS, UPDATE = "model", "loss", "update"
"""Parts of a step that send: activations, parameters and gradients; the loss's few numbers; the gradient norm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveCount:
    """Collectives of one kind among the same ranks."""

    kind: str
    """By the names of nccl-tests."""
    group: str
    """Axis of the grid of ranks: tensor, shard, replicate, pipeline."""
    ranks: int
    part: str
    """MODEL, LOSS or UPDATE; the cost model knows the first."""
    count: float
    bytes: float
    """Of all together, by the convention of nccl-tests (``layout.communication.Communication``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """Of one rank."""

    flops: float
    """Executed, recomputation included: matmuls, and attention without the blocks that a causal mask leaves out."""
    flops_by_operator: dict[str, float]
    collectives: tuple[CollectiveCount, ...]
    peak_memory_bytes: float
    """Of tensors, without the reserve of a software stack."""
    memory: dict[str, float]
    """Part -> bytes at the peak; they sum to it."""
