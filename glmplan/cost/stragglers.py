"""How much longer a step takes because every device waits for the slowest one.

Devices of one kind differ in speed (voltage, temperature, power limit). Their times spread like a normal distribution,
and a step of n devices takes what the slowest of them takes: the expected maximum of n draws, which grows like
``sqrt(2 ln n)``.
"""

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def slowest_of(devices: Floats, spread: float) -> Floats:
    """Expected time of the slowest of ``devices`` devices over that of the typical one, minus 1.

    ``spread`` is the standard deviation of a device's time, relative to the mean. Expected maximum by Blom 1958,
    Statistical Estimates and Transformed Beta-Variables, section 6.9: the quantile at ``(n - 3/8) / (n + 1/4)``.

    >>> [round(float(x), 4) for x in slowest_of(np.array([1.0, 8.0, 1024.0]), 0.015)]
    [0.0, 0.0214, 0.0486]
    """
    sizes, rows = np.unique(devices, return_inverse=True)
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((n - 0.375) / (n + 0.25)) for n in sizes])
    return np.asarray(spread * quantiles[rows])
