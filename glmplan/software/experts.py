"""What a stack does for mixtures of experts: how tokens travel, what hides it, how the experts' kernels are fused."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat


class ExpertKernels(BaseModel):
    """What the stack executes for one layer of experts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dispatch: Literal["all_to_all", "all_gather", "multicast"] = "all_to_all"
    """``all_to_all``: a copy for every expert that a token visits. ``all_gather``: every rank gets every token.
    ``multicast``: one copy for every rank and, between nodes, for every node that a token visits (DeepEP and HybridEP;
    DeepSeek-V3, arXiv:2412.19437, section 3.2.2)."""
    overlap: bool = False
    """The exchange of one micro-batch runs beside the compute of another."""
    communication_share: float = Field(default=0.15, ge=0, lt=1)
    """Of the multiprocessors, those that an exchange occupies while it runs beside compute: 20 of 132 in DeepEP on
    H800 (arXiv:2412.19437, section 3.2.2)."""
    fused_clamp: bool = False
    """Clamps of the activation's inputs happen inside its kernel, not in passes of their own."""
    fused_epilogue: bool = False
    """Biases of the experts do as well, inside the kernels of their matmuls."""
    weighted_activation: bool = False
    """The router's probabilities multiply the activation, not the output, which then need not be kept
    (Megatron-Core since 0.13)."""
    routing: Literal["random", "contiguous"] = "random"
    """A token's experts are drawn alike, or neighbours of each other (a benchmark's fake gate)."""
    padded_to_capacity: bool = False
    """Every expert gets equally many rows: what is over is dropped, what is missing padded
    (``moe_pad_expert_input_to_capacity``)."""
    load_violation: NonNegativeFloat = 0.04
    """Tokens of the fullest expert over the mean, less 1, beyond chance: MaxVio of Wang 2024 (arXiv:2408.15664, table
    2), 0.04 with balancing biases and 0.5 to 0.7 with an auxiliary loss; 0 where routing is forced to be balanced."""
