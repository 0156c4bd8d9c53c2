"""How long attention kernels take beside the kernel of the measured tables, by generation of the device."""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat

from glmplan.documents import check, read_yaml
from glmplan.errors import NoData

NARROW, WIDE = 64, 128
"""Head widths between which the factor of a narrow head is interpolated, in logarithm."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttentionKernel(_Record):
    """One kernel on one generation of devices."""

    forward: PositiveFloat
    """Forward seconds over those of the generation's reference kernel."""
    backward_over_forward: PositiveFloat
    """Backward seconds over the kernel's own forward."""
    narrow_head: PositiveFloat
    """Seconds for each FLOP at head width 64 over those at 128."""
    how: Literal["read", "derived", "assumed"]
    source: str
    note: str

    def forward_factor(self, head_dim: float) -> float:
        """Forward seconds over those that the reference kernel's rate at width 128 gives for the same FLOPs.

        Widths beyond 64 to 128 count as the nearer one.
        """
        narrow = np.log(WIDE / min(max(head_dim, NARROW), WIDE)) / np.log(WIDE / NARROW)
        return float(self.forward * self.narrow_head**narrow)


class _Generation(_Record):
    name: str
    matches: tuple[str, ...]
    """Words of a device's architecture; the first generation with a match is taken."""
    reference: str
    kernels: dict[str, AttentionKernel]


class _Source(_Record):
    title: str
    url: str


class _Kernels(_Record):
    generations: tuple[_Generation, ...]
    sources: dict[str, _Source]


def attention_kernel(architecture: str, kernel: str | None = None) -> AttentionKernel:
    """``kernel`` on a device of ``architecture`` (as the device profile says it); None: the measured tables' kernel.

    Raises NoData for a generation or a kernel on it that is not known.
    """
    generation = next((g for g in _kernels().generations if any(word in architecture for word in g.matches)), None)
    if generation is None:
        raise NoData(f"attention: no kernels are known for {architecture or 'a device without architecture'}")
    name = kernel or generation.reference
    if name not in generation.kernels:
        raise NoData(
            f"attention: kernel {name!r} is not known on {architecture}; known are {', '.join(generation.kernels)}"
        )
    return generation.kernels[name]


@cache
def _kernels() -> _Kernels:
    return check(_Kernels, read_yaml(Path(__file__).with_name("attention_kernels.yaml")))
