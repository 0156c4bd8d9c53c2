"""The decoder, as one device sees it: no parallelism, no recomputation, no initial values. ``parallelize`` adds those.

Shape suffixes: B sequences, L tokens, D hidden, N query heads, K key/value heads, H head width, V vocabulary,
P past tokens plus L. Under tensor parallelism N, K (and L of the residual stream) are this rank's part.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmplan.architecture.transformer import Architecture


@dataclass(slots=True)
class KeyValueCache:
    """Keys and values of the tokens one attention layer has seen; grows with every call (generation only)."""

    keys_BKPH: Tensor | None = None
    values_BKPH: Tensor | None = None

    def extend(self, k_BKLH: Tensor, v_BKLH: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones last."""
        if self.keys_BKPH is not None and self.values_BKPH is not None:
            k_BKLH = torch.cat([self.keys_BKPH, k_BKLH], dim=2)
            v_BKLH = torch.cat([self.values_BKPH, v_BKLH], dim=2)
        self.keys_BKPH, self.values_BKPH = k_BKLH, v_BKLH
        return k_BKLH, v_BKLH


def rotary_table(num_positions: int, head_dim: int, theta: float) -> Tensor:
    """Cosines and sines of rotary positions, shape [2, num_positions, head_dim / 2], fp32.

    Source: RoFormer, arXiv:2104.09864, section 3.4.2; pairs are (i, i + head_dim / 2), as in GPT-NeoX and Llama.
    """
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), frequencies)
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x_BLNH: Tensor, rotary_2LH: Tensor) -> Tensor:
    """``x`` with its head dimension turned by its position."""
    cosine, sine = (part[None, :, None, :].to(x_BLNH.dtype) for part in rotary_2LH)
    first, second = x_BLNH.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def make_norm(arch: Architecture, width: int) -> nn.Module:
    """The architecture's norm over ``width``."""
    return nn.RMSNorm(width, arch.norm_epsilon) if arch.norm == "rms" else nn.LayerNorm(width, arch.norm_epsilon)


class AttentionCore(nn.Module):
    """Scores, softmax and context: what selective recomputation computes twice. Has no parameters."""

    def __init__(self, sliding_window: int) -> None:
        super().__init__()
        self.sliding_window = sliding_window

    def forward(self, q_BNLH: Tensor, k_BKPH: Tensor, v_BKPH: Tensor) -> Tensor:
        """Context of shape [B, N, L, H]; query i sees keys up to i + P - L, at most ``sliding_window`` of them."""
        num_queries, num_keys = q_BNLH.shape[2], k_BKPH.shape[2]
        grouped = q_BNLH.shape[1] != k_BKPH.shape[1]
        whole = not self.sliding_window or self.sliding_window >= num_keys
        if whole and num_queries in (1, num_keys):
            causal = num_queries > 1
            return F.scaled_dot_product_attention(q_BNLH, k_BKPH, v_BKPH, is_causal=causal, enable_gqa=grouped)
        mask = self._mask(num_queries, num_keys, q_BNLH.device)
        return F.scaled_dot_product_attention(q_BNLH, k_BKPH, v_BKPH, attn_mask=mask, enable_gqa=grouped)

    def _mask(self, num_queries: int, num_keys: int, device: torch.device) -> Tensor:
        keys = torch.arange(num_keys, device=device)
        queries = keys[num_keys - num_queries :, None]
        seen = keys <= queries
        return seen & (keys > queries - self.sliding_window) if self.sliding_window else seen


class Attention(nn.Module):
    """Multi-head, grouped-query or multi-query attention with its projections."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.head_dim = arch.head_dim
        query_width, kv_width = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
        self.query = nn.Linear(arch.hidden, query_width, bias=arch.attention_bias)
        self.key = nn.Linear(arch.hidden, kv_width, bias=arch.attention_bias)
        self.value = nn.Linear(arch.hidden, kv_width, bias=arch.attention_bias)
        self.output = nn.Linear(query_width, arch.hidden, bias=arch.output_bias)
        self.query_norm = make_norm(arch, arch.head_dim) if arch.qk_norm else None
        self.key_norm = make_norm(arch, arch.head_dim) if arch.qk_norm else None
        self.core = AttentionCore(arch.sliding_window)

    def forward(self, x_BLD: Tensor, rotary_2LH: Tensor | None, cache: KeyValueCache | None = None) -> Tensor:
        """``rotary`` is None for models with learned positions."""
        q_BLNH = self.query(x_BLD).unflatten(-1, (-1, self.head_dim))
        k_BLKH = self.key(x_BLD).unflatten(-1, (-1, self.head_dim))
        v_BLKH = self.value(x_BLD).unflatten(-1, (-1, self.head_dim))
        if self.query_norm is not None and self.key_norm is not None:
            q_BLNH, k_BLKH = self.query_norm(q_BLNH), self.key_norm(k_BLKH)
        if rotary_2LH is not None:
            q_BLNH, k_BLKH = rotate(q_BLNH, rotary_2LH), rotate(k_BLKH, rotary_2LH)
        q_BNLH, k_BKLH, v_BKLH = (part.transpose(1, 2) for part in (q_BLNH, k_BLKH, v_BLKH))
        if cache is not None:
            k_BKLH, v_BKLH = cache.extend(k_BKLH, v_BKLH)
        context_BNLH = self.core(q_BNLH, k_BKLH, v_BKLH)
        return cast(Tensor, self.output(context_BNLH.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    """Gated (SwiGLU, Shazeer 2020, arXiv:2002.05202) or plain (GELU) feed-forward network."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.gate = nn.Linear(arch.hidden, arch.ffn_hidden, bias=arch.mlp_bias) if arch.gated_mlp else None
        self.up = nn.Linear(arch.hidden, arch.ffn_hidden, bias=arch.mlp_bias)
        self.down = nn.Linear(arch.ffn_hidden, arch.hidden, bias=arch.mlp_bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Same shape as the input."""
        up_BLF = self.up(x_BLD)
        activated_BLF = F.gelu(up_BLF, approximate="tanh") if self.gate is None else F.silu(self.gate(x_BLD)) * up_BLF
        return cast(Tensor, self.down(activated_BLF))


class Block(nn.Module):
    """One layer: attention and MLP, each normed before (and after, where the architecture says so) and added."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.attention_norm = make_norm(arch, arch.hidden)
        self.attention = Attention(arch)
        self.attention_post_norm = make_norm(arch, arch.hidden) if arch.post_norms else None
        self.mlp_norm = make_norm(arch, arch.hidden)
        self.mlp = Mlp(arch)
        self.mlp_post_norm = make_norm(arch, arch.hidden) if arch.post_norms else None

    def forward(self, x_BLD: Tensor, rotary_2LH: Tensor | None, cache: KeyValueCache | None = None) -> Tensor:
        """Same shape as the input."""
        attended_BLD = self.attention(self.attention_norm(x_BLD), rotary_2LH, cache)
        if self.attention_post_norm is not None:
            attended_BLD = self.attention_post_norm(attended_BLD)
        x_BLD = x_BLD + attended_BLD
        widened_BLD = self.mlp(self.mlp_norm(x_BLD))
        if self.mlp_post_norm is not None:
            widened_BLD = self.mlp_post_norm(widened_BLD)
        return cast(Tensor, x_BLD + widened_BLD)


class Decoder(nn.Module):
    """Tokens in, logits out. ``num_positions`` is the longest sequence it will see."""

    rotary_2LH: Tensor | None

    def __init__(self, arch: Architecture, num_positions: int) -> None:
        super().__init__()
        self.arch = arch
        self.num_positions = num_positions
        self.embedding = nn.Embedding(arch.vocab, arch.hidden)
        rows = arch.learned_positions
        self.position_embedding = nn.Embedding(rows, arch.hidden) if rows else None
        self.embedding_norm = make_norm(arch, arch.hidden) if arch.embedding_norm else None
        self.layers = nn.ModuleList(Block(arch) for _ in range(arch.layers))
        self.norm = make_norm(arch, arch.hidden) if arch.final_norm else None
        self.head = nn.Linear(arch.hidden, arch.vocab, bias=False)
        self.tie_weights()
        table = None if rows else torch.empty(2, num_positions, arch.head_dim // 2)
        self.register_buffer("rotary_2LH", table, persistent=False)

    def tie_weights(self) -> None:
        """Makes head and embedding one parameter, where the architecture says so."""
        if self.arch.tied_embeddings:
            self.head.weight = self.embedding.weight

    def fill_buffers(self) -> None:
        """Fills the rotary table; needed after the model left the meta device."""
        if self.rotary_2LH is not None:
            table = rotary_table(self.num_positions, self.arch.head_dim, self.arch.rope_theta)
            self.rotary_2LH.copy_(table)

    def forward(self, tokens_BL: Tensor, caches: list[KeyValueCache] | None = None, start: int = 0) -> Tensor:
        """Logits of shape [B, L, V]. With ``caches`` (one a layer) the first token stands at position ``start``."""
        length = tokens_BL.shape[1]
        x_BLD = self.embedding(tokens_BL)
        if self.position_embedding is not None:
            positions_1L = torch.arange(start, start + length, device=tokens_BL.device)[None]
            x_BLD = x_BLD + self.position_embedding(positions_1L)
        if self.embedding_norm is not None:
            x_BLD = self.embedding_norm(x_BLD)
        rotary_2LH = None if self.rotary_2LH is None else self.rotary_2LH[:, start : start + length]
        for index, layer in enumerate(self.layers):
            x_BLD = layer(x_BLD, rotary_2LH) if caches is None else layer(x_BLD, rotary_2LH, caches[index])
        if self.norm is not None:
            x_BLD = self.norm(x_BLD)
        return cast(Tensor, self.head(x_BLD))
