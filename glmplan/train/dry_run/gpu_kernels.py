"""The kernels of a GPU under tensors that are on the CPU: flash attention, and an RMS norm that keeps its input only.

Operators choose their parts by device; on a CPU the norm keeps fp32 copies, and attention is another kernel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate
from torch.nn import functional as F


@contextmanager
def gpu_kernels() -> Iterator[None]:
    """What is called inside takes the GPU's way, recomputation included. For tensors without storage only.

    The functions themselves are replaced: a function mode is off while ``backward`` runs, and so in recomputation.
    """
    attend, norm = F.scaled_dot_product_attention, F.rms_norm

    def flash(*args: Any, **kwargs: Any) -> Tensor:
        if not kwargs.get("is_causal"):
            return attend(*args, **kwargs)
        return cast(Tensor, torch.ops.aten._scaled_dot_product_flash_attention(*args, 0.0, True)[0])

    def fused(x: Tensor, shape: list[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
        return norm(x, shape, weight, eps) if weight is None else _fused_norm(x, weight)

    with patch.object(F, "scaled_dot_product_attention", flash), patch.object(F, "rms_norm", fused):
        yield


def _fused_norm(x: Tensor, weight: Tensor) -> Tensor:
    if not isinstance(x, DTensor) or not isinstance(weight, DTensor):
        return _FusedNorm.apply(x, weight)  # type: ignore[no-any-return,no-untyped-call]
    mesh, placements = x.device_mesh, x.placements
    # Each rank normed other tokens, unless it holds all of them.
    gradient = [Replicate() if placement.is_replicate() else Partial() for placement in placements]
    local = _FusedNorm.apply(x.to_local(), weight.to_local(grad_placements=gradient))  # type: ignore[no-untyped-call]
    return DTensor.from_local(local, mesh, placements, run_check=False)


class _FusedNorm(torch.autograd.Function):
    """Shapes of the fused kernel: keeps the input and one fp32 number a row (torch's ``_fused_rms_norm`` on CUDA)."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor) -> Tensor:
        scale = torch.empty(*x.shape[:-1], 1, dtype=torch.float32, device=x.device)
        context.save_for_backward(x, weight, scale)
        return torch.empty_like(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight, _ = context.saved_tensors
        return torch.empty_like(x), torch.empty_like(weight)
