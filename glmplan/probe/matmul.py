"""Measures matmuls as linear layers run them: x[m, k] times the transpose of w[n, k], without bias.

fp8 rows are the multiplication alone, with tensor-wide scales; quantising the operands is not in them.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from glmplan.precision import Precision
from glmplan.probe.device_under_test import DTYPES, allow_tf32, synchronise
from glmplan.probe.ranks import Rank
from glmplan.probe.section import Row, spread_out
from glmplan.probe.timing import time_call


@dataclass(frozen=True, slots=True, kw_only=True)
class MatmulCase:
    """One shape in one format."""

    dtype: Precision
    m: int
    n: int
    k: int

    def flops(self) -> float:
        """2 m n k."""
        return 2.0 * self.m * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    m: Sequence[int]
    n: Sequence[int]
    k: Sequence[int]
    most_flops: float
    """Larger products are left out: the rate no longer changes there."""
    first: Sequence[tuple[int, int, int]]
    """Shapes that a slow machine measures before its time is up."""


CPU_GRID = _Grid(
    m=(64, 256, 1024, 4096, 16384),
    n=(64, 128, 256, 512, 1024, 2048, 4096, 16384),
    k=(64, 128, 256, 512, 1024, 2048, 4096),
    most_flops=2.2e9,
    first=((1024, 512, 512), (256, 128, 128), (1024, 1024, 1024), (4096, 512, 128), (4096, 128, 512), (64, 64, 64)),
)
CUDA_GRID = _Grid(
    m=(64, 256, 1024, 2048, 4096, 8192, 16384),
    n=(128, 512, 1024, 2048, 4096, 8192, 16384, 32768),
    k=(128, 512, 1024, 2048, 4096, 8192, 16384),
    most_flops=4.4e12,
    first=((8192, 8192, 8192), (4096, 4096, 4096), (1024, 4096, 4096), (4096, 1024, 1024), (256, 512, 512)),
)


def matmul_cases(kind: str, dtypes: Sequence[Precision], seed: int) -> list[MatmulCase]:
    """The shapes for a device kind, every shape in all formats before the next one, the telling ones first."""
    grid = CUDA_GRID if kind == "cuda" else CPU_GRID
    shapes = [(m, n, k) for m, n, k in itertools.product(grid.m, grid.n, grid.k) if 2.0 * m * n * k <= grid.most_flops]
    return [
        MatmulCase(dtype=dtype, m=m, n=n, k=k) for m, n, k in spread_out(shapes, grid.first, seed) for dtype in dtypes
    ]


def measure_matmul(case: MatmulCase, rank: Rank, budget_s: float) -> Row:
    """Times one product on this rank's device for about ``budget_s`` seconds."""
    allow_tf32(case.dtype is Precision.TF32)
    with torch.no_grad():
        timing = time_call(_product(case, rank.device), lambda: synchronise(rank.device), budget_s)
    return Row(columns={"dtype": case.dtype.value, "m": case.m, "n": case.n, "k": case.k}, timing=timing)


def _product(case: MatmulCase, device: torch.device) -> Callable[[], torch.Tensor]:
    dtype = DTYPES[case.dtype]
    if case.dtype is Precision.FP8:
        x_MK = torch.randn(case.m, case.k, device=device).to(dtype)
        w_NK = torch.randn(case.n, case.k, device=device).to(dtype)
        one = torch.ones((), device=device)
        return lambda: torch._scaled_mm(x_MK, w_NK.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    x_MK = torch.randn(case.m, case.k, device=device, dtype=dtype)
    w_NK = torch.randn(case.n, case.k, device=device, dtype=dtype)
    return lambda: torch.nn.functional.linear(x_MK, w_NK)
