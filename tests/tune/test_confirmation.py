"""Noise is not sold as gain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.tune.confirmation import alternate, gain_of


def test_the_interval_is_students() -> None:
    """Three pairs with log ratios -0.1, -0.2, -0.3: mean -0.2, s 0.1, t(2) at 95 % one-sided 2.920 (any t table)."""
    gain = gain_of([1.0, 1.0, 1.0], [np.exp(-0.1), np.exp(-0.2), np.exp(-0.3)])
    assert gain.fraction == pytest.approx(1 - np.exp(-0.2))
    assert gain.low90_fraction == pytest.approx(1 - np.exp(-0.2 + 2.920 * 0.1 / np.sqrt(3)))
    assert gain.believed


def test_a_difference_within_the_noise_is_not_believed() -> None:
    gain = gain_of([1.0, 1.1, 0.9, 1.0], [0.95, 1.05, 0.97, 0.94])
    assert gain.fraction > 0
    assert not gain.believed
    assert gain.noise_fraction == pytest.approx(0.1)


def test_a_machine_that_slows_down_between_pairs_does_not_matter() -> None:
    gain = gain_of([1.0, 2.0, 3.0], [0.8, 1.6, 2.4])
    assert gain.low90_fraction == pytest.approx(0.2)


@given(st.integers(0, 10_000))
def test_equal_settings_are_rarely_believed_to_differ(seed: int) -> None:
    """Both ways 10 % of the time, so one way 5 %; here the bound is on one seed's hundred draws."""
    random = np.random.default_rng(seed)
    believed = 0
    for _ in range(100):
        times = np.exp(0.1 * random.standard_normal((2, 4)))
        believed += gain_of(list(times[0]), list(times[1])).believed
    assert believed <= 20


def test_runs_take_turns_and_only_whole_pairs_count() -> None:
    order: list[str] = []

    def run(which: str) -> float | None:
        order.append(which)
        return None if len(order) == 6 else float(len(order))

    assert list(alternate(run, 0, 4)) == [(1.0, 2.0), (4.0, 3.0)]
    assert order == ["start", "best", "best", "start", "start", "best"]
