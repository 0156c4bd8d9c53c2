"""The machines that cases describe."""

from pathlib import Path
from typing import Any

import pytest

from glmplan.validation.case import Skipped, to_inputs
from tests.validation.records import inputs, measurement

TWO_NODES: dict[str, Any] = {"hardware__gpus": 16, "layout__dp": 8}


def network(rate: float, text: str | None = None) -> dict[str, Any]:
    """An inter-node record."""
    return {"text": text, "bytes_per_s_per_gpu": rate, "assumed": text is None}


def test_the_stated_network_rate_is_what_a_device_gets() -> None:
    case = inputs(**TWO_NODES, hardware__inter_node=network(12.5e9, "4x200Gb/s InfiniBand HDR"))
    assert case.cluster.num_nodes == 2
    assert case.cluster.tiers[-1].bandwidth_bytes_per_s == pytest.approx(12.5e9)


def test_a_network_that_is_not_stated_is_assumed_and_listed() -> None:
    case = inputs(**TWO_NODES)
    assert case.cluster.tiers[-1].bandwidth_bytes_per_s == pytest.approx(25e9)
    assert any("inter_node" in text for text in case.assumptions)


def test_trays_of_four_share_one_nvlink_domain() -> None:
    changes: dict[str, Any] = {
        "hardware__gpu": "gb200",
        "hardware__gpus": 64,
        "hardware__gpus_per_node": 4,
        "hardware__nvlink_domain": 72,
        "hardware__intra_node": "nvlink5",
        "layout__dp": 32,
        "layout__global_batch": 1024,
    }
    case = inputs(**changes)
    assert case.cluster.tier_of(64).scale_up
    wrong = to_inputs(measurement(**(changes | {"hardware__nvlink_domain": 70})))
    assert isinstance(wrong, Skipped)
    assert "nvlink_domain" in wrong.reason


def test_a_card_without_nvlink_sends_over_its_host_link() -> None:
    case = inputs(hardware__gpu="a100-pcie-80gb", hardware__intra_node="pcie4")
    assert case.cluster.tiers[0].bandwidth_bytes_per_s < 50e9


def test_an_export_variant_has_a_slower_nvlink() -> None:
    case = inputs(hardware__gpu="a800-sxm-80gb", hardware__intra_node="nvlink3-a800")
    assert case.cluster.tiers[0].bandwidth_bytes_per_s == pytest.approx(200e9)


@pytest.mark.parametrize("rate", [0.0, -1.0, "fast", True])
def test_a_rate_that_is_no_rate_is_contradictory(rate: Any) -> None:
    found = to_inputs(measurement(**TWO_NODES, hardware__inter_node=network(rate)))
    assert isinstance(found, Skipped)
    assert "expected a rate above 0" in found.reason


def test_an_own_run_names_its_profile_which_may_be_replaced(tmp_path: Path) -> None:
    own = measurement(hardware__cluster=str(tmp_path / "gone.yaml"))
    gone = to_inputs(own)
    assert isinstance(gone, Skipped)
    assert "gone.yaml" in gone.reason
    found = to_inputs(own, cluster="dgx-a100-pod")
    assert not isinstance(found, Skipped)
    assert found.cluster.num_devices == 8
