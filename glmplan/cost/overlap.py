"""What communication and host time remain visible behind compute."""

import numpy as np
import numpy.typing as npt

from glmplan.workload.operation import Number

HOST_NORM = 6.0
"""Sharpness of the soft maximum of device and host time: 12 % above the larger where both are equal."""


def smooth_maximum(a: Number, b: Number, sharpness: float = HOST_NORM) -> Number:
    """``(a^p + b^p)^(1/p)``: a maximum whose slope in both arguments never vanishes, so that a fit can move either.

    >>> round(float(smooth_maximum(3.0, 4.0)), 3)
    4.113
    """
    larger = np.maximum(a, b)
    ratio = np.minimum(a, b) / np.where(larger > 0, larger, 1.0)
    return larger * (1.0 + ratio**sharpness) ** (1.0 / sharpness)


def exposed_s(communication_s: Number, hiding_s: Number, least_share: float) -> Number:
    """Communication that compute of ``hiding_s`` seconds does not cover, and at least ``least_share`` of it."""
    return np.maximum(communication_s * least_share, communication_s - hiding_s)


def beside_compute_s(communication_s: Number, compute_s: Number, share: float) -> Number:
    """What communication adds to compute of ``compute_s`` seconds that runs beside it.

    It takes ``share`` of the device's multiprocessors away while both run; what outlasts the compute stays visible.

    >>> round(float(beside_compute_s(1.0, 4.0, 0.2)), 3), round(float(beside_compute_s(3.0, 0.0, 0.2)), 3)
    (0.2, 3.0)
    """
    together = compute_s / (1.0 - share)
    return np.where(communication_s <= together, share * communication_s, communication_s - compute_s)


def pieces_exposed_s(communication_s: Number, matmul_s: Number, pieces: Number) -> npt.NDArray[np.float64]:
    """What is seen of a collective whose pieces each run beside the matmul of another piece.

    The first (or last) piece has no matmul beside it; the others are seen where they take longer than the matmul.

    >>> float(pieces_exposed_s(8.0, 10.0, 8.0)), float(pieces_exposed_s(8.0, 3.0, 8.0))
    (1.0, 5.0)
    """
    return np.asarray(np.maximum(communication_s - matmul_s, communication_s / np.maximum(pieces, 1.0)))
