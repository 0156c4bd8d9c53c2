"""How a stack's kernels compare with those of the measured tables, on a device's architecture."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat

from glmplan.documents import check, read_yaml
from glmplan.errors import NoData
from glmplan.software.attention_kernels import attention_kernel
from glmplan.software.stack import Kernels

FLOPS_RATIO = 2.5
"""FLOPs of a flash attention's backward over its forward (five products against two): where no ratio was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFactors:
    """Seconds of the stack's kernels over seconds of the tables' kernels."""

    matmul: float
    attention: float
    attention_backward: float
    """Backward seconds of the attention kernel over its own forward."""
    grouped_matmul_forward: float
    grouped_matmul_backward: float
    """Of grouped over plain matmuls."""

    def slowed(self, *, compute: float, matmul: float) -> "KernelFactors":
        """The factors where all compute kernels take ``compute`` times as long, and matmuls ``matmul`` times that."""
        return replace(self, matmul=self.matmul * compute * matmul, attention=self.attention * compute)


class _Passes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    forward: PositiveFloat
    backward: PositiveFloat


class _GroupedMatmuls(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    grouped_matmul: dict[str, _Passes]


def kernel_factors(kernels: Kernels, architecture: str, head_dim: float) -> KernelFactors:
    """The factors on a device of ``architecture``; 1, and the ratio of the FLOPs, where nothing is known of it."""
    forward, backward = 1.0, FLOPS_RATIO
    if kernels.attention != "unfused":
        name = None if kernels.attention == "flash" else kernels.attention
        try:
            kernel = attention_kernel(architecture, name)
            forward, backward = kernel.forward_factor(head_dim), kernel.backward_over_forward
        except NoData:
            pass  # AMD, TPU, CPU, Volta: the table's own kernel stands for any
    # The measured factors are of loops over the experts, which the host drives; a whole-step graph excludes those.
    looped = _grouped() if kernels.cuda_graph != "full" else {}
    grouped = next((passes for family, passes in looped.items() if family in architecture), None)
    return KernelFactors(
        matmul=1.0,
        attention=forward,
        attention_backward=backward,
        grouped_matmul_forward=1.0 if grouped is None else grouped.forward,
        grouped_matmul_backward=1.0 if grouped is None else grouped.backward,
    )


@cache
def _grouped() -> dict[str, _Passes]:
    return check(_GroupedMatmuls, read_yaml(Path(__file__).with_name("grouped_matmuls.yaml"))).grouped_matmul
