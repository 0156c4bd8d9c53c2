"""What a layout is predicted to take: the records in which cost hands its answer on. Parts sum to the whole."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Grade(StrEnum):
    """How well a prediction is supported, best first."""

    CALIBRATED = "calibrated"
    """This device and this software stack were measured together."""
    TRANSFERRED = "transferred"
    """Kernels of this device or of its generation were measured; this stack on it was not."""
    DATASHEET = "datasheet"
    """Neither: kernels of another generation, scaled by the datasheets, or a flat share of the peak."""


class MemoryVerdict(StrEnum):
    """Whether a layout fits in the device's memory, seen with the error bar of its peak."""

    WITH_MARGIN = "fits with the whole error bar"
    LIKELY = "fits, but the error bar reaches beyond the device's memory"
    UNLIKELY = "does not fit, but may: the device's memory lies inside the error bar"
    NOT = "does not fit, and the error bar leaves no doubt"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TimeBreakdown(_Record):
    """Where one step's seconds go, on the slowest rank. The parts sum to ``step_time_s``."""

    forward_s: float
    backward_s: float
    recompute_s: float
    tensor_parallel_s: float
    """Exposed tensor- and sequence-parallel collectives."""
    context_parallel_s: float
    expert_parallel_s: float
    pipeline_transfer_s: float
    pipeline_bubble_s: float
    data_parallel_s: float
    """Exposed gradient reduction and parameter gathering."""
    straggler_s: float = 0.0
    """Waits for the slowest of all devices."""
    offload_s: float = 0.0
    """Waits for what travels between device and host, where a layout offloads."""
    optimizer_s: float
    other_s: float
    """Fixed cost of a step in this software stack: data, logging, synchronisation."""


class MemoryBreakdown(_Record):
    """Peak bytes of the fullest rank. The parts sum to ``peak_memory_bytes``."""

    parameters_bytes: float
    """Parameters held between uses (the shard, when sharded)."""
    main_parameters_bytes: float
    """The optimizer's fp32 copies."""
    gradients_bytes: float
    optimizer_bytes: float
    gathered_parameters_bytes: float
    """Unsharded parameters and gradients in flight (FSDP, ZeRO-3)."""
    activations_bytes: float
    """Kept for the backward pass, over all micro-batches in flight."""
    loss_bytes: float
    """Logits and the temporary copies of the loss."""
    workspace_bytes: float
    """Temporaries of the layer being computed, communication buffers."""
    reserve_bytes: float
    """Device context and allocator reserve of the software stack."""


class StepEstimate(_Record):
    """The predicted step of one layout."""

    step_time_s: float
    step_time_low90_s: float
    step_time_high90_s: float
    tokens_per_s: float
    tokens_per_s_per_gpu: float
    mfu: float
    """Model FLOP/s over the device peak at the job's precision; formula in ``architecture.model_flops``."""
    hfu: float
    """The same with the FLOPs really executed, recomputation included."""
    model_flops: float
    """Model FLOPs of one step, over all devices."""
    peak_memory_bytes: float
    """Per device, the fullest one: what must fit."""
    peak_memory_low90_bytes: float
    peak_memory_high90_bytes: float
    cached_memory_bytes: float = 0.0
    """What the allocator is expected to hold on top, and gives back when memory is short."""
    host_memory_bytes: float = 0.0
    """What one device's rank has in the memory of its host, where a layout offloads."""
    memory_capacity_bytes: float
    memory: MemoryBreakdown
    time: TimeBreakdown
    grade: Grade
    usd_per_hour: float | None = None
    """Of all devices together; None where no price is known."""
    usd_per_billion_tokens: float | None = None
    usd_per_billion_tokens_low90: float | None = None
    """Money and days move with the step time; their interval is its."""
    usd_per_billion_tokens_high90: float | None = None
    train_days: float | None = None
    """Days to train the job's tokens without failures; None where no token count is given."""
    train_low90_days: float | None = None
    train_high90_days: float | None = None

    @property
    def memory_verdict(self) -> MemoryVerdict:
        """Whether the layout fits, with or without its error bar."""
        if self.peak_memory_bytes <= self.memory_capacity_bytes:
            sure = self.peak_memory_high90_bytes <= self.memory_capacity_bytes
            return MemoryVerdict.WITH_MARGIN if sure else MemoryVerdict.LIKELY
        possible = self.peak_memory_low90_bytes <= self.memory_capacity_bytes
        return MemoryVerdict.UNLIKELY if possible else MemoryVerdict.NOT

    @property
    def allocated_memory_bytes(self) -> float:
        """As ``torch.cuda.max_memory_allocated`` counts."""
        return self.peak_memory_bytes - self.memory.reserve_bytes

    @property
    def reserved_memory_bytes(self) -> float:
        """As ``torch.cuda.max_memory_reserved`` counts: the device's capacity is its limit."""
        room = max(self.memory_capacity_bytes - self.memory.reserve_bytes, self.allocated_memory_bytes)
        return min(self.allocated_memory_bytes + self.cached_memory_bytes, room)

    @property
    def device_memory_bytes(self) -> float:
        """As nvidia-smi counts: with the context and whatever else lies outside the allocator."""
        return self.reserved_memory_bytes + self.memory.reserve_bytes
