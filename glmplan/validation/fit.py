"""Fits a few positive constants to measurements: a robust, penalised least-squares problem in their logarithms.

Mathematics. Constants c_j with prior value p_j, spread s_j (in log) and bounds; x_j = log(c_j / p_j). Measurements i
with weight w_i and log residual r_i(x) = log(predicted_i / measured_i). Minimise

    F(x) = sum_i w_i rho(r_i / e) + sum_j (x_j / s_j)^2,     rho(u) = 2 (sqrt(1 + u^2) - 1)     (soft L1)

within the bounds. e is the error that one measurement is trusted to. By Gauss-Newton on the reweighted squares with
Levenberg's damping; derivatives by finite differences. Knows nothing of training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Residuals = Callable[[dict[str, float]], Floats]
"""Constants -> log(predicted / measured) of every measurement; finite."""

_STEP = 0.02
_ITERATIONS = 20
_TOLERANCE = 1e-4
_DAMPINGS = (0.0, 0.1, 1.0, 10.0, 100.0)
_NO_EFFECT = 1e-6
_SHORTENINGS = 6


class Prior(Protocol):
    """What is held of a constant before any measurement."""

    @property
    def value(self) -> float:
        """The most likely value."""

    @property
    def low(self) -> float:
        """Lowest value allowed."""

    @property
    def high(self) -> float:
        """Highest value allowed."""

    @property
    def sigma_log(self) -> float:
        """One standard deviation of its logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The outcome of a fit."""

    constants: dict[str, float]
    """Constants that the measurements say something about, with their fitted values."""
    mape_before: float
    """Weighted mean absolute relative error at the prior."""
    mape_after: float
    """The same at the fit; never larger than before."""


def measurement_error(count: float) -> float:
    """The relative error ``e`` to which one of ``count`` measurements is trusted.

    Runs of one source share what the model gets wrong about them, so that few runs weigh less than their number:
    0.05 sqrt(1 + 3 / n) (with n = 3 a run counts half). 0.05 is what published re-runs scatter at most.
    """
    return float(0.05 * np.sqrt(1.0 + 3.0 / max(count, 1.0)))


def fit_constants(
    residuals: Residuals,
    priors: Mapping[str, Prior],
    weights: Floats,
    *,
    slopes: Floats | None = None,
) -> Fit:
    """The constants that minimise F, and the error before and after.

    ``weights`` has one value a measurement (1, or less for re-runs of one configuration). Constants without effect on
    any measurement are left out of the result. ``slopes`` are the derivatives of the residuals by the constants'
    logarithms at the prior (measurements by constants), where the caller has them. Where the minimum of F has a larger
    mean error than the prior, as outliers can bring about, the way towards it is shortened until it has not.
    """
    problem = _Problem(
        residuals=residuals, priors=priors, weights=weights, error=measurement_error(float(weights.sum()))
    )
    x = np.zeros(len(priors))
    start = r = problem.residuals_at(x)
    jacobian = problem.jacobian(x, r) if slopes is None else slopes
    fresh = slopes is None
    felt = np.abs(jacobian).max(axis=0, initial=0.0) > _NO_EFFECT
    for _ in range(_ITERATIONS):
        before = problem.objective(x, r)
        moved, found = _improved(problem, x, r, jacobian)
        step, gained = moved - x, before - problem.objective(moved, found)
        if gained < _TOLERANCE * (1 + before):
            if fresh:
                break
            jacobian, fresh = problem.jacobian(x, r), True
            continue
        # Broyden's update costs nothing where a new Jacobian costs one prediction of all measurements a constant.
        jacobian = jacobian + np.outer(found - r - jacobian @ step, step) / float(step @ step)
        x, r, fresh = moved, found, False
    for _ in range(_SHORTENINGS):
        if problem.mape(r) <= problem.mape(start):
            break
        x = x / 2
        r = problem.residuals_at(x)
    else:
        x, r = np.zeros_like(x), start
    fitted = problem.constants_at(x)
    return Fit(
        constants={name: fitted[name] for name, matters in zip(priors, felt, strict=True) if matters},
        mape_before=problem.mape(start),
        mape_after=problem.mape(r),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """F and its parts; the letters are those of the module's text."""

    residuals: Residuals
    priors: Mapping[str, Prior]
    weights: Floats
    error: float

    @property
    def spread(self) -> Floats:
        return np.array([prior.sigma_log for prior in self.priors.values()])

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        low = np.log([prior.low / prior.value for prior in self.priors.values()])
        return low, np.log([prior.high / prior.value for prior in self.priors.values()])

    def constants_at(self, x: Floats) -> dict[str, float]:
        return {
            name: min(max(prior.value * float(np.exp(step)), prior.low), prior.high)
            for (name, prior), step in zip(self.priors.items(), x, strict=True)
        }

    def residuals_at(self, x: Floats) -> Floats:
        return self.residuals(self.constants_at(x))

    def objective(self, x: Floats, r: Floats) -> float:
        loss = 2 * (np.sqrt(1 + (r / self.error) ** 2) - 1)
        return float(np.sum(self.weights * loss) + np.sum((x / self.spread) ** 2))

    def mape(self, r: Floats) -> float:
        return float(np.sum(self.weights * np.abs(np.expm1(r))) / np.sum(self.weights))

    def jacobian(self, x: Floats, r: Floats) -> Floats:
        """Derivatives of the residuals by a step forward, or backward at the upper bound."""
        low, high = self.bounds
        columns = np.zeros((len(r), len(x)))
        for j in range(len(x)):
            step = _STEP if x[j] + _STEP <= high[j] else -_STEP
            if x[j] + step >= low[j]:
                moved = x.copy()
                moved[j] += step
                columns[:, j] = (self.residuals_at(moved) - r) / step
        return columns


def _improved(problem: _Problem, x: Floats, r: Floats, jacobian: Floats) -> tuple[Floats, Floats]:
    """The first damped Gauss-Newton step that lowers F; ``x`` itself where none does."""
    # Soft L1 as reweighted squares: rho'(u) / 2u = 1 / sqrt(1 + u^2).
    scale = problem.weights / (problem.error**2 * np.sqrt(1 + (r / problem.error) ** 2))
    normal = (jacobian.T * scale) @ jacobian + np.diag(1 / problem.spread**2)
    gradient = (jacobian.T * scale) @ r + x / problem.spread**2
    now = problem.objective(x, r)
    for damping in _DAMPINGS:
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -gradient)
        candidate = np.clip(x + step, *problem.bounds)
        moved = problem.residuals_at(candidate)
        if problem.objective(candidate, moved) < now:
            return candidate, moved
    return x, r
