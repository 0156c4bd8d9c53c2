"""Power of a run follows ratings and a measured share."""

import pytest

from glmplan.hardware.catalog import load_cluster
from glmplan.search.run_energy import energy_kwh, training_draw


def test_a_rated_node_draws_its_measured_share() -> None:
    """76 % of the 10.2 kW of a DGX H100 (Newkirk 2025, arXiv:2506.14551, abstract)."""
    assert training_draw(load_cluster("dgx-h100-pod").sized(8)).watts == pytest.approx(0.76 * 10_200)
    assert training_draw(load_cluster("dgx-h100-pod").sized(64)).watts == pytest.approx(8 * 0.76 * 10_200)


def test_an_unrated_node_is_taken_as_its_devices_over_their_share() -> None:
    assert training_draw(load_cluster("aws-p5").sized(8)).watts == pytest.approx(0.76 * 8 * 700 / 0.55)


def test_energy_is_power_times_time_with_the_buildings_share() -> None:
    assert energy_kwh(1000.0, 3600.0, 1.2) == pytest.approx(1.2)
