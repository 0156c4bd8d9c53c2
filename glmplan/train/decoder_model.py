"""The decoder, as one device sees it: no parallelism, no recomputation, no initial values. ``parallelize`` adds those.

Shape suffixes: B sequences, L tokens, D hidden, N query heads, K key/value heads, H head width, V vocabulary,
P past tokens plus L. Under tensor parallelism N, K (and L of the residual stream) are this rank's part.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmplan.architecture.transformer import Architecture
from glmplan.train.key_value_cache import KeyValueCache, LayerCache


def rotary_table(num_positions: int, head_dim: int, theta: float) -> Tensor:
    """Cosines and sines of rotary positions, shape [2, num_positions, head_dim / 2], fp32.

    Source: RoFormer, arXiv:2104.09864, section 3.4.2; pairs are (i, i + head_dim / 2), as in GPT-NeoX and Llama.
    """
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), frequencies)
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x_BLNH: Tensor, rotary_2LH: Tensor) -> Tensor:
    """``x`` with its head dimension turned by its position; rows of the table may differ (shape [2, B, L, H / 2])."""
    cosine, sine = (part.unsqueeze(-2).to(x_BLNH.dtype) for part in rotary_2LH)
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

    def forward(self, q_BNLH: Tensor, k_BKPH: Tensor, v_BKPH: Tensor, padding_B: Tensor | None = None) -> Tensor:
        """Context of shape [B, N, L, H]; query i sees keys up to i + P - L, at most ``sliding_window`` of them.

        The first ``padding_B`` keys of a row are seen by nobody else.
        """
        num_queries, num_keys = q_BNLH.shape[2], k_BKPH.shape[2]
        grouped = q_BNLH.shape[1] != k_BKPH.shape[1]
        whole = not self.sliding_window or self.sliding_window >= num_keys
        if whole and padding_B is None and num_queries in (1, num_keys):
            causal = num_queries > 1
            return F.scaled_dot_product_attention(q_BNLH, k_BKPH, v_BKPH, is_causal=causal, enable_gqa=grouped)
        mask = self._mask(num_queries, num_keys, q_BNLH.device, padding_B)
        return F.scaled_dot_product_attention(q_BNLH, k_BKPH, v_BKPH, attn_mask=mask, enable_gqa=grouped)

    def _mask(self, num_queries: int, num_keys: int, device: torch.device, padding_B: Tensor | None) -> Tensor:
        keys = torch.arange(num_keys, device=device)
        queries = keys[num_keys - num_queries :, None]
        seen = keys <= queries
        if self.sliding_window:
            seen = seen & (keys > queries - self.sliding_window)
        if padding_B is None:
            return seen
        # Padding sees itself: a softmax over nothing would be NaN, and NaN times a weight of zero is NaN.
        return (seen & (keys >= padding_B[:, None, None]) | (keys == queries))[:, None]


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

    def forward(self, x_BLD: Tensor, rotary_2LH: Tensor | None, cache: LayerCache | None = None) -> Tensor:
        """``rotary`` is None for models with learned positions."""
        q_BLNH = self.query(x_BLD).unflatten(-1, (-1, self.head_dim))
        k_BLKH = self.key(x_BLD).unflatten(-1, (-1, self.head_dim))
        v_BLKH = self.value(x_BLD).unflatten(-1, (-1, self.head_dim))
        if self.query_norm is not None and self.key_norm is not None:
            q_BLNH, k_BLKH = self.query_norm(q_BLNH), self.key_norm(k_BLKH)
        if rotary_2LH is not None:
            q_BLNH, k_BLKH = rotate(q_BLNH, rotary_2LH), rotate(k_BLKH, rotary_2LH)
        q_BNLH, k_BKLH, v_BKLH = (part.transpose(1, 2) for part in (q_BLNH, k_BLKH, v_BLKH))
        if cache is None:
            context_BNLH = self.core(q_BNLH, k_BKLH, v_BKLH)
        else:
            context_BNLH = self.core(q_BNLH, *cache.extend(k_BKLH, v_BKLH), cache.padding_B)
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

    def forward(self, x_BLD: Tensor, rotary_2LH: Tensor | None, cache: LayerCache | None = None) -> Tensor:
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
    """Tokens in, logits out. ``num_positions`` is the longest sequence it will see.

    With ``held`` it is a part for a pipeline: those layers alone, under the names they have in the whole. Only a part
    with the first layer takes tokens, only one with the last gives logits; elsewhere hidden states come and go.
    ``opens`` and ``closes`` say which that is, for parts without layers.
    """

    rotary_2LH: Tensor | None

    def __init__(
        self,
        arch: Architecture,
        num_positions: int,
        *,
        held: range | None = None,
        opens: bool = True,
        closes: bool = True,
    ) -> None:
        super().__init__()
        self.arch = arch
        self.num_positions = num_positions
        rows = arch.learned_positions
        # The last part of a tied model has a copy of the embedding, to tie its head to.
        embeds = opens or (closes and arch.tied_embeddings)
        self.opens = opens
        self.embedding = nn.Embedding(arch.vocab, arch.hidden) if embeds else None
        self.position_embedding = nn.Embedding(rows, arch.hidden) if rows and opens else None
        self.embedding_norm = make_norm(arch, arch.hidden) if arch.embedding_norm and opens else None
        self.layers = nn.ModuleList()
        for index in range(arch.layers) if held is None else held:
            self.layers.add_module(str(index), Block(arch))
        self.norm = make_norm(arch, arch.hidden) if arch.final_norm and closes else None
        self.head = nn.Linear(arch.hidden, arch.vocab, bias=False) if closes else None
        self.tie_weights()
        table = None if rows else torch.empty(2, num_positions, arch.head_dim // 2)
        self.register_buffer("rotary_2LH", table, persistent=False)

    def tie_weights(self) -> None:
        """Makes head and embedding one parameter, where the architecture says so."""
        if self.arch.tied_embeddings and self.embedding is not None and self.head is not None:
            self.head.weight = self.embedding.weight

    def fill_buffers(self) -> None:
        """Fills the rotary table; needed after the model left the meta device."""
        if self.rotary_2LH is not None:
            table = rotary_table(self.num_positions, self.arch.head_dim, self.arch.rope_theta)
            self.rotary_2LH.copy_(table)

    def forward(self, inputs: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits [B, L, V] of tokens [B, L]; a part takes and gives hidden states [B, L, D] where it lacks an end.

        With a ``cache`` the tokens follow those that it holds, and are added to it.
        """
        positions_BL = None if cache is None else cache.next_positions(inputs.shape[1])
        x_BLD = self._embed(inputs, positions_BL) if self.opens else inputs
        rotary_2LH = None
        if self.rotary_2LH is not None and positions_BL is not None:
            rotary_2LH = self.rotary_2LH[:, positions_BL]
        elif self.rotary_2LH is not None:
            # Under sequence parallelism a part's input holds some positions only, but attention needs the table of all.
            end = inputs.shape[1] if self.opens else self.num_positions
            rotary_2LH = self.rotary_2LH[:, :end]
        for index, layer in enumerate(self.layers):
            x_BLD = layer(x_BLD, rotary_2LH) if cache is None else layer(x_BLD, rotary_2LH, cache.layers[index])
        if self.norm is not None:
            x_BLD = self.norm(x_BLD)
        return x_BLD if self.head is None else cast(Tensor, self.head(x_BLD))

    def _embed(self, tokens_BL: Tensor, positions_BL: Tensor | None) -> Tensor:
        assert self.embedding is not None
        x_BLD = self.embedding(tokens_BL)
        if self.position_embedding is not None:
            if positions_BL is None:
                positions_BL = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)[None]
            x_BLD = x_BLD + self.position_embedding(positions_BL)
        return cast(Tensor, x_BLD if self.embedding_norm is None else self.embedding_norm(x_BLD))
