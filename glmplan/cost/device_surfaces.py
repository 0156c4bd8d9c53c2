"""Makes the model of a device from its datasheet and its measured tables.

A table borrowed from another device is divided by that device's own ideal times, so that only the residual travels.
Where both devices' sustained share of peak is known, a larger one counts as a higher peak. Surfaces are made once for
each device and format.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from glmplan.cost.interpolation import Floats, Surface, surface
from glmplan.cost.roofline import DeviceModel, ideal_attention_s, ideal_matmul_s
from glmplan.hardware.catalog import load_device
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.device import Device
from glmplan.hardware.measured import AttentionTable, MatmulTable, MeasuredTables
from glmplan.precision import BYTES_PER_ELEMENT, Precision, activation_precision
from glmplan.software.stack import Kernels

TABLE_FORMATS: dict[Precision, tuple[str, ...]] = {
    Precision.FP8: ("fp8",),
    Precision.FP8_BLOCKWISE: ("fp8-blockwise", "fp8"),
    Precision.MXFP8: ("fp8",),
    Precision.NVFP4: ("nvfp4",),
    Precision.TF32: ("tf32",),
}
"""Names of the measured tables that serve a precision, best first; others are called as the precision itself."""

TABLE_QUANTISING_BYTES = {"fp8": 5.5, "fp8-blockwise": 11.0, "nvfp4": 4.0}
"""What the files' calls move to quantise the left operand, in bytes for each of its elements at the full bandwidth:
seconds grow with the elements of the left operand at any number of columns. Read off the tables themselves (products of
1,024 to 6,144 columns, continued to none): fp8 4.2 to 6.3, blockwise 9.4 to 13.4, nvfp4 3.2 to 4.0 by device."""
ROW_MAJOR_ONLY = ("Hopper", "Ada")
"""Architectures whose 8-bit matmuls take row-major operands only (Transformer Engine, performance considerations)."""
SUSTAINED_MATMUL = "measured_big_gemm_median_frac_of_peak"
"""Figure of a device profile: median share of peak of large products."""
SUSTAINED_ATTENTION = "measured_attn_fwd_causal_frac_of_peak"
"""Figure of a device profile: the same for causal attention forward."""
CACHED_KEY_VALUE_PASSES = 2.5
"""How often the calls of the attention files move keys and values. They were collected in an inference engine that
writes both to its cache before it reads them: seconds grow with the number of key-value heads by 2.3 to 3.1 passes (by
device, all lengths). Training has no cache: one pass."""
HEAD_DIM = 128
"""The width whose calls make the surface, where a table holds several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a device is held to: its datasheet, and the share of peak it is known to sustain."""

    peak_flops_per_s: float
    bandwidth_bytes_per_s: float
    sustained_fraction: float | None


def rates(device: Device, precision: Precision, figure: str) -> Rates:
    """The rates of ``device``; ``figure`` names the profile's sustained share. Raises NoData without a peak."""
    known = device.figures.get(figure)
    return Rates(
        peak_flops_per_s=device.peak_flops_per_s(precision),
        bandwidth_bytes_per_s=device.memory_bandwidth_bytes_per_s,
        sustained_fraction=known.value if known is not None and isinstance(known.value, float) else None,
    )


def device_model(cluster: Cluster, precision: Precision, kernels: Kernels) -> DeviceModel:
    """The device of ``cluster`` at ``precision``. Raises NoData when the device has no peak for it."""
    return model_of(cluster.device, cluster.measured, precision, kernels)


def model_of(device: Device, measured: MeasuredTables, precision: Precision, kernels: Kernels) -> DeviceModel:
    """``device`` at ``precision``, with the tables in ``measured``. Raises NoData when it has no peak for it."""
    activation = activation_precision(precision)
    peak = device.peak_flops_per_s(precision)
    attention_peak = device.peak_flops_per_s(activation)
    bandwidth = device.memory_bandwidth_bytes_per_s
    residual, grade = _matmul_residual(measured, precision, rates(device, precision, SUSTAINED_MATMUL))
    forward, ratio = _attention_surfaces(measured, activation, rates(device, activation, SUSTAINED_ATTENTION))
    plain = None if activation is precision else model_of(device, measured, activation, kernels)
    return DeviceModel(
        peak_flops_per_s=peak,
        attention_peak_flops_per_s=attention_peak,
        bandwidth_bytes_per_s=bandwidth,
        operand_bytes=BYTES_PER_ELEMENT[precision],
        activation_bytes=BYTES_PER_ELEMENT[activation],
        matmul_residual=residual,
        attention_residual=forward,
        attention_backward_ratio=ratio,
        copy_rate=_copy_rate(measured),
        kernels=kernels,
        grade=grade,
        transposes=any(name in device.architecture for name in ROW_MAJOR_ONLY),
        plain=plain,
    )


def matmul_residuals(table: MatmulTable, lender: Rates, device: Rates, operand_bytes: float) -> Floats:
    """Measured over ideal seconds of each product of ``table``, taken on ``lender``, as expected on ``device``."""

    def ideal_s(held: Rates, peak_flops_per_s: float) -> Floats:
        return ideal_matmul_s(table.m, table.n, table.k, peak_flops_per_s, held.bandwidth_bytes_per_s, operand_bytes)

    residual = table.seconds / ideal_s(lender, lender.peak_flops_per_s)
    return residual * ideal_s(device, reached_peak(lender, device)) / ideal_s(device, device.peak_flops_per_s)


def without_quantising(table: MatmulTable, bandwidth_bytes_per_s: float) -> MatmulTable:
    """The products of a file alone, without quantising their left operand; at least half of what was measured."""
    bytes_ = TABLE_QUANTISING_BYTES.get(table.dtype, 0.0)
    quantising_s = bytes_ * table.m.astype(float) * table.k / bandwidth_bytes_per_s
    return replace(table, seconds=np.maximum(table.seconds - quantising_s, table.seconds / 2.0))


def attention_residuals(
    table: AttentionTable, lender: Rates, device: Rates, element_bytes: float, passes: float
) -> Floats:
    """The same for each causal call of ``table``, which moved keys and values ``passes`` times."""
    # half of the s x s scores, two products of two FLOPs per multiply-add
    flops = 2.0 * table.batch * table.heads * table.seq.astype(float) ** 2 * table.head_dim
    moved = 2.0 * table.batch * table.seq * table.head_dim * (table.heads + passes * table.kv_heads) * element_bytes

    def ideal_s(held: Rates, peak_flops_per_s: float) -> Floats:
        return ideal_attention_s(flops, moved, peak_flops_per_s, held.bandwidth_bytes_per_s)

    residual = table.seconds / ideal_s(lender, lender.peak_flops_per_s)
    return residual * ideal_s(device, reached_peak(lender, device)) / ideal_s(device, device.peak_flops_per_s)


def reached_peak(lender: Rates, device: Rates) -> float:
    """FLOP/s that stand for the peak of ``device`` where a table of ``lender`` is used: more where it is known to
    sustain a larger share of its peak. The peak itself where one of the shares is not known."""
    if lender.sustained_fraction is None or device.sustained_fraction is None:
        return device.peak_flops_per_s
    return device.peak_flops_per_s * device.sustained_fraction / lender.sustained_fraction


@lru_cache(maxsize=64)
def _matmul_residual(measured: MeasuredTables, precision: Precision, device: Rates) -> tuple[Surface | None, str]:
    """Measured over ideal seconds over (m, n, k), and whether it is the device's own table or a borrowed one."""
    own = measured.own is not None and measured.own.matmul is not None
    for name in TABLE_FORMATS.get(precision, (str(precision),)):
        table = measured.matmul_table(name)
        if table is None:
            continue
        borrowed = table.grade != "measured"
        lender = rates(load_device(table.device), precision, SUSTAINED_MATMUL) if borrowed else device
        if not own:
            table = without_quantising(table, lender.bandwidth_bytes_per_s)
        residuals = matmul_residuals(table, lender, device, BYTES_PER_ELEMENT[precision])
        return surface((table.m, table.n, table.k), np.maximum(residuals, 1e-3), calm=not own), table.grade
    return None, "assumed"


@lru_cache(maxsize=64)
def _attention_surfaces(
    measured: MeasuredTables, precision: Precision, device: Rates
) -> tuple[Surface | None, Surface | None]:
    """Measured over ideal forward, and backward over forward seconds, over (sequence, batch x heads)."""
    table = measured.attention_table(str(precision))
    if table is None:
        return None, None
    own = measured.own is not None and measured.own.attention is not None
    borrowed = table.grade != "measured"
    lender = rates(load_device(table.device), Precision.BF16, SUSTAINED_ATTENTION) if borrowed else device
    passes = 1.0 if own else CACHED_KEY_VALUE_PASSES
    residuals = attention_residuals(table, lender, device, BYTES_PER_ELEMENT[precision], passes)
    rows = table.head_dim == HEAD_DIM if (table.head_dim == HEAD_DIM).any() else table.head_dim > 0
    forward = surface((table.seq[rows], (table.batch * table.heads)[rows]), residuals[rows])
    backward = measured.attention_backward_table(str(precision))
    if backward is None:
        return forward, None
    ahead = surface((table.seq, table.batch * table.heads, table.head_dim), table.seconds)
    forward_s = ahead.at(backward.seq, backward.batch * backward.heads, backward.head_dim)
    return forward, surface((backward.seq, backward.batch * backward.heads), backward.seconds / forward_s)


@lru_cache(maxsize=16)
def _copy_rate(measured: MeasuredTables) -> Surface | None:
    """Bytes per second of a copy, read and write counted, over the bytes moved."""
    copies = measured.memory_copy_table()
    return None if copies is None else surface((2 * copies.bytes,), 2 * copies.bytes / copies.seconds)
