import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmplan.errors import InputError
from glmplan.precision import Precision
from glmplan.probe.device_under_test import (
    MAX_CPU_RANKS,
    DeviceUnderTest,
    choose_precisions,
    default_cpu_ranks,
    find_device,
    usable_cores,
    usable_memory_bytes,
)

CPU = DeviceUnderTest(
    kind="cpu", name="cpu-1threads", threads=1, memory_bytes=1e9, max_ranks=4, host_cores=2, host_memory_bytes=2e9
)


@settings(deadline=None)
@given(cores=st.integers(min_value=1, max_value=1024))
def test_cpu_ranks_are_a_power_of_two_between_two_and_eight(cores: int) -> None:
    ranks = default_cpu_ranks(cores)
    assert ranks in (2, 4, 8)
    assert ranks <= max(2, cores)
    assert ranks == MAX_CPU_RANKS or 2 * ranks > cores


def test_the_ranks_share_cores_and_memory() -> None:
    device, ranks = find_device(2)
    if device.kind == "cpu":
        assert device.threads == max(1, usable_cores() // 2)
        assert device.memory_bytes <= 1.05 * usable_memory_bytes() / 2
        assert device.name == f"cpu-{device.threads}threads"
    assert ranks == 2 and device.memory_bytes > 0


@pytest.mark.parametrize("ranks", [0, -1, 100000])
def test_a_number_of_ranks_the_machine_cannot_carry_is_refused(ranks: int) -> None:
    with pytest.raises(InputError, match=rf"--ranks: {ranks} is outside 1 to \d+"):
        find_device(ranks)


def test_a_cpu_is_measured_in_fp32_and_bf16() -> None:
    assert choose_precisions(CPU, None) == (Precision.FP32, Precision.BF16)
    assert choose_precisions(CPU, (Precision.BF16, Precision.BF16)) == (Precision.BF16,)


def test_a_format_that_the_device_cannot_multiply_is_refused() -> None:
    with pytest.raises(InputError, match=r"--dtype: fp8 cannot be measured here.*use fp32, bf16"):
        choose_precisions(CPU, (Precision.FP8,))
