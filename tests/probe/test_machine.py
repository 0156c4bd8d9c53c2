"""One short probe of this very machine, looked at from many sides."""

import getpass
import multiprocessing
import socket
import time
from pathlib import Path

import pytest

from glmplan.documents import Json
from glmplan.errors import InputError
from glmplan.hardware.catalog import load_cluster
from glmplan.precision import Precision
from glmplan.probe.machine import probe_machine, write_profile

SECONDS = 3.0


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Json, list[tuple[str, float]], Path]:
    folder = tmp_path_factory.mktemp("probe")
    heard: list[tuple[str, float]] = []
    before = set(multiprocessing.active_children())  # other tests keep workers
    document = probe_machine(
        ranks=2,
        seconds=SECONDS,
        seed=1,
        dtypes=[Precision.FP32, Precision.BF16],
        folder=folder,
        progress=lambda section, done: heard.append((section, done)),
    )
    assert set(multiprocessing.active_children()) <= before
    return document, heard, folder


def test_the_probe_leaves_no_file(probed: tuple[Json, list[tuple[str, float]], Path]) -> None:
    assert list(probed[2].iterdir()) == []


def test_progress_grows_to_the_end(probed: tuple[Json, list[tuple[str, float]], Path]) -> None:
    heard = probed[1]
    shares = [done for _, done in heard]
    assert shares == sorted(shares) and shares[-1] == 1.0
    sections = list(dict.fromkeys(section for section, _ in heard))
    assert sections == ["matmul", "attention", "memory", "host", "collectives", "storage", "done"]


def test_the_profile_loads_and_its_numbers_are_plausible(
    probed: tuple[Json, list[tuple[str, float]], Path], tmp_path: Path
) -> None:
    path = tmp_path / "machine.yaml"
    write_profile(probed[0], path)
    cluster = load_cluster(str(path))
    assert cluster.num_devices == 2
    for precision in (Precision.FP32, Precision.BF16):
        assert 1e8 < cluster.device.peak_flops_per_s(precision) < 1e16
        assert cluster.measured.matmul_table(precision.value) is not None
    assert 1e8 < cluster.device.memory_bandwidth_bytes_per_s < 1e13
    assert 1e6 < cluster.tiers[0].bandwidth_bytes_per_s < 1e12
    assert cluster.measured.host_launch_s is not None and 1e-7 < cluster.measured.host_launch_s < 1e-3
    collectives = cluster.measured.collective_table()
    assert collectives is not None
    assert set(collectives.op) == {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv"}
    assert (collectives.seconds < 10).all()
    for table in (cluster.measured.memory_copy_table(), cluster.measured.storage_table()):
        assert table is not None and (table.seconds > 0).all()


def test_no_table_row_beats_the_peak(probed: tuple[Json, list[tuple[str, float]], Path]) -> None:
    products = probed[0]["measurements"]["matmul"]
    peak = {"fp32": 0.0, "bf16": 0.0}
    for dtype, m, n, k, seconds in zip(*products.values(), strict=True):
        peak[dtype] = max(peak[dtype], 2 * m * n * k / seconds)
    for dtype, fact in probed[0]["device"]["peak_flops"].items():
        # 1.5 covers the prefix of the printed unit (GFLOP/s, TFLOP/s) only if the digits are right.
        number, unit = fact["value"].split()
        scale = {"MFLOP/s": 1e6, "GFLOP/s": 1e9, "TFLOP/s": 1e12}[unit]
        assert float(number) * scale == pytest.approx(peak[dtype], rel=1e-4)


def test_the_profile_says_nothing_about_who_and_where(
    probed: tuple[Json, list[tuple[str, float]], Path], tmp_path: Path
) -> None:
    path = tmp_path / "machine.yaml"
    write_profile(probed[0], path)
    text = path.read_text(encoding="utf-8")
    for secret in (socket.gethostname(), str(Path.home()), str(probed[2]), str(Path.cwd())):
        assert secret not in text
    assert f"user: {getpass.getuser()}" not in text


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_time_that_makes_no_sense_is_refused(seconds: float, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match="--seconds: must be 1 to 3600"):
        probe_machine(
            ranks=2, seconds=seconds, seed=0, dtypes=None, folder=tmp_path, progress=lambda section, done: None
        )
    assert time.monotonic() - began < 1
