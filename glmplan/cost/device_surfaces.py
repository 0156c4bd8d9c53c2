"""Makes the model of a device from its datasheet and its measured tables.

A table borrowed from another device is divided by that device's own roofline, so that only the residual travels. Tables
are turned into surfaces once for each device and format.
"""

from functools import lru_cache

import numpy as np

from glmplan.cost.interpolation import Surface, surface
from glmplan.cost.roofline import DeviceModel, roofline_s
from glmplan.hardware.catalog import load_device
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.measured import MeasuredTables
from glmplan.precision import BYTES_PER_ELEMENT, Precision, activation_precision
from glmplan.software.stack import Kernels

TABLE_FORMATS: dict[Precision, tuple[str, ...]] = {
    Precision.FP8: ("fp8",),
    Precision.FP8_BLOCKWISE: ("fp8_block", "fp8"),
    Precision.MXFP8: ("fp8",),
    Precision.NVFP4: ("nvfp4",),
    Precision.TF32: ("tf32",),
}
"""Names of the measured tables that serve a precision, best first; others are called as the precision itself."""


def device_model(cluster: Cluster, precision: Precision, kernels: Kernels) -> DeviceModel:
    """The device of ``cluster`` at ``precision``. Raises NoData when the device has no peak for it."""
    device, measured = cluster.device, cluster.measured
    activation = activation_precision(precision)
    peak = device.peak_flops_per_s(precision)
    attention_peak = device.peak_flops_per_s(activation)
    bandwidth = device.memory_bandwidth_bytes_per_s
    residual, grade = _matmul_residual(measured, precision, peak, bandwidth)
    forward, ratio = _attention_surfaces(measured, activation, attention_peak)
    return DeviceModel(
        peak_flops_per_s=peak,
        attention_peak_flops_per_s=attention_peak,
        bandwidth_bytes_per_s=bandwidth,
        operand_bytes=BYTES_PER_ELEMENT[precision],
        activation_bytes=BYTES_PER_ELEMENT[activation],
        matmul_residual=residual,
        attention_efficiency=forward,
        attention_backward_ratio=ratio,
        copy_rate=_copy_rate(measured),
        kernels=kernels,
        grade=grade,
    )


@lru_cache(maxsize=64)
def _matmul_residual(
    measured: MeasuredTables, precision: Precision, peak_flops_per_s: float, bandwidth_bytes_per_s: float
) -> tuple[Surface | None, str]:
    """Measured over roofline seconds over (m, n, k), and whether it is the device's own table or a borrowed one."""
    for name in TABLE_FORMATS.get(precision, (str(precision),)):
        table = measured.matmul_table(name)
        if table is None:
            continue
        peak, bandwidth = peak_flops_per_s, bandwidth_bytes_per_s
        if table.grade != "measured":
            lender = load_device(table.device)
            peak, bandwidth = lender.peak_flops_per_s(precision), lender.memory_bandwidth_bytes_per_s
        ideal = roofline_s(table.m, table.n, table.k, peak, bandwidth, BYTES_PER_ELEMENT[precision])
        return surface((table.m, table.n, table.k), np.maximum(table.seconds / ideal, 1e-3)), table.grade
    return None, "assumed"


@lru_cache(maxsize=64)
def _attention_surfaces(
    measured: MeasuredTables, precision: Precision, peak_flops_per_s: float
) -> tuple[Surface | None, Surface | None]:
    """Share of peak of the causal forward, and backward over forward seconds, over (sequence, batch x heads)."""
    table = measured.attention_table(str(precision))
    if table is None:
        return None, None
    peak = peak_flops_per_s if table.grade == "measured" else _bf16_peak(table.device)
    # causal: half of the s x s scores, two products of two FLOPs per multiply-add
    flops = 2.0 * table.batch * table.heads * table.seq.astype(float) ** 2 * table.head_dim
    forward = surface((table.seq, table.batch * table.heads), flops / (peak * table.seconds))
    backward = measured.attention_backward_table(str(precision))
    if backward is None:
        return forward, None
    ahead = surface((table.seq, table.batch * table.heads, table.head_dim), table.seconds)
    forward_s = ahead.at(backward.seq, backward.batch * backward.heads, backward.head_dim)
    return forward, surface((backward.seq, backward.batch * backward.heads), backward.seconds / forward_s)


def _bf16_peak(device: str) -> float:
    return load_device(device).peak_flops_per_s(Precision.BF16)


@lru_cache(maxsize=16)
def _copy_rate(measured: MeasuredTables) -> Surface | None:
    """Bytes per second of a copy, read and write counted, over the bytes moved."""
    copies = measured.memory_copy_table()
    return None if copies is None else surface((2 * copies.bytes,), 2 * copies.bytes / copies.seconds)
