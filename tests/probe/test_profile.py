from pathlib import Path
from typing import Any

import pytest

from glmplan.documents import Json
from glmplan.errors import InputError
from glmplan.hardware.catalog import load_cluster, load_device
from glmplan.precision import Precision
from glmplan.probe.catalogue_match import matching_device, name_fits
from glmplan.probe.device_under_test import DeviceUnderTest
from glmplan.probe.machine import write_profile
from glmplan.probe.profile import Circumstances, headlines, link_figures, profile_document
from glmplan.probe.section import Row
from glmplan.probe.timing import Timing

GIB = 2.0**30
CPU = DeviceUnderTest(
    kind="cpu",
    name="cpu-1threads",
    threads=1,
    memory_bytes=10.75 * GIB,
    max_ranks=4,
    host_cores=2,
    host_memory_bytes=24 * GIB,
)


def row(seconds: float, **columns: str | int) -> Row:
    return Row(columns=columns, timing=Timing(seconds=seconds, spread_fraction=0.1, samples=3))


def attention(direction: str, dtype: str, seconds: float) -> Row:
    shape = {"batch": 2, "seq": 64, "heads": 4, "kv_heads": 2, "head_dim": 32}
    return row(seconds, dtype=dtype, **shape, direction=direction)


ROWS = {
    "matmul": [
        row(1e-3, dtype="fp32", m=512, n=512, k=512),
        row(1e-5, dtype="fp32", m=64, n=64, k=64),
        row(4e-3, dtype="bf16", m=512, n=512, k=512),
    ],
    "attention": [
        attention("forward", "fp32", 1e-4),
        attention("backward", "fp32", 3e-4),
        attention("forward", "bf16", 2e-4),
    ],
    "memory": [
        row(0.01, bytes=2**26, output="in place"),
        row(0.03, bytes=2**26, output="fresh"),
        row(2e-6, bytes=2**14, output="fresh"),
    ],
    "host": [row(8e-6, chain="module", operators=49), row(1e-6, chain="elementwise", operators=16)],
    "collectives": [
        row(1e-4, op="send_recv", ranks=2, bytes=1024),
        row(5e-4, op="send_recv", ranks=2, bytes=2**20),
        row(1e-3, op="all_reduce", ranks=2, bytes=2**20),
    ],
    "storage": [row(0.02, op="write", bytes=2**24), row(0.01, op="read", bytes=2**24)],
}


def circumstances(**changes: Any) -> Circumstances:
    given: dict[str, Any] = {
        "device": CPU,
        "catalogue_device": None,
        "ranks": 2,
        "seconds": 10.0,
        "seed": 0,
        "versions": "glmplan 0, torch 0, gloo",
        "other_load_fraction": 0.0,
    }
    return Circumstances(**{**given, **changes})


@pytest.fixture
def document() -> Json:
    return profile_document(ROWS, circumstances())


def test_the_profile_is_a_cluster_with_the_measured_rates(document: Json, tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    write_profile(document, path)
    cluster = load_cluster(str(path))
    assert cluster.num_devices == cluster.max_devices == 2
    assert cluster.device.name == "cpu-1threads"
    # 2 * 512^3 operations in 1 ms and in 4 ms; 2 * 64 MiB in 10 ms; 1 MiB in 0.5 ms.
    assert cluster.device.peak_flops_per_s(Precision.FP32) == pytest.approx(2 * 512**3 / 1e-3, rel=1e-5)
    assert cluster.device.peak_flops_per_s(Precision.BF16) == pytest.approx(2 * 512**3 / 4e-3, rel=1e-5)
    assert cluster.device.memory_bandwidth_bytes_per_s == pytest.approx(2 * 2**26 / 0.01, rel=1e-5)
    assert cluster.device.memory_capacity_bytes == 10.75 * GIB
    assert cluster.tiers[0].bandwidth_bytes_per_s == pytest.approx(2**20 / 5e-4, rel=1e-5)


def test_the_tables_come_back_as_they_were_measured(document: Json, tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    write_profile(document, path)
    measured = load_cluster(str(path)).measured
    products = measured.matmul_table("fp32")
    assert products is not None and products.grade == "measured"
    assert sorted(zip(products.m.tolist(), products.seconds.tolist(), strict=True)) == [(64, 1e-5), (512, 1e-3)]
    collectives = measured.collective_table()
    assert collectives is not None and sorted(set(collectives.op.tolist())) == ["all_reduce", "send_recv"]
    assert measured.host_launch_s == 8e-6
    copies = measured.memory_copy_table()
    assert copies is not None and copies.bytes.tolist() == [2**14, 2**26]


def test_attention_directions_stand_apart(document: Json) -> None:
    tables = document["measurements"]
    assert tables["attention"]["seconds"] == [2e-4, 1e-4]
    assert tables["attention"]["dtype"] == ["bf16", "fp32"]
    assert tables["attention_backward"]["seconds"] == [3e-4]


def test_one_rank_has_no_link(tmp_path: Path) -> None:
    alone = profile_document({**ROWS, "collectives": []}, circumstances(ranks=1))
    assert "scale_up" not in alone["node"] and "collectives" not in alone["measurements"]
    path = tmp_path / "machine.yaml"
    write_profile(alone, path)
    assert load_cluster(str(path)).tiers == ()


def test_a_known_gpu_is_named_and_keeps_its_own_figures(tmp_path: Path) -> None:
    gpu = load_device("h100-sxm-80gb")
    path = tmp_path / "machine.yaml"
    write_profile(profile_document(ROWS, circumstances(catalogue_device=gpu)), path)
    assert load_cluster(str(path)).device == gpu


@pytest.mark.parametrize(
    ("driver_name", "memory_gib", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", 79.3, "a100-sxm-80gb"),
        ("NVIDIA A100 80GB PCIe", 79.3, "a100-pcie-80gb"),
        ("NVIDIA H100 80GB HBM3", 79.1, "h100-sxm-80gb"),
        ("NVIDIA H100 PCIe", 79.1, "h100-pcie-80gb"),
        ("NVIDIA GeForce RTX 4090", 23.6, "rtx-4090"),
        ("Quadro K620", 2.0, None),
        ("NVIDIA H100 80GB HBM3", 40.0, None),
    ],
)
def test_a_gpu_is_found_in_the_catalogue_by_name_and_memory(
    driver_name: str, memory_gib: float, expected: str | None
) -> None:
    names = ("a100-sxm-80gb", "a100-pcie-80gb", "h100-sxm-80gb", "h100-pcie-80gb", "h100-nvl-94gb", "rtx-4090")
    found = matching_device(driver_name, memory_gib * GIB, [load_device(name) for name in names])
    assert (found.name if found else None) == expected


def test_a_name_fits_only_when_every_part_that_matters_is_there() -> None:
    assert name_fits("h100-nvl-94gb", "NVIDIA H100 NVL") == 2
    assert name_fits("h100-nvl-94gb", "NVIDIA H100 PCIe") == 0


def test_link_figures_are_the_smallest_message_and_the_best_rate() -> None:
    assert link_figures(ROWS["collectives"]) == (1e-4, 2**20 / 5e-4)
    assert link_figures([]) is None


def test_the_headlines_name_every_table(document: Json) -> None:
    lines = dict(headlines(document))
    assert lines["devices"] == "2 x cpu-1threads"
    assert lines["host, one eager operator"] == "8 us"
    assert lines["matmul rows"] == "3"


def test_no_file_is_replaced_unless_asked(document: Json, tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="exists already; give --overwrite"):
        write_profile(document, path)
    assert path.read_text(encoding="utf-8") == "mine"
    write_profile(document, path, overwrite=True)
    assert load_cluster(str(path)).name == "this-machine"


@pytest.mark.parametrize(
    ("name", "reason"), [("profile", "ends in .yaml"), ("absent/machine.yaml", "does not exist"), (".", "is a folder")]
)
def test_a_place_that_cannot_hold_a_profile_is_refused(document: Json, tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        write_profile(document, tmp_path / name)
