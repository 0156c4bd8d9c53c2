"""Model FLOPs: what one token needs in forward and backward, whatever the hardware does. Basis of MFU.

A multiply-add is 2 FLOPs and the backward pass costs twice the forward (Kaplan 2020, arXiv:2001.08361, section 2.1).
Matmuls only: norms, softmax, activations and biases are left out, as in all published MFU figures. Recomputation is
not model FLOPs.
"""

from dataclasses import dataclass

from glmplan.architecture.transformer import Architecture

FORMULA = "6 FLOPs per active matmul weight and token + 6 s heads (qk_dim + v_dim) per attention + 6 hidden vocab"
"""The formula in one line, for reports."""

_FORWARD_AND_BACKWARD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFlops:
    """FLOPs per token, forward and backward. The parts sum to ``total``."""

    matmul: float
    """Projections, MLPs, visited experts, routers."""
    attention: float
    """Scores and their product with the values."""
    head: float
    """Vocabulary projection."""

    @property
    def total(self) -> float:
        """All model FLOPs of one token."""
        return self.matmul + self.attention + self.head


def model_flops_per_token(
    arch: Architecture, seq_len: int, *, encoder_seq_len: int | None = None, causal_half: bool = False
) -> ModelFlops:
    """Model FLOPs of one token in a sequence of ``seq_len`` tokens, forward and backward.

    For a GPT this is ``72 l h^2 (1 + s / 6h + V / 12lh)`` (Narayanan 2021, arXiv:2104.04473, eq. 3, without its
    recomputation) and, in parameters, ``6 N + 12 l heads head_dim s`` (PaLM, arXiv:2204.02311, appendix B). Both
    count causal attention in full, and so does this by default; ``causal_half`` counts the half that a causal kernel
    executes (bidirectional and cross-attention stay whole). A mixture of experts counts the experts a token visits.

    For an encoder-decoder the token is a decoder token; the encoder's work on ``encoder_seq_len`` tokens (default:
    ``seq_len``) is spread over the decoder's. The head is counted at every token, also for an encoder.
    """
    pair = 2.0 * arch.heads * (2 * arch.head_dim if arch.mla is None else arch.mla.qk_head_dim + arch.mla.v_head_dim)
    keys = mean_attended_keys(arch, seq_len, halved=causal_half and arch.causal)
    layers, expert_layers = arch.total_layers + arch.mtp_layers, arch.moe_layers + arch.mtp_expert_layers
    mlp = expert_layers * _expert_mlp_weights(arch) + (layers - expert_layers) * _mlp_weights(arch, arch.ffn_hidden)
    if arch.decoder_layers == 0:
        weights = float(layers * _attention_weights(arch) + mlp + arch.mtp_layers * 2 * arch.hidden**2)
        scores = layers * pair * keys
    else:
        source_len = seq_len if encoder_seq_len is None else encoder_seq_len
        ratio = source_len / seq_len
        one_layer = _attention_weights(arch) + _mlp_weights(arch, arch.ffn_hidden)
        cross = arch.heads * arch.head_dim * 2 * arch.hidden + ratio * 2 * arch.hidden * arch.kv_heads * arch.head_dim
        weights = ratio * arch.layers * one_layer + arch.decoder_layers * (one_layer + cross)
        source_keys = attended_keys(source_len, window=arch.sliding_window, halved=False)
        scores = pair * (ratio * arch.layers * source_keys + arch.decoder_layers * (keys + source_len))
    head = arch.hidden * (arch.vocab * (1 + arch.mtp_layers) + arch.hidden * arch.bert_heads)
    return ModelFlops(
        matmul=_FORWARD_AND_BACKWARD * 2.0 * weights,
        attention=_FORWARD_AND_BACKWARD * scores,
        head=_FORWARD_AND_BACKWARD * 2.0 * head,
    )


def attended_keys(seq_len: int, *, window: int, halved: bool) -> float:
    """Keys that a query meets on average. ``window`` 0 means all; ``halved`` leaves out what causality masks.

    Halved, a window of ``w`` in ``s`` tokens gives ``w - w^2 / 2s``: ``s / 2`` without a window. The diagonal's half
    token is neglected, as in published figures.
    """
    width = min(seq_len, window) if window else seq_len
    return width - width * width / (2 * seq_len) if halved else float(width)


def mean_attended_keys(arch: Architecture, seq_len: int, *, halved: bool) -> float:
    """``attended_keys`` over the layers of ``arch``, of which some may attend within a window and some to all."""
    windowed = attended_keys(seq_len, window=arch.sliding_window, halved=halved)
    everything = attended_keys(seq_len, window=0, halved=halved)
    return arch.windowed_share * windowed + (1.0 - arch.windowed_share) * everything


def _attention_weights(arch: Architecture) -> int:
    mla, hidden, heads = arch.mla, arch.hidden, arch.heads
    if mla is None:
        return 2 * hidden * (heads + arch.kv_heads) * arch.head_dim
    down = hidden * (mla.q_lora_rank + mla.kv_lora_rank + mla.qk_rope_head_dim)
    up = heads * (
        (mla.q_lora_rank or hidden) * mla.qk_head_dim + mla.kv_lora_rank * (mla.qk_nope_head_dim + mla.v_head_dim)
    )
    return down + up + heads * mla.v_head_dim * hidden


def _mlp_weights(arch: Architecture, width: int) -> int:
    return (3 if arch.gated_mlp else 2) * arch.hidden * width


def _expert_mlp_weights(arch: Architecture) -> int:
    moe = arch.moe
    if moe is None:
        return 0
    visited = moe.top_k * moe.expert_ffn_hidden + moe.shared_width
    return _mlp_weights(arch, visited) + arch.hidden * (moe.experts + moe.shared_expert_gate)
