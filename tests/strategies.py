"""Hypothesis strategies that several test folders share. Small sizes: they are for relations, not for magnitudes."""

from hypothesis import strategies as st

from glmplan.architecture.transformer import Architecture, LatentAttention, MixtureOfExperts


@st.composite
def mixtures(draw: st.DrawFn, layers: int) -> MixtureOfExperts:
    """Mixtures of experts for a model of ``layers`` layers."""
    experts = draw(st.integers(1, 16))
    shared = draw(st.integers(0, 2))
    return MixtureOfExperts(
        experts=experts,
        top_k=draw(st.integers(1, experts)),
        expert_ffn_hidden=8 * draw(st.integers(1, 16)),
        shared_experts=shared,
        shared_expert_gate=shared > 0 and draw(st.booleans()),
        router_bias=draw(st.booleans()),
        dense_layers=draw(st.integers(0, layers - 1)),
    )


@st.composite
def latents(draw: st.DrawFn) -> LatentAttention:
    """Latent attentions."""
    width = st.integers(1, 8).map(lambda n: 8 * n)
    return LatentAttention(
        q_lora_rank=draw(st.just(0) | width),
        kv_lora_rank=draw(width),
        qk_nope_head_dim=draw(width),
        qk_rope_head_dim=draw(width),
        v_head_dim=draw(width),
    )


@st.composite
def architectures(
    draw: st.DrawFn, *, moe: bool | None = None, mla: bool | None = None, max_layers: int = 8
) -> Architecture:
    """Valid small decoders; ``moe`` and ``mla`` say whether experts and latent attention are in (None: either)."""
    layers = draw(st.integers(1, max_layers))
    kv_heads = draw(st.sampled_from([1, 2, 4]))
    heads = kv_heads * draw(st.sampled_from([1, 2, 4]))
    has_moe = draw(st.booleans()) if moe is None else moe
    has_mla = draw(st.booleans()) if mla is None else mla
    return Architecture(
        name="drawn",
        layers=layers,
        hidden=8 * draw(st.integers(1, 32)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([8, 16, 32])),
        ffn_hidden=8 * draw(st.integers(1, 64)),
        gated_mlp=draw(st.booleans()),
        vocab=draw(st.integers(16, 4096)),
        tied_embeddings=draw(st.booleans()),
        learned_positions=draw(st.sampled_from([0, 512])),
        norm=draw(st.sampled_from(["rms", "layer"])),
        post_norms=draw(st.booleans()),
        attention_bias=draw(st.booleans()),
        output_bias=draw(st.booleans()),
        mlp_bias=draw(st.booleans()),
        qk_norm=not has_mla and draw(st.booleans()),
        mla=draw(latents()) if has_mla else None,
        moe=draw(mixtures(layers)) if has_moe else None,
    )
