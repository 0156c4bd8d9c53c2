"""How a stack's kernels compare with those of the measured tables, by the architecture of the device."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from glmplan.documents import parse_yaml, read_text
from glmplan.software.stack import Kernels

FACTORS = Path(__file__).parent / "kernel_factors.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFactors:
    """Seconds of the stack's kernel over seconds of the table's."""

    attention: float
    grouped_matmul_forward: float
    grouped_matmul_backward: float


def kernel_factors(kernels: Kernels, architecture: str) -> KernelFactors:
    """The factors on a device whose architecture's name begins as the data has it; 1 where nothing is known."""
    factors = _factors()

    def of(section: str, name: str) -> float:
        for family, values in factors[section].items():
            if family in architecture:
                return float(values.get(name, 1.0))
        return 1.0

    return KernelFactors(
        attention=of("attention", kernels.attention),
        grouped_matmul_forward=of("grouped_matmul", "forward"),
        grouped_matmul_backward=of("grouped_matmul", "backward"),
    )


@lru_cache(maxsize=1)
def _factors() -> dict[str, Any]:
    data: dict[str, Any] = parse_yaml(read_text(FACTORS), FACTORS.name).data
    return data
