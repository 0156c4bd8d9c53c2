"""Measured surfaces under figures that were changed on paper."""

import numpy as np
import pytest

from glmplan.cost.collective import CollectiveModel, collective_model
from glmplan.cost.device_surfaces import device_model
from glmplan.cost.rescaling import rescaled_collectives, rescaled_device
from glmplan.cost.roofline import DeviceModel
from glmplan.layout.communication import Collective, Communication, Group, Purpose
from glmplan.precision import Precision
from glmplan.software.catalog import load_stack
from tests.small_jobs import cluster_of

SHAPES = [np.array(side, dtype=float) for side in ([128, 4096, 8192], [4096, 4096, 64], [1024, 8192, 8192])]


def device(cluster: str = "dgx-a100-pod", precision: Precision = Precision.BF16) -> DeviceModel:
    return device_model(cluster_of(cluster, 8), precision, load_stack("megatron-core").kernels)


def test_a_device_changed_by_nothing_is_the_same() -> None:
    real = device()
    same = rescaled_device(real, flops_ratio=1.0, bandwidth_ratio=1.0)
    assert (same.matmul_s(*SHAPES) == real.matmul_s(*SHAPES)).all()


def test_a_slower_memory_on_paper_is_the_device_that_has_it() -> None:
    """The A100 of 40 GB has the tables of the one of 80 GB and 1,555 instead of 2,039 GB/s (A100 datasheet)."""
    real, other = device(), device("dgx-a100-40gb-pod")
    ratio = other.bandwidth_bytes_per_s / real.bandwidth_bytes_per_s
    assert ratio == pytest.approx(1555 / 2039, rel=1e-3)
    changed = rescaled_device(real, flops_ratio=1.0, bandwidth_ratio=ratio)
    np.testing.assert_allclose(changed.matmul_s(*SHAPES), other.matmul_s(*SHAPES), rtol=1e-9)
    np.testing.assert_allclose(changed.stream_s(1e9), other.stream_s(1e9), rtol=1e-9)


def test_products_bound_by_compute_gain_from_compute_only() -> None:
    real = device()
    square = [np.array([8192.0])] * 3
    thin = [np.array([16.0]), np.array([8192.0]), np.array([8192.0])]
    more_flops = rescaled_device(real, flops_ratio=2.0, bandwidth_ratio=1.0)
    more_bytes = rescaled_device(real, flops_ratio=1.0, bandwidth_ratio=2.0)
    assert more_flops.matmul_s(*square) == pytest.approx(real.matmul_s(*square) / 2, rel=0.02)
    assert more_bytes.matmul_s(*square) == pytest.approx(real.matmul_s(*square), rel=0.02)
    assert more_flops.matmul_s(*thin) == pytest.approx(real.matmul_s(*thin), rel=0.02)
    assert more_bytes.matmul_s(*thin) < 0.6 * real.matmul_s(*thin)


def test_the_plain_precision_of_an_8_bit_device_is_changed_with_it() -> None:
    real = device("dgx-h100-pod", Precision.FP8)
    changed = rescaled_device(real, flops_ratio=2.0, bandwidth_ratio=3.0)
    assert real.plain is not None
    assert changed.plain is not None
    assert changed.plain.peak_flops_per_s == 2 * real.plain.peak_flops_per_s
    assert changed.plain.bandwidth_bytes_per_s == 3 * real.plain.bandwidth_bytes_per_s


def all_reduce(bytes_: float, ranks: int = 8) -> Communication:
    group = Group(ranks=float(ranks), stride=1.0)
    return Communication(
        name="test",
        collective=Collective.ALL_REDUCE,
        bytes=bytes_,
        group=group,
        purpose=Purpose.TENSOR,
        backward=False,
    )


def seconds(model: CollectiveModel, bytes_: float) -> float:
    return float(model.seconds(all_reduce(bytes_)))


def test_large_messages_follow_the_bandwidth_and_small_ones_the_latency() -> None:
    real = collective_model(cluster_of("dgx-h100-pod", 8))
    wide = rescaled_collectives(real, bandwidth_ratio=2.0, latency_ratio=1.0)
    quick = rescaled_collectives(real, bandwidth_ratio=1.0, latency_ratio=0.5)
    assert seconds(wide, 5e8) == pytest.approx(seconds(real, 5e8) / 2, rel=0.02)
    assert seconds(wide, 512) == pytest.approx(seconds(real, 512))
    assert seconds(quick, 512) == pytest.approx(seconds(real, 512) / 2)
    assert seconds(quick, 5e8) == pytest.approx(seconds(real, 5e8), rel=0.02)
