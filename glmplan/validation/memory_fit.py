"""What a stack's memory is off by, from measured peaks: a scale and what is added, both shrunk to nothing.

Minimises over a, b, with measured m_i, predicted p_i and weight w_i:
sum_i w_i ((a p_i + b) / m_i - 1)^2 / 0.05^2 + ((a - 1) / 0.07)^2 + (b / s)^2; s is 2 GiB for what the framework
allocates, 8 GiB for what the allocator reserves or the driver shows, which hold contexts and caches of unknown size.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ERROR = 0.05
_FAR = 0.15
_SCALE_SIGMA = 0.07
ADDED_SIGMA_GIB = {"allocated": 2.0, "reserved": 8.0, "device": 8.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFit:
    """``scale * predicted + added_gib``."""

    scale: float = 1.0
    added_gib: float = 0.0

    def at(self, predicted_gib: Floats) -> Floats:
        """The corrected peaks."""
        return self.scale * predicted_gib + self.added_gib


def fit_memory(predicted_gib: Floats, measured_gib: Floats, weights: Floats, kind: str) -> MemoryFit:
    """The correction that the peaks ask for; none where there are none."""
    features = np.stack([predicted_gib / measured_gib, 1.0 / measured_gib], axis=1)
    off = 1.0 - features[:, 0]
    # What lies far off lacks something that no scale mends, and must not set it for the others (Cauchy weights).
    scaled = features.T * (weights / (1.0 + (off / _FAR) ** 2) / _ERROR**2)
    prior = np.diag([1.0 / _SCALE_SIGMA**2, 1.0 / ADDED_SIGMA_GIB[kind] ** 2])
    scale, added = np.linalg.solve(scaled @ features + prior, scaled @ off)
    return MemoryFit(scale=1.0 + float(scale), added_gib=float(added))
