"""What a search may choose: for each dimension of a layout every legal value, or those allowed."""

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from glmplan.layout.parallel_layout import ContextKind, Offload, Recompute, Schedule, Sharding


class Choices(BaseModel):
    """For each dimension None (every legal value) or the values allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tp: tuple[PositiveInt, ...] | None = None
    cp: tuple[PositiveInt, ...] | None = None
    context: tuple[ContextKind, ...] | None = None
    pp: tuple[PositiveInt, ...] | None = None
    virtual_stages: tuple[PositiveInt, ...] | None = None
    ep: tuple[PositiveInt, ...] | None = None
    expert_tp: tuple[PositiveInt, ...] | None = None
    """None: as the stack does it."""
    sharding: tuple[Sharding, ...] | None = None
    shard_group: tuple[PositiveInt, ...] | None = None
    micro_batch: tuple[PositiveInt, ...] | None = None
    recompute: tuple[Recompute, ...] | None = None
    recompute_layers: tuple[NonNegativeInt, ...] | None = None
    """With full recomputation; None: all layers of a stage."""
    schedule: tuple[Schedule, ...] | None = None
    sequence_parallel: tuple[bool, ...] | None = None
    offload: tuple[Offload, ...] | None = None
    """None: no offload."""
