import pytest

from glmplan.errors import InputError
from glmplan.hardware.described import described_cluster


def test_a_described_cluster_has_the_figures_given():
    got = described_cluster(
        name="paper",
        device="a100-sxm-80gb",
        devices_per_node=8,
        num_nodes=5,
        network_bytes_per_s_per_device=12.5e9,
        scale_up_bytes_per_s=200e9,
        network_link="ib-hdr",
    )
    assert [(tier.span_devices, tier.bandwidth_bytes_per_s) for tier in got.tiers] == [(8, 200e9), (40, 12.5e9)]
    assert got.max_devices == 40


def test_a_described_rack_is_one_scale_up_domain():
    got = described_cluster(
        name="rack",
        device="gb200",
        devices_per_node=4,
        num_nodes=36,
        network_bytes_per_s_per_device=50e9,
        scale_up_domain=72,
    )
    assert [tier.span_devices for tier in got.tiers] == [72, 144]


def test_without_scale_up_the_peers_share_the_host():
    got = described_cluster(
        name="pcie",
        device="a100-pcie-80gb",
        devices_per_node=8,
        num_nodes=1,
        network_bytes_per_s_per_device=None,
        without_scale_up=True,
    )
    assert [tier.name for tier in got.tiers] == ["pcie4-x16"]


def test_an_unknown_device_is_bad_input():
    with pytest.raises(InputError, match="h1000"):
        described_cluster(
            name="x", device="h1000", devices_per_node=8, num_nodes=1, network_bytes_per_s_per_device=None
        )
