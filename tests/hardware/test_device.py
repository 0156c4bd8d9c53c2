import pytest

from glmplan.errors import InputError, NoData
from glmplan.hardware.catalog import load_device
from glmplan.precision import Precision


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        # NVIDIA A100 and H100 data sheets, dense
        ("a100-sxm-80gb", Precision.BF16, 312),
        ("h100-sxm-80gb", Precision.BF16, 989),
        ("h100-sxm-80gb", Precision.FP8_BLOCKWISE, 1979),
        ("b200-sxm", Precision.NVFP4, 9000),
        ("v100-sxm-32gb", Precision.FP16, 125),
    ],
)
def test_peaks_are_the_dense_ones_of_the_data_sheet(name, precision, tflops):
    assert load_device(name).peak_flops_per_s(precision) == tflops * 1e12


def test_a_format_without_peak_is_no_data_and_names_what_there_is():
    with pytest.raises(NoData, match=r"a100-sxm-80gb: no peak is known for fp8; it has fp32, tf32, bf16"):
        load_device("a100-sxm-80gb").peak_flops_per_s(Precision.FP8)


def test_memory_is_the_usable_one_where_known():
    assert load_device("h100-sxm-80gb").memory_capacity_bytes == 80 * 2**30
    # nvidia-smi of a B300 shows 275040 MiB, although 288 GB are printed
    assert load_device("b300-sxm").memory_capacity_bytes == 275040 * 2**20


def test_the_slow_h100_of_torchtitan_is_another_device():
    # TorchTitan, arXiv:2410.06511: H100 with 96 GB HBM2e at 2.4 TB/s and 500 W
    device = load_device("h100-sxm-96gb-hbm2e")
    assert device.memory_bandwidth_bytes_per_s == 2.4e12
    assert device.tdp_watts == 500


def test_an_alias_finds_its_device():
    assert load_device("h200-sxm").name == "h200-sxm-141gb"


def test_an_unknown_device_is_bad_input_with_a_hint():
    with pytest.raises(InputError, match=r"no 'h100-sxm-80g' in the catalogue; did you mean .*h100-sxm-80gb"):
        load_device("h100-sxm-80g")
