"""Fits a few constants to cases of several sources at once, so that they hold for a source that was not among them.

Every constant j has one shift x_j, of its logarithm, from the value in each case's own preset; every machine and class
of kernels k among the cases has a level d_k besides. Machines differ by what no constant of a stack stands for (clocks,
containers, how a step was timed), and tables of 8-bit or of grouped matmuls by as much from one collection to the next;
without levels that would go into the constants. What was not among the cases has level 0, what was keeps its own.
Priors: x_j ~ N(0, s_j^2), d_k ~ N(0, 0.1^2).

Only the constants of ``FITTED`` move. The others repeat them (two factors of one product) or act on few percent of a
step: a fit would set them by the noise. All shifts are held tighter than the presets' bounds for one machine's own
fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.validation.bench import Bench
from glmplan.validation.fit import fit_constants

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
FITTED = {
    "matmul_time_factor": 0.10,
    "attention_time_factor": 0.25,
    "attention_backward_factor": 0.15,
    "elementwise_traffic_factor": 0.30,
    "host_launches_per_layer": 0.30,
    "host_launches_per_expert": 0.40,
    "tensor_parallel_exposed": 0.30,
    "expert_parallel_exposed": 0.30,
    "data_parallel_exposed": 0.30,
    "fixed_step_s": 0.50,
}
"""Constant -> standard deviation of its logarithm before any measurement."""
LEVEL_SIGMA = 0.1
_LEVEL = "level of "
_FURTHEST = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shift:
    """The prior of a shift, as a factor around 1."""

    sigma_log: float
    value: float = 1.0

    @property
    def low(self) -> float:
        """Lowest factor."""
        return float(np.exp(-_FURTHEST * self.sigma_log))

    @property
    def high(self) -> float:
        """Highest factor."""
        return float(np.exp(_FURTHEST * self.sigma_log))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFit:
    """Shifts of constants and levels of machines."""

    shifts: dict[str, float]
    levels: dict[str, float]

    def step_times_s(self, bench: Bench, members: Indices, machines: Sequence[str]) -> Floats:
        """Predicted step times of ``members``; ``machines`` names the machine of every case on the bench."""
        level = np.array([self.levels.get(machines[i], 0.0) for i in members])
        return np.asarray(bench.step_times_s(members, self.shifts) * np.exp(level))


UNFITTED = SharedFit(shifts={}, levels={})
"""The presets as they ship."""


def fit_shared(
    bench: Bench,
    members: Indices,
    machines: Sequence[str],
    weights: Floats,
    *,
    spread: float = 1.0,
    with_levels: bool = True,
) -> SharedFit:
    """The shifts and levels that fit the cases ``members`` (at least one) best.

    ``machines`` and ``weights`` (1, or less for re-runs of one configuration) are of every case on the bench.
    ``spread`` scales the constants' standard deviations. Without levels, the constants take up what the machines have
    in common.
    """
    fitted = {name: sigma * spread for name, sigma in FITTED.items()}
    present = sorted({machines[i] for i in members}) if with_levels else []
    priors = {name: _Shift(sigma_log=sigma) for name, sigma in fitted.items()}
    priors |= {_LEVEL + name: _Shift(sigma_log=LEVEL_SIGMA) for name in present}
    on_machine = np.array([[machines[i] == name for name in present] for i in members], dtype=float).reshape(
        len(members), len(present)
    )
    measured_s = bench.measured_s[members]

    def residuals(factors: dict[str, float]) -> Floats:
        shifts = {name: float(np.log(factors[name])) for name in fitted}
        levels = np.array([np.log(factors[_LEVEL + name]) for name in present])
        return np.asarray(np.log(bench.step_times_s(members, shifts) / measured_s) + on_machine @ levels)

    slopes = [bench.slopes(name)[members] for name in fitted]
    slopes += list(on_machine.T)
    table = np.stack(slopes, axis=1)
    found = fit_constants(residuals, priors, weights[members], slopes=table).constants
    return SharedFit(
        shifts={name: float(np.log(found[name])) for name in fitted if name in found},
        levels={name: float(np.log(found[_LEVEL + name])) for name in present if _LEVEL + name in found},
    )
