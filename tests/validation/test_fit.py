"""Fits to made-up laws whose constants are known."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.validation.fit import fit_constants, measurement_error

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prior:
    """A constant's prior."""

    value: float = 1.0
    low: float = 0.1
    high: float = 10.0
    sigma_log: float = 0.5


def law(features: Floats, measured: Floats):  # type: ignore[no-untyped-def]
    """Residuals of a sum of features, each with its constant."""

    def residuals(constants: dict[str, float]) -> Floats:
        return np.asarray(np.log(features @ np.array([constants["a"], constants["b"]]) / measured))

    return residuals


def features(count: int, seed: int = 0) -> Floats:
    """Two features in varying proportion."""
    return np.random.default_rng(seed).uniform(0.2, 2.0, size=(count, 2))


PRIORS = {"a": Prior(), "b": Prior()}


def test_planted_constants_are_recovered_from_exact_measurements() -> None:
    x = features(60)
    fit = fit_constants(law(x, x @ np.array([1.7, 0.6])), PRIORS, np.ones(60))
    assert fit.constants == pytest.approx({"a": 1.7, "b": 0.6}, rel=0.02)
    assert fit.mape_after < 0.005 < fit.mape_before


def test_one_wild_measurement_hardly_matters() -> None:
    x = features(40)
    measured = x @ np.array([1.7, 0.6])
    measured[3] *= 5
    fit = fit_constants(law(x, measured), PRIORS, np.ones(40))
    assert fit.constants == pytest.approx({"a": 1.7, "b": 0.6}, rel=0.1)


def test_few_measurements_move_a_tight_prior_little() -> None:
    x = features(1)
    tight = {name: Prior(sigma_log=0.02) for name in "ab"}
    one = fit_constants(law(x, 1.5 * x.sum(axis=1)), tight, np.ones(1))
    x = features(50)
    many = fit_constants(law(x, 1.5 * x.sum(axis=1)), tight, np.ones(50))
    assert 1.0 < one.constants["a"] < 1.1 < many.constants["a"] < 1.5


def test_bounds_hold() -> None:
    x = features(30)
    bounded = {name: Prior(low=0.8, high=1.2) for name in "ab"}
    fit = fit_constants(law(x, 3 * x.sum(axis=1)), bounded, np.ones(30))
    assert fit.constants == pytest.approx({"a": 1.2, "b": 1.2})


def test_a_constant_without_effect_is_left_out() -> None:
    x = features(10) * np.array([1.0, 0.0])
    assert set(fit_constants(law(x, 1.3 * x[:, 0]), PRIORS, np.ones(10)).constants) == {"a"}


def test_a_light_measurement_counts_less() -> None:
    x = np.array([[1.0, 0.0], [1.0, 0.0]])
    measured = np.array([1.0, 1.2])
    heavy = fit_constants(law(x, measured), PRIORS, np.array([1.0, 0.1])).constants["a"]
    light = fit_constants(law(x, measured), PRIORS, np.array([0.1, 1.0])).constants["a"]
    assert heavy < light


@given(st.integers(0, 10_000), st.integers(1, 12), st.floats(0.0, 0.6))
@settings(deadline=None, max_examples=60)
def test_the_fitted_cases_are_never_predicted_worse_than_before(seed: int, count: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    x = features(count, seed)
    measured = x @ random.uniform(0.3, 3.0, 2) * np.exp(random.normal(0, noise, count))
    fit = fit_constants(law(x, measured), PRIORS, np.ones(count))
    assert fit.mape_after <= fit.mape_before
    assert all(0.1 <= value <= 10.0 for value in fit.constants.values())


def test_a_run_among_few_is_trusted_less() -> None:
    assert measurement_error(1) == pytest.approx(0.1)
    assert measurement_error(3) < measurement_error(1)
    assert measurement_error(1e9) == pytest.approx(0.05)
