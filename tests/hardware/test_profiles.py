"""The catalogue itself: complete, sourced, loadable."""

import time

import pytest

from glmplan.documents import read_yaml
from glmplan.hardware.catalog import (
    KINDS,
    check_file,
    find,
    list_names,
    load_cluster,
    load_link,
    load_table,
    profiles_folder,
    read_named,
)
from glmplan.hardware.overview import fact_rows

OWN_KINDS = tuple(kind for kind in KINDS if kind != "calibration")
PROFILES = [(kind, name) for kind in OWN_KINDS for name in list_names(kind)]


@pytest.mark.parametrize(("kind", "name"), PROFILES, ids=[f"{kind}-{name}" for kind, name in PROFILES])
def test_the_profile_loads_and_every_fact_has_a_known_source(kind, name):
    assert check_file(find(kind, name), kind) == f"{kind} {name}"


def test_the_catalogue_is_complete():
    assert len(list_names("device")) >= 33
    assert len(list_names("link")) >= 46
    assert len(list_names("node")) >= 40
    assert len(list_names("cluster")) >= 40


@pytest.mark.parametrize("kind", ["device", "node", "link", "storage", "table"])
def test_every_profile_of_a_kind_has_facts(kind):
    model = KINDS[kind][1]
    for name in list_names(kind):
        document = read_yaml(find(kind, name))
        assert fact_rows(model.model_validate(document.data)), name


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_writing_and_reading_every_profile_gives_the_same_profile(kind):
    for name in list_names(kind):
        record = read_named(kind, name)
        assert type(record).model_validate(record.model_dump(mode="json", exclude_none=True)) == record


def test_the_device_of_every_alias_exists():
    aliases = read_yaml(profiles_folder() / "aliases.yaml").data
    assert set(aliases.values()) <= set(list_names("device"))


@pytest.mark.parametrize(
    ("link", "bytes_per_s"),
    [
        # NVLink 4: 900 GB/s counting both directions; NDR InfiniBand: 400 Gbit/s a port
        ("nvlink3", 300e9),
        ("nvlink4", 450e9),
        ("nvlink5", 900e9),
        ("ib-ndr", 50e9),
        ("ib-hdr", 25e9),
        ("efa-v2-p5", 12.5e9),
    ],
)
def test_links_carry_what_is_printed_in_one_direction(link, bytes_per_s):
    assert load_link(link).bandwidth_bytes_per_s == bytes_per_s


def test_published_clusters_have_their_published_size():
    assert load_cluster("selene").max_devices == 4480  # Narayanan et al. 2021, arXiv:2104.04473, section 5
    assert load_cluster("megascale").max_devices == 12288  # MegaScale, arXiv:2402.15627
    assert load_cluster("deepseek-h800").max_devices == 2048  # DeepSeek-V3, arXiv:2412.19437, section 3.1
    assert load_cluster("imbue-h100").max_devices == 4088


def test_jean_zay_shares_four_cards_among_eight_devices():
    # BLOOM: 4 x 100 Gbit/s Omni-Path a node of eight devices, 6.25 GB/s a device
    assert load_cluster("jean-zay").tiers[-1].bandwidth_bytes_per_s == pytest.approx(6.25e9)


def test_the_failures_of_llama_3_add_up():
    # The Llama 3 Herd of Models, table 5: 419 unexpected interruptions in 54 days
    table = load_table("reliability")
    causes = [figure.value for name, figure in table.tables["llama3_405b"].items() if name.startswith("causes_")]
    assert sum(value for value in causes if isinstance(value, int)) == 419


def test_loading_one_cluster_does_not_read_the_catalogue():
    load_cluster("dgx-h100-pod")
    started = time.process_time()
    load_cluster("dgx-h100-pod")
    assert time.process_time() - started < 0.5
