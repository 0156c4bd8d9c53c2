import numpy as np
import pytest
from pydantic import ValidationError

from glmplan.hardware.catalog import load_cluster, profiles_folder
from glmplan.hardware.measured import cluster_collectives
from glmplan.hardware.measurements import Measurements
from tests.hardware.clusters import cluster, node

OWN = {
    "matmul": {"dtype": ["bf16", "fp32"], "m": [64, 64], "n": [64, 32], "k": [64, 64], "seconds": [1e-6, 2e-6]},
    "collectives": {"op": ["all_reduce"], "ranks": [2], "bytes": [1024.0], "seconds": [1e-5]},
    "host_launch_s": 4.2e-6,
    "storage": {"bytes": [1e9], "op": ["write"], "seconds": [0.5]},
}


def test_the_matmul_table_holds_the_published_row():
    # aiconfigurator, gemm of h100_sxm with sglang 0.5.10: 4096 x 4096 x 4096 in bf16 takes 179.04 us
    table = load_cluster("dgx-h100-pod").measured.matmul_table("bf16")
    assert table is not None
    row = (table.m == 4096) & (table.n == 4096) & (table.k == 4096)
    assert table.seconds[row].tolist() == pytest.approx([179.04e-6])
    assert (table.device, table.grade, len(table.m)) == ("h100-sxm-80gb", "measured", 11172)


def test_the_collective_table_holds_the_published_row():
    # aiconfigurator, nccl of h100_sxm: all-reduce of 256 MB on 8 devices takes 1092.1 us, 430.1 GB/s of bus bandwidth
    table = load_cluster("dgx-h100-pod").measured.collective_table()
    assert table is not None
    row = (table.op == "all_reduce") & (table.ranks == 8) & (table.bytes == 2**28)
    assert table.seconds[row].tolist() == pytest.approx([1092.1e-6])
    assert 2**28 / table.seconds[row][0] * 2 * 7 / 8 == pytest.approx(430.1e9, rel=1e-3)


def test_a_device_without_table_borrows_the_nearest_and_says_so():
    measured = load_cluster("dgx-b300-pod").measured
    table = measured.matmul_table("nvfp4")
    assert table is not None
    assert (table.device, table.grade, measured.grade) == ("b200-sxm", "borrowed", "borrowed")


def test_pci_express_machines_borrow_collectives_from_one_of_their_kind():
    table = load_cluster("rtx-4090-workstation").measured.collective_table()
    assert table is not None
    assert table.device == "rtx-pro-6000"


def test_fp16_is_taken_from_bf16():
    table = load_cluster("dgx-a100-pod").measured.matmul_table("fp16")
    assert table is not None
    assert table.dtype == "bf16"


def test_no_table_is_none():
    assert load_cluster("dgx-a100-pod").measured.matmul_table("fp8") is None
    assert load_cluster("laptop-cpu").measured.attention_table() is None


def test_every_measured_number_is_positive():
    for name in ("dgx-a100-pod", "dgx-b200-pod", "gb200-nvl72", "l40s-server", "v100-pod"):
        measured = load_cluster(name).measured
        for table in (measured.matmul_table("bf16"), measured.attention_table(), measured.collective_table()):
            assert table is not None
            assert np.all(table.seconds > 0)


def test_own_measurements_go_before_every_file():
    measured = cluster(node(), None, measurements=OWN).measured
    table = measured.matmul_table("bf16")
    assert table is not None
    assert (table.grade, table.m.tolist()) == ("measured", [64])
    assert measured.host_launch_s == 4.2e-6
    collectives, storage = measured.collective_table(), measured.storage_table()
    assert collectives is not None and collectives.ranks.tolist() == [2]
    assert storage is not None and storage.op.tolist() == ["write"]


def test_columns_must_be_equally_long():
    with pytest.raises(ValidationError, match="columns must be equally long"):
        Measurements.model_validate({"memory_copy": {"bytes": [1.0, 2.0], "seconds": [1.0]}})


def test_a_measured_time_of_zero_is_refused():
    with pytest.raises(ValidationError, match=r"seconds\[0\] must be greater than zero"):
        Measurements.model_validate({"memory_copy": {"bytes": [1.0], "seconds": [0.0]}})


def test_the_multi_node_logs_are_there():
    table = cluster_collectives(profiles_folder() / "measurements")
    assert table.ranks.max() == 1984
    assert np.all(table.nodes >= 1)
