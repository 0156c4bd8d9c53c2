"""How a stack's kernels compare with those of the measured tables, on a device's architecture."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PositiveFloat

from glmplan.documents import check, read_yaml
from glmplan.errors import NoData
from glmplan.software.attention_kernels import attention_kernel
from glmplan.software.stack import Kernels

Floats = npt.NDArray[np.float64]
FLOPS_RATIO = 2.5
"""FLOPs of a flash attention's backward over its forward (five products against two): where no ratio was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFactors:
    """Seconds of the stack's kernels over seconds of the tables' kernels."""

    matmul: float
    attention: float
    attention_backward: float
    """Backward seconds of the attention kernel over its own forward."""
    grouped: "GroupedMatmuls | None"
    """Of grouped over plain matmuls; None: the same."""

    def slowed(self, *, compute: float, matmul: float) -> "KernelFactors":
        """The factors where all compute kernels take ``compute`` times as long, and matmuls ``matmul`` times that."""
        return replace(self, matmul=self.matmul * compute * matmul, attention=self.attention * compute)


class GroupedMatmuls(BaseModel):
    """Seconds of matmuls run expert by expert over those of plain ones of the same shapes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[PositiveFloat, ...]
    """Of one expert, ascending."""
    forward: tuple[PositiveFloat, ...]
    backward: tuple[PositiveFloat, ...]

    def factors(self, tokens: Floats | float) -> tuple[Floats, Floats]:
        """Forward and backward at ``tokens`` an expert: linear in their logarithm, constant outside the measured."""
        at, known = np.log(np.maximum(tokens, 1.0)), np.log(self.tokens)
        return np.interp(at, known, self.forward), np.interp(at, known, self.backward)


class _GroupedFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    grouped_matmul: dict[str, GroupedMatmuls]


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
    return KernelFactors(
        matmul=1.0,
        attention=forward,
        attention_backward=backward,
        grouped=next((measured for family, measured in looped.items() if family in architecture), None),
    )


@cache
def _grouped() -> dict[str, GroupedMatmuls]:
    return check(_GroupedFile, read_yaml(Path(__file__).with_name("grouped_matmuls.yaml"))).grouped_matmul
