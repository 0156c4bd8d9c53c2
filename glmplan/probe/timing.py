"""Times a call: warm-up, repeats, median and spread, all within a share of the time budget.

Knows nothing of what is timed. A slow call is repeated less often, never fewer than ``MIN_REPEATS`` times.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MIN_REPEATS = 3
MAX_REPEATS = 31
MAX_INNER = 1000
MIN_SAMPLE_S = 1e-3
"""One sample lasts at least this long, so that the clock and one synchronisation weigh little in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The time of one call."""

    seconds: float
    """Median over the samples."""
    spread_fraction: float
    """Interquartile range over the median."""
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How often a call is made: ``samples`` times a loop of ``inner`` calls, each loop timed as one."""

    inner: int
    samples: int


def sampling_for(call_s: float, budget_s: float) -> Sampling:
    """How often to make a call that takes about ``call_s`` seconds when ``budget_s`` seconds may be spent."""
    call_s = max(call_s, 1e-9)
    inner = min(MAX_INNER, max(1, math.ceil(MIN_SAMPLE_S / call_s)))
    samples = int(budget_s / (inner * call_s))
    return Sampling(inner=inner, samples=min(MAX_REPEATS, max(MIN_REPEATS, samples)))


def sample_seconds(call: Callable[[], object], synchronise: Callable[[], None], sampling: Sampling) -> list[float]:
    """Seconds per call of each sample; ``synchronise`` waits until the device has done its work."""
    seconds = []
    for _ in range(sampling.samples):
        synchronise()
        start = time.perf_counter()
        for _ in range(sampling.inner):
            call()
        synchronise()
        seconds.append((time.perf_counter() - start) / sampling.inner)
    return seconds


def summary(seconds: Sequence[float]) -> Timing:
    """Median and spread of samples. Raises ValueError when there are none."""
    median = max(statistics.median(seconds), 1e-9)
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [median] * 3
    return Timing(seconds=median, spread_fraction=(quartiles[2] - quartiles[0]) / median, samples=len(seconds))


def warm_up_seconds(call: Callable[[], object], synchronise: Callable[[], None]) -> float:
    """Seconds of a second call; the first pays for allocation, code loading and kernel choice."""
    call()
    return sample_seconds(call, synchronise, Sampling(inner=1, samples=1))[0]


def time_call(call: Callable[[], object], synchronise: Callable[[], None], budget_s: float) -> Timing:
    """Warms ``call`` up, then times it for about ``budget_s`` seconds."""
    estimate_s = warm_up_seconds(call, synchronise)
    return summary(sample_seconds(call, synchronise, sampling_for(estimate_s, budget_s)))
