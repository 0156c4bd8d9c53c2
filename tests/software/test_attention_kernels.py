"""Attention kernels by generation, against the figures they come from."""

import pytest

from glmplan.errors import NoData
from glmplan.software.attention_kernels import attention_kernel


@pytest.mark.parametrize(
    ("kernel", "tflops"), [("flash3", 579), ("cudnn", 518), ("flash2", 319), ("triton-hopper", 353)]
)
def test_rates_on_hopper_are_those_of_the_paper(kernel: str, tflops: float) -> None:
    """Shah 2024, arXiv:2407.08608, figure 5: causal, head width 128, sequence 4096."""
    assert attention_kernel("Hopper GH100", kernel).forward_factor(128) == pytest.approx(579 / tflops, rel=0.01)


@pytest.mark.parametrize(("kernel", "forward", "backward"), [("flash3", 638, 542), ("cudnn", 609, 499)])
def test_the_backward_pass_is_five_products_against_two(kernel: str, forward: float, backward: float) -> None:
    """Shah 2024, figures 5 and 6: not causal, head width 128, sequence 4096."""
    ratio = attention_kernel("Hopper GH100", kernel).backward_over_forward
    assert ratio == pytest.approx(2.5 * forward / backward, rel=0.01)


def test_a_narrow_head_is_slower_and_widths_between_lie_between() -> None:
    kernel = attention_kernel("Hopper GH100")
    assert kernel.forward_factor(128) == kernel.forward_factor(256) == 1.0
    assert kernel.forward_factor(64) == kernel.forward_factor(32) == pytest.approx(579 / 420, rel=0.01)
    assert 1.0 < kernel.forward_factor(96) < kernel.forward_factor(64)


def test_generations_are_told_by_the_devices_architecture() -> None:
    assert attention_kernel("Blackwell GB202") == attention_kernel("Ampere GA100")
    assert attention_kernel("Grace + 2x Blackwell") == attention_kernel("Blackwell Ultra (2 dies)")


def test_an_unknown_kernel_or_device_is_refused() -> None:
    with pytest.raises(NoData, match="flash4"):
        attention_kernel("Ampere GA100", "flash4")
    with pytest.raises(NoData, match="CDNA3"):
        attention_kernel("CDNA3", "flash2")
