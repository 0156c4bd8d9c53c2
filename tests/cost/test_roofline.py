"""Seconds of single operations: never below the roofline, and equal to what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.cost.device_surfaces import device_model
from glmplan.cost.roofline import KERNEL_FLOOR_S, DeviceModel, ideal_matmul_s, roofline_s
from glmplan.errors import NoData
from glmplan.precision import Precision
from glmplan.software.stack import Kernels
from glmplan.workload.operation import Attention, Matmul, Split
from tests.small_jobs import cluster_of

FLASH, UNFUSED = Kernels(attention="flash"), Kernels(attention="unfused")
SIZES = st.integers(1, 2**16)


def device(name: str = "dgx-a100-pod", precision: Precision = Precision.BF16, kernels: Kernels = FLASH) -> DeviceModel:
    return device_model(cluster_of(name, 8), precision, kernels)


A100 = device()
UNMEASURED = device_model(cluster_of("v100-pod", 8), Precision.FP16, FLASH)


def attention(seq: int, heads: int = 32, causal: bool = True) -> Attention:
    return Attention(
        name="a",
        sequences=1.0,
        heads=heads,
        kv_heads=heads,
        query_len=seq,
        key_len=seq,
        qk_dim=128,
        v_dim=128,
        causal=causal,
    )


@given(m=SIZES, n=SIZES, k=SIZES)
def test_the_roofline_is_the_larger_of_compute_and_memory(m: int, n: int, k: int) -> None:
    """Williams 2009 (CACM 52:4, section 3)."""
    peak, bandwidth = 312e12, 2.039e12
    seconds = float(roofline_s(m, n, k, peak, bandwidth, 2.0))
    compute, memory = 2 * m * n * k / peak, 2 * (m * k + k * n + m * n) / bandwidth
    assert seconds == pytest.approx(max(compute, memory))


@given(m=SIZES, n=SIZES, k=SIZES)
def test_a_matmul_is_never_faster_than_the_roofline(m: int, n: int, k: int) -> None:
    for model in (A100, UNMEASURED):
        ideal = roofline_s(m, n, k, model.peak_flops_per_s, model.bandwidth_bytes_per_s, model.operand_bytes)
        assert float(model.matmul_s(m, n, k)) >= float(ideal) * (1 - 1e-9)


def test_a_measured_shape_takes_what_was_measured_but_for_spikes() -> None:
    """Where the table beats the datasheet's roofline, the roofline stands."""
    table = cluster_of("dgx-a100-pod", 8).measured.matmul_table("bf16")
    assert table is not None
    rows = np.random.default_rng(1).permutation(len(table.m))[:1000]
    m, n, k = (axis[rows].astype(float) for axis in (table.m, table.n, table.k))
    least = roofline_s(m, n, k, A100.peak_flops_per_s, A100.bandwidth_bytes_per_s, A100.operand_bytes)
    off = np.abs(A100.matmul_s(m, n, k) / np.maximum(table.seconds[rows], least) - 1.0)
    assert A100.grade == "measured"
    assert np.quantile(off, 0.9) < 0.01
    assert np.quantile(off, 0.99) < 0.2
    assert (table.seconds[rows] > least).mean() > 0.9


@given(m=SIZES, n=SIZES, k=SIZES)
def test_the_ideal_time_is_above_the_roofline_and_near_it(m: int, n: int, k: int) -> None:
    ideal, least = (float(f(m, n, k, 312e12, 2.039e12, 2.0)) for f in (ideal_matmul_s, roofline_s))
    assert least + KERNEL_FLOOR_S * (1 - 1e-9) <= ideal <= least * 2 ** (1 / 3) * (1 + 1e-9) + KERNEL_FLOOR_S


@given(factor=st.floats(1.0, 32.0))
def test_beyond_the_table_time_grows_with_the_work(factor: float) -> None:
    """The largest measured m is 32768; a share of the peak stays what it was there."""
    at_border, beyond = (float(A100.matmul_s(m, 8192, 8192)) for m in (32768, 32768 * factor))
    assert beyond / at_border == pytest.approx(factor, rel=0.01)


def test_a_product_smaller_than_the_table_is_bound_by_a_kernels_floor() -> None:
    assert float(A100.matmul_s(1, 128, 128)) > KERNEL_FLOOR_S
    assert float(A100.matmul_s(8, 8192, 8192)) < float(A100.matmul_s(64, 8192, 8192)) * 1.2


def test_keys_and_values_of_fewer_heads_take_less_time() -> None:
    several = Attention(
        name="a", sequences=8.0, heads=32, kv_heads=32, query_len=1024, key_len=1024, qk_dim=128, v_dim=128, causal=True
    )
    few = replace(several, kv_heads=4)
    assert 0.7 < float(A100.attention_s(few)) / float(A100.attention_s(several)) < 0.98


def test_the_backward_pass_of_a_matmul_is_two_other_products() -> None:
    matmul = Matmul(name="x", tokens=4096.0, columns=1024.0, depth=8192.0, split=Split.NONE)
    forward, backward = A100.matmul_passes_s(matmul)
    assert float(forward) == float(A100.matmul_s(4096, 1024, 8192))
    assert float(backward) == float(A100.matmul_s(4096, 8192, 1024) + A100.matmul_s(8192, 1024, 4096))


@given(seq=st.sampled_from([256, 1024, 4096, 16384]), heads=st.sampled_from([1, 8, 64]))
def test_attention_is_never_faster_than_its_flops_at_peak(seq: int, heads: int) -> None:
    for kernels in (FLASH, UNFUSED):
        model = device(kernels=kernels)
        op = attention(seq, heads, causal=kernels is FLASH)
        assert float(model.attention_s(op)) >= float(np.asarray(op.flops)) / model.peak_flops_per_s


def test_a_head_width_that_tensor_cores_cannot_read_is_slower() -> None:
    model = device(kernels=UNFUSED)
    narrow = Attention(
        name="a", sequences=1.0, heads=8, kv_heads=8, query_len=512, key_len=512, qk_dim=90, v_dim=90, causal=False
    )
    even = Attention(
        name="a", sequences=1.0, heads=8, kv_heads=8, query_len=512, key_len=512, qk_dim=88, v_dim=88, causal=False
    )
    assert float(model.attention_s(narrow)) > 2 * float(model.attention_s(even))


@given(elements=st.floats(1.0, 1e10), factor=st.floats(1.0, 100.0))
def test_more_bytes_take_no_less_time(elements: float, factor: float) -> None:
    assert float(A100.stream_s(elements * factor)) >= float(A100.stream_s(elements)) * (1 - 1e-9)
    assert float(A100.stream_s(elements)) >= elements * 2 / A100.bandwidth_bytes_per_s * (1 - 1e-9)


def test_a_precision_without_a_peak_is_refused_not_guessed() -> None:
    with pytest.raises(NoData, match="fp4"):
        device(precision=Precision.NVFP4)


def test_a_device_without_a_table_says_that_it_is_assumed_or_borrowed() -> None:
    assert UNMEASURED.grade in ("assumed", "borrowed")
    assert device("dgx-h100-pod").grade == "measured"
