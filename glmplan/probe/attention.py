"""Measures causal attention, forward and backward, through torch's own choice of kernel.

Heads are laid out as (batch, heads, seq, head_dim); fewer key-value heads than heads is grouped-query attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from glmplan.precision import Precision
from glmplan.probe.device_under_test import DTYPES, synchronise
from glmplan.probe.ranks import Rank
from glmplan.probe.section import Row, spread_out
from glmplan.probe.timing import time_call


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCase:
    """One attention call in one direction."""

    dtype: Precision
    batch: int
    seq: int
    heads: int
    kv_heads: int
    head_dim: int
    backward: bool

    def flops(self) -> float:
        """Of the causal half: two products forward, five backward (Dao 2022, arXiv:2205.14135, appendix B.4)."""
        products = 5 if self.backward else 2
        return products * 2.0 * self.batch * self.heads * self.seq * self.seq * self.head_dim / 2


Shape = tuple[int, int, int, int, int]
"""batch, seq, heads, kv_heads, head_dim."""

CPU_FIRST: tuple[Shape, ...] = ((4, 128, 4, 4, 32), (8, 64, 4, 2, 32), (2, 512, 8, 8, 64), (1, 1024, 8, 4, 64))
CUDA_FIRST: tuple[Shape, ...] = ((1, 4096, 32, 8, 128), (4, 2048, 16, 16, 128), (1, 8192, 32, 8, 128))


def attention_cases(kind: str, dtypes: Sequence[Precision], seed: int) -> list[AttentionCase]:
    """Shapes of small models on a CPU, of large ones on a GPU, forward and backward, the telling ones first."""
    shapes = _cuda_shapes() if kind == "cuda" else _cpu_shapes()
    usable = [dtype for dtype in dtypes if dtype is not Precision.FP8 and dtype is not Precision.TF32]
    if kind == "cuda":
        usable = [dtype for dtype in usable if dtype is not Precision.FP32] or usable
    return [
        AttentionCase(dtype=dtype, batch=batch, seq=seq, heads=heads, kv_heads=kv, head_dim=head_dim, backward=backward)
        for batch, seq, heads, kv, head_dim in spread_out(shapes, CUDA_FIRST if kind == "cuda" else CPU_FIRST, seed)
        for dtype in usable
        for backward in (False, True)
    ]


def _cpu_shapes() -> list[Shape]:
    return [
        (batch, seq, heads, kv_heads, head_dim)
        for batch, seq in ((16, 64), (4, 128), (16, 128), (4, 256), (2, 512), (1, 1024), (1, 2048))
        for heads, head_dim in ((2, 32), (4, 32), (4, 64), (8, 64))
        for kv_heads in (heads, heads // 2)
    ]


def _cuda_shapes() -> list[Shape]:
    return [
        (batch, seq, heads, kv_heads, head_dim)
        for batch, seq in ((8, 1024), (1, 2048), (4, 2048), (1, 4096), (2, 4096), (1, 8192), (1, 16384))
        for heads, head_dim in ((16, 64), (8, 128), (16, 128), (32, 128))
        for kv_heads in (heads, max(1, heads // 4))
    ]


def measure_attention(case: AttentionCase, rank: Rank, budget_s: float) -> Row:
    """Times one call (backward: the gradients of q, k and v from a kept forward) for about ``budget_s`` seconds."""
    grouped = case.kv_heads != case.heads

    def heads(count: int) -> torch.Tensor:
        x_BHLD = torch.randn(case.batch, count, case.seq, case.head_dim, device=rank.device, dtype=DTYPES[case.dtype])
        return x_BHLD.requires_grad_()

    q_BHLD, k_BGLD, v_BGLD = heads(case.heads), heads(case.kv_heads), heads(case.kv_heads)

    def forward() -> torch.Tensor:
        return scaled_dot_product_attention(q_BHLD, k_BGLD, v_BGLD, is_causal=True, enable_gqa=grouped)

    out_BHLD = forward()
    gradient_BHLD = torch.randn_like(out_BHLD)

    def backward() -> object:
        return torch.autograd.grad(out_BHLD, (q_BHLD, k_BGLD, v_BGLD), gradient_BHLD, retain_graph=True)

    timing = time_call(backward if case.backward else forward, lambda: synchronise(rank.device), budget_s)
    columns: dict[str, str | int] = {
        "dtype": case.dtype.value,
        "batch": case.batch,
        "seq": case.seq,
        "heads": case.heads,
        "kv_heads": case.kv_heads,
        "head_dim": case.head_dim,
        "direction": "backward" if case.backward else "forward",
    }
    return Row(columns=columns, timing=timing)
