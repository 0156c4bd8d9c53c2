"""The slowest of many devices: the expected maximum of a sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.cost.stragglers import slowest_of


@pytest.mark.parametrize(("devices", "expected"), [(2, 0.5642), (10, 1.5388), (100, 2.5076), (1000, 3.2414)])
def test_the_expected_maximum_is_that_of_normal_order_statistics(devices: int, expected: float) -> None:
    """Harter 1961, Expected values of normal order statistics, Biometrika 48, table 1."""
    assert slowest_of(np.array([float(devices)]), 1.0).item() == pytest.approx(expected, rel=0.05)


@given(devices=st.integers(1, 100_000), spread=st.floats(0.001, 0.1))
def test_one_device_waits_for_nobody_and_more_devices_never_wait_less(devices: int, spread: float) -> None:
    alone, some, more = slowest_of(np.array([1.0, devices, 2.0 * devices]), spread)
    assert alone == 0.0
    assert 0.0 <= some < more
