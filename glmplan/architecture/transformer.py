"""What a transformer is: shapes only, no counts, no time. Counts are in ``parameters`` and ``model_flops``."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Generous bounds: far above any model, so that only slips are refused.
_Layers = Annotated[int, Field(gt=0, le=10_000, strict=True)]
_Width = Annotated[int, Field(gt=0, le=2**24, strict=True)]
_Heads = Annotated[int, Field(gt=0, le=2**16, strict=True)]
_Vocab = Annotated[int, Field(gt=0, le=2**28, strict=True)]
_Experts = Annotated[int, Field(gt=0, le=2**16, strict=True)]
_Count = Annotated[int, Field(ge=0, le=2**28, strict=True)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MixtureOfExperts(_Record):
    """The expert layers of a mixture-of-experts model."""

    experts: _Experts
    """Routed experts per layer."""
    top_k: _Experts
    """Routed experts that each token visits."""
    expert_ffn_hidden: _Width
    """Width of one routed expert."""
    shared_experts: _Count = 0
    """Experts that every token visits."""
    shared_expert_ffn_hidden: _Count = 0
    """Width of the shared experts together; 0 means ``shared_experts * expert_ffn_hidden``."""
    dense_layers: _Count = 0
    """Leading layers with a dense MLP of width ``ffn_hidden``; the others are expert layers."""
    router_bias: bool = False
    """One balancing bias per routed expert (DeepSeek-V3, arXiv:2412.19437, section 2.1.2)."""
    shared_expert_gate: bool = False
    """A learned scalar gate before the shared experts (Qwen1.5-MoE)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_k > self.experts:
            raise ValueError(f"top_k: {self.top_k} is more than experts {self.experts}; use at most {self.experts}")
        if self.shared_expert_gate and not self.shared_width:
            raise ValueError("shared_expert_gate: needs shared experts; give shared_experts")
        return self

    @property
    def shared_width(self) -> int:
        """Width of all shared experts together."""
        return self.shared_expert_ffn_hidden or self.shared_experts * self.expert_ffn_hidden


class LatentAttention(_Record):
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1)."""

    q_lora_rank: _Count = 0
    """Rank of the query compression; 0 means an uncompressed query projection."""
    kv_lora_rank: _Width
    qk_nope_head_dim: _Width
    qk_rope_head_dim: _Width
    v_head_dim: _Width

    @property
    def qk_head_dim(self) -> int:
        """Width of one head's queries and keys."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim


class Architecture(_Record):
    """A transformer's shape. Field names equal those of the published cases' ``model`` record."""

    name: str = Field(min_length=1, max_length=200)
    family: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    layers: _Layers
    """Decoder layers of a decoder, encoder layers of an encoder or encoder-decoder."""
    decoder_layers: _Count = 0
    """Decoder layers of an encoder-decoder; each adds cross-attention. 0 for the other families."""
    hidden: _Width
    heads: _Heads
    kv_heads: _Heads
    """Fewer than ``heads`` for grouped-query attention; ignored with ``mla``."""
    head_dim: _Width
    """Ignored with ``mla``, which brings its own widths."""
    ffn_hidden: _Width
    gated_mlp: bool = True
    """Three matrices (SwiGLU, GeGLU) instead of two."""
    vocab: _Vocab
    tied_embeddings: bool = False
    learned_positions: _Count = 0
    """Rows of a learned position table; 0 for rotary, relative or ALiBi positions."""
    relative_position_buckets: _Count = 0
    """Rows of a relative-position bias table per head, one table per stack (T5: 32); 0 for none."""
    token_types: _Count = 0
    """Rows of a segment table (BERT: 2)."""
    norm: Literal["rms", "layer"] = "rms"
    """Root-mean-square norms have a weight, layer norms a weight and a bias."""
    embedding_norm: bool = False
    """A norm after the embedding (BERT, BLOOM)."""
    final_norm: bool = True
    """A norm after the last layer of each stack (not in BERT, whose layers end with one)."""
    post_norms: bool = False
    """Two more norms per layer, after attention and after the MLP (GLM-4-0414)."""
    attention_bias: bool = False
    """Bias on the query, key and value projections."""
    output_bias: bool = False
    """Bias on the attention's output projection."""
    mlp_bias: bool = False
    """Bias on every matrix of the MLPs and experts."""
    qk_norm: bool = False
    """A norm of width ``head_dim`` on queries and on keys (Qwen3)."""
    bert_heads: bool = False
    """BERT's training heads: pooler, next-sentence classifier, and a dense layer with norm before the vocabulary."""
    sliding_window: _Count = 0
    """Tokens a position attends to; 0 means all."""
    full_attention_every: _Count = 0
    """With a sliding window: each so-many-th layer attends to all tokens (gpt-oss: 2, Gemma 3: 6); 0: none does."""
    clamped_activation: bool = False
    """Both inputs of a gated activation are clamped first (gpt-oss, ``swiglu_limit``)."""
    mtp_layers: _Count = 0
    """Multi-token-prediction modules trained beside the model: each a projection of two widths to one, a layer, and
    the shared head once more (DeepSeek-V3, arXiv:2412.19437, section 2.2)."""
    mla: LatentAttention | None = None
    moe: MixtureOfExperts | None = None
    rope_theta: float = Field(default=10000.0, gt=0, allow_inf_nan=False)
    norm_epsilon: float = Field(default=1e-5, gt=0, lt=1)
    source: str = "user"
    """Where the shape was read."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heads % self.kv_heads:
            divisors = ", ".join(str(d) for d in range(1, self.heads + 1) if self.heads % d == 0)
            raise ValueError(f"kv_heads: {self.kv_heads} does not divide heads {self.heads}; use one of {divisors}")
        if (self.family == "encoder-decoder") != (self.decoder_layers > 0):
            raise ValueError("decoder_layers: must be positive for an encoder-decoder and 0 for other families")
        if self.moe is not None and self.moe.dense_layers >= self.layers:
            raise ValueError(f"moe.dense_layers: must be less than layers {self.layers}; got {self.moe.dense_layers}")
        if self.decoder_layers and (self.moe is not None or self.mla is not None):
            raise ValueError("moe and mla: are for decoders and encoders; an encoder-decoder has neither")
        if self.full_attention_every and not self.sliding_window:
            raise ValueError("full_attention_every: needs sliding_window; without one every layer attends to all")
        if self.mtp_layers and self.family != "decoder":
            raise ValueError("mtp_layers: multi-token prediction is for decoders; use 0")
        if self.mla is not None and self.qk_norm:
            raise ValueError("qk_norm: latent attention has its own norms; use false with mla")
        return self

    @property
    def moe_layers(self) -> int:
        """Layers whose MLP is a set of experts."""
        return 0 if self.moe is None else self.layers - self.moe.dense_layers

    @property
    def mtp_expert_layers(self) -> int:
        """Multi-token-prediction modules whose MLP is a set of experts."""
        return 0 if self.moe is None else self.mtp_layers

    @property
    def windowed_share(self) -> float:
        """Share of the layers that attend within the sliding window."""
        if not self.sliding_window:
            return 0.0
        full = self.layers // self.full_attention_every if self.full_attention_every else 0
        return 1.0 - full / self.layers

    @property
    def total_layers(self) -> int:
        """Encoder plus decoder layers, without multi-token prediction."""
        return self.layers + self.decoder_layers

    @property
    def causal(self) -> bool:
        """Whether the (decoder's) self-attention looks back only."""
        return self.family != "encoder"
