"""What a transformer is: shapes only, no counts, no time. Counts are in ``parameters`` and ``model_flops``."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MixtureOfExperts(_Record):
    """The expert layers of a mixture-of-experts model."""

    experts: PositiveInt
    """Routed experts per layer."""
    top_k: PositiveInt
    """Routed experts that each token visits."""
    expert_ffn_hidden: PositiveInt
    """Width of one routed expert."""
    shared_experts: int = Field(default=0, ge=0)
    """Experts that every token visits."""
    shared_expert_ffn_hidden: int = Field(default=0, ge=0)
    """Width of the shared experts together; 0 means ``shared_experts * expert_ffn_hidden``."""
    dense_layers: int = Field(default=0, ge=0)
    """Leading layers with a dense MLP of width ``ffn_hidden``; the others are expert layers."""

    @property
    def shared_width(self) -> int:
        """Width of all shared experts together."""
        return self.shared_expert_ffn_hidden or self.shared_experts * self.expert_ffn_hidden


class LatentAttention(_Record):
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1)."""

    q_lora_rank: int = Field(default=0, ge=0)
    """Rank of the query compression; 0 means an uncompressed query projection."""
    kv_lora_rank: PositiveInt
    qk_nope_head_dim: PositiveInt
    qk_rope_head_dim: PositiveInt
    v_head_dim: PositiveInt


class Architecture(_Record):
    """A transformer's shape. Field names equal those of the published cases' ``model`` record."""

    name: str = Field(min_length=1, max_length=200)
    family: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    layers: PositiveInt
    """Decoder layers of a decoder, encoder layers of an encoder or encoder-decoder."""
    decoder_layers: int = Field(default=0, ge=0)
    """Decoder layers of an encoder-decoder; each adds cross-attention. 0 for the other families."""
    hidden: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    ffn_hidden: PositiveInt
    gated_mlp: bool = True
    """Three matrices (SwiGLU, GeGLU) instead of two."""
    vocab: PositiveInt
    tied_embeddings: bool = False
    learned_positions: int = Field(default=0, ge=0)
    """Rows of a learned position table; 0 for rotary, relative or ALiBi positions."""
    token_types: int = Field(default=0, ge=0)
    """Rows of a segment table (BERT: 2)."""
    norm: Literal["rms", "layer"] = "rms"
    attention_bias: bool = False
    """Bias on the query, key and value projections."""
    output_bias: bool = False
    """Bias on the attention's output projection."""
    mlp_bias: bool = False
    qk_norm: bool = False
    sliding_window: int = Field(default=0, ge=0)
    """Tokens a position attends to; 0 means all."""
    mla: LatentAttention | None = None
    moe: MixtureOfExperts | None = None
    rope_theta: float = Field(default=10000.0, gt=0)
    norm_epsilon: float = Field(default=1e-5, gt=0)
    source: str = "user"
    """Where the shape was read."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads: {self.kv_heads} does not divide heads {self.heads}")
        if (self.family == "encoder-decoder") != (self.decoder_layers > 0):
            raise ValueError("decoder_layers: must be positive for an encoder-decoder and 0 for other families")
        if self.moe is not None and self.moe.top_k > self.moe.experts:
            raise ValueError(f"moe.top_k: {self.moe.top_k} is more than moe.experts {self.moe.experts}")
        if self.moe is not None and self.moe.dense_layers >= self.layers:
            raise ValueError(f"moe.dense_layers: must be less than layers {self.layers}; got {self.moe.dense_layers}")
        return self

    @property
    def moe_layers(self) -> int:
        """Layers whose MLP is a set of experts."""
        return 0 if self.moe is None else self.layers - self.moe.dense_layers

    @property
    def total_layers(self) -> int:
        """Encoder plus decoder layers."""
        return self.layers + self.decoder_layers

    @property
    def causal(self) -> bool:
        """Whether the (decoder's) self-attention looks back only."""
        return self.family != "encoder"
