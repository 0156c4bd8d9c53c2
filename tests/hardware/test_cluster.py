import pytest
from pydantic import ValidationError

from glmplan.errors import InputError
from glmplan.hardware.catalog import cluster_of, load_cluster
from glmplan.hardware.cluster import ClusterProfile
from tests.hardware.clusters import cluster, fact, level, node, profile


def test_a_cluster_is_sized_by_whole_nodes():
    got = load_cluster("dgx-a100-pod").sized(1024)
    assert (got.num_nodes, got.devices_per_node, got.num_devices) == (128, 8, 1024)
    assert got.tiers[-1].span_devices == 1024


def test_tiers_that_reach_beyond_the_cluster_are_left_out():
    assert [tier.name for tier in load_cluster("dgx-a100-pod").sized(16).tiers] == ["nvlink3", "leaf"]
    assert [tier.span_devices for tier in load_cluster("dgx-a100-pod").sized(4).tiers] == [4]


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (12, r"gpus: 12 is not a multiple of the 8 devices of a node \(dgx-a100-80gb\); use 8 or 16"),
        (3, r"gpus: 3 does not divide the 8 of a node; use 1, 2, 4, 8"),
        (0, r"must be at least 1"),
        (10_000_000, r"more than the 4480 of cluster dgx-a100-pod"),
    ],
)
def test_a_size_that_cannot_be_names_one_that_can(count, message):
    with pytest.raises(InputError, match=message):
        load_cluster("dgx-a100-pod").sized(count)


def test_the_price_is_the_cheapest_dated_one_on_demand():
    # SkyPilot catalogue: p5.48xlarge 55.04 USD/h for eight H100
    price = load_cluster("aws-p5").usd_per_device_hour
    assert price is not None
    assert price.value == pytest.approx(55.04 / 8)
    assert "aws-p5.48xlarge" in price.note


def test_a_machine_that_is_not_for_rent_is_priced_like_one_that_is():
    price = load_cluster("dgx-h100-pod").usd_per_device_hour
    assert price is not None
    assert price.note.startswith("aws-p5.48xlarge")


def test_a_price_of_the_cluster_itself_goes_first():
    got = cluster(node(), None, usd_per_device_hour=fact("1.50 USD/h"))
    assert got.usd_per_device_hour is not None
    assert got.usd_per_device_hour.value == 1.5


def test_provenance_has_the_hash_of_every_profile_used():
    profiles = load_cluster("dgx-h100-pod").profiles
    assert {"cluster dgx-h100-pod", "node dgx-h100", "device h100-sxm-80gb", "link ib-ndr"} <= set(profiles)
    assert all(len(digest) == 64 for digest in profiles.values())


def test_the_reduction_all_reduce_gets_in_the_switch_is_a_matter_of_the_link():
    assert not load_cluster("dgx-a100-pod").tiers[0].in_switch_reduction
    assert load_cluster("dgx-h100-pod").tiers[0].in_switch_reduction


def test_an_inline_device_and_node_need_no_catalogue():
    device = {
        "name": "mine",
        "vendor": "me",
        "runtime": "cpu",
        "peak_flops": {"fp32": fact("1 TFLOP/s")},
        "memory_capacity": fact("16 GiB"),
        "memory_bandwidth": fact("50 GB/s"),
        "host_link": "shared-memory",
    }
    got = cluster({"name": "mine-node", "device": "mine", "devices": fact(2)}, None, device=device)
    assert got.device.memory_capacity_bytes == 2**34
    assert got.tiers[0].span_devices == 2
    assert got.measured.matmul_table("fp32") is None


def test_writing_and_reading_a_profile_gives_the_same_profile():
    record = ClusterProfile.model_validate(profile(node(), {"levels": [level("leaf", 4, 2)]}))
    assert ClusterProfile.model_validate(record.model_dump(mode="json", exclude_none=True)) == record


@pytest.mark.parametrize(
    ("fabric", "message"),
    [
        (
            {
                "kind": "tree",
                "switches": [
                    {"name": "a", "parent": "b", "uplink": fact("1 GB/s"), "nodes": 1},
                    {"name": "b", "parent": "a", "uplink": fact("1 GB/s")},
                ],
            },
            r"cyclic topology a -> b -> a; one switch must have no parent",
        ),
        (
            {"kind": "tree", "switches": [{"name": "a", "nodes": 1}, {"name": "b", "nodes": 1}]},
            r"disconnected topology, 2 switches without a parent \(a, b\)",
        ),
        ({"kind": "tree", "switches": [{"name": "a", "parent": "z", "nodes": 1}]}, r"unknown parent 'z'"),
        ({"kind": "tree", "switches": [{"name": "a"}]}, r"no switch has nodes"),
        ({"levels": [level("leaf", 4), level("pod", 6), level("top", 12)]}, r"pod spans 6 nodes, no multiple of the 4"),
        ({"levels": [level("leaf", 4), level("spine", 2)]}, r"list the lowest level first"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(fabric, message):
    with pytest.raises(ValidationError, match=message):
        ClusterProfile.model_validate(profile(node(), fabric))


def test_a_node_without_network_cannot_be_on_a_fabric():
    record = node()
    del record["scale_out"]
    with pytest.raises(ValidationError, match=r"node\.scale_out is missing"):
        ClusterProfile.model_validate(profile(record, {"levels": [level("leaf", 4)]}))


def test_a_node_whose_devices_have_no_link_is_refused():
    device = {
        "name": "mine",
        "vendor": "me",
        "runtime": "cpu",
        "peak_flops": {"fp32": fact("1 TFLOP/s")},
        "memory_capacity": fact("16 GiB"),
        "memory_bandwidth": fact("50 GB/s"),
    }
    record = profile({"name": "mine-node", "device": "mine", "devices": fact(2)}, None, device=device)
    with pytest.raises(InputError, match=r"its 2 devices have no link; give scale_up or host_link"):
        cluster_of(ClusterProfile.model_validate(record))


def test_cards_must_spread_evenly_over_the_rails():
    with pytest.raises(InputError, match=r"fabric\.rails: 3 does not divide the 8 network cards of a node"):
        cluster(node(), {"rails": fact(3), "levels": [level("leaf", 4)]})
