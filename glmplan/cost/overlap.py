"""What communication and host time remain visible behind compute."""

import numpy as np

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
