"""How many parameters an architecture has, exactly, by kind. How ranks share them is the layout's business."""

from dataclasses import dataclass, fields

from glmplan.architecture.transformer import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerParameters:
    """Parameters of one layer, by kind. A kind that the architecture lacks is 0.

    A layer holds ``attention + norms`` and either ``dense_mlp`` or ``router + routed_experts + shared_experts``;
    a decoder layer of an encoder-decoder also holds ``cross_attention + cross_norms``.
    """

    attention: int
    """Self-attention with its biases, without norms."""
    attention_replicated: int
    """Of ``attention``, what every tensor-parallel rank holds: latent down-projections and the output bias."""
    dense_mlp: int
    """A dense MLP; 0 where every layer is an expert layer."""
    router: int
    """Router, balancing bias and shared-expert gate."""
    routed_experts: int
    """All routed experts of one layer."""
    shared_experts: int
    norms: int
    """All norms of a layer, those of queries, keys and latents included."""
    cross_attention: int
    cross_norms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCounts:
    """Parameters of a whole model, by kind, summed over layers. The kinds sum to ``total``."""

    embedding: int
    """Token table, and segment table where there is one."""
    position: int
    """Learned positions or relative-position biases."""
    attention: int
    cross_attention: int
    dense_mlp: int
    router: int
    routed_experts: int
    shared_experts: int
    norms: int
    head: int
    """Vocabulary projection (0 if tied), BERT's heads, and the projections of multi-token prediction."""
    routed_experts_active: int
    """Of ``routed_experts``, those that one token visits. Not a further kind."""

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name != "routed_experts_active")

    @property
    def active(self) -> int:
        """Parameters that one token touches: all but the experts it does not visit; the embedding counts in full."""
        return self.total - self.routed_experts + self.routed_experts_active


def layer_parameters(arch: Architecture) -> LayerParameters:
    """Parameters of one layer of ``arch``, by kind."""
    moe = arch.moe
    router = 0
    if moe is not None:
        router = arch.hidden * (moe.experts + moe.shared_expert_gate) + moe.experts * moe.router_bias
    attention = _attention(arch)
    return LayerParameters(
        attention=attention,
        attention_replicated=_attention_replicated(arch),
        dense_mlp=_mlp(arch, arch.ffn_hidden) if moe is None or moe.dense_layers else 0,
        router=router,
        routed_experts=0 if moe is None else moe.experts * _mlp(arch, moe.expert_ffn_hidden),
        shared_experts=_mlp(arch, moe.shared_width) if moe is not None and moe.shared_width else 0,
        norms=_layer_norms(arch),
        cross_attention=attention if arch.decoder_layers else 0,
        cross_norms=_norm(arch, arch.hidden) if arch.decoder_layers else 0,
    )


def parameter_counts(arch: Architecture) -> ParameterCounts:
    """Parameters of ``arch``, by kind, biases included."""
    layer = layer_parameters(arch)
    stacks = 2 if arch.decoder_layers else 1
    # a multi-token-prediction module norms its two inputs and its output
    outer_norms = arch.embedding_norm + stacks * arch.final_norm + 3 * arch.mtp_layers
    moe, layers, expert_layers = arch.moe, arch.total_layers + arch.mtp_layers, arch.moe_layers + arch.mtp_expert_layers
    routed = expert_layers * layer.routed_experts
    return ParameterCounts(
        embedding=(arch.vocab + arch.token_types) * arch.hidden,
        position=arch.learned_positions * arch.hidden + stacks * arch.relative_position_buckets * arch.heads,
        attention=layers * layer.attention,
        cross_attention=arch.decoder_layers * layer.cross_attention,
        dense_mlp=(layers - expert_layers) * layer.dense_mlp,
        router=expert_layers * layer.router,
        routed_experts=routed,
        shared_experts=expert_layers * layer.shared_experts,
        norms=layers * layer.norms + arch.decoder_layers * layer.cross_norms + outer_norms * _norm(arch, arch.hidden),
        head=_head(arch),
        routed_experts_active=0 if moe is None else routed // moe.experts * moe.top_k,
    )


def _attention(arch: Architecture) -> int:
    """Projections of one self- or cross-attention. Latent attention: arXiv:2405.04434, section 2.1 and appendix C."""
    mla, hidden, heads = arch.mla, arch.hidden, arch.heads
    output_bias = hidden * arch.output_bias
    if mla is None:
        query_key_value = (heads + 2 * arch.kv_heads) * arch.head_dim
        return (
            hidden * query_key_value
            + query_key_value * arch.attention_bias
            + heads * arch.head_dim * hidden
            + output_bias
        )
    down = mla.kv_lora_rank + mla.qk_rope_head_dim + mla.q_lora_rank
    query_input = mla.q_lora_rank or hidden
    up = query_input * heads * mla.qk_head_dim + mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    return hidden * down + down * arch.attention_bias + up + heads * mla.v_head_dim * hidden + output_bias


def _attention_replicated(arch: Architecture) -> int:
    output_bias = arch.hidden * arch.output_bias
    if arch.mla is None:
        return output_bias
    down = arch.mla.kv_lora_rank + arch.mla.qk_rope_head_dim + arch.mla.q_lora_rank
    return (arch.hidden + arch.attention_bias) * down + output_bias


def _mlp(arch: Architecture, width: int) -> int:
    inputs = 2 if arch.gated_mlp else 1
    bias = (inputs * width + arch.hidden) * arch.mlp_bias
    return (inputs + 1) * arch.hidden * width + bias


def _norm(arch: Architecture, width: int) -> int:
    return width if arch.norm == "rms" else 2 * width


def _layer_norms(arch: Architecture) -> int:
    norms = (4 if arch.post_norms else 2) * _norm(arch, arch.hidden)
    if arch.mla is not None:
        return norms + _norm(arch, arch.mla.kv_lora_rank) + _norm(arch, arch.mla.q_lora_rank)
    return norms + 2 * _norm(arch, arch.head_dim) * arch.qk_norm


def _head(arch: Architecture) -> int:
    projection = 0 if arch.tied_embeddings else arch.vocab * arch.hidden
    projection += arch.mtp_layers * 2 * arch.hidden**2
    if not arch.bert_heads:
        return projection
    square = arch.hidden * (arch.hidden + 1)
    next_sentence = 2 * (arch.hidden + 1)
    transform = square + _norm(arch, arch.hidden) + arch.vocab
    return projection + square + next_sentence + transform
