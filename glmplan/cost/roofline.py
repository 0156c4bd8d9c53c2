"""Seconds of one operation on one device: roofline, corrected by what was measured.

A matmul takes its roofline time times the residual that the measured table shows at that shape. A table borrowed from
another device is divided by that device's own roofline first, so that only the residual travels. Where nothing was
measured a flat share of the peak is assumed, and the estimate says so.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.cost.interpolation import Floats, Surface, surface
from glmplan.hardware.catalog import load_device
from glmplan.hardware.cluster import Cluster
from glmplan.hardware.device import Device
from glmplan.precision import BYTES_PER_ELEMENT, Precision, activation_precision
from glmplan.software.stack import Kernels
from glmplan.workload.operation import Attention, Matmul, Number, Stream

ASSUMED_MATMUL_FRACTION = 0.65
"""Share of peak of large matmuls where no table exists: median over the devices with a table, 0.57 to 0.79."""
ASSUMED_ATTENTION_FRACTION = 0.5
"""The same for causal flash attention forward: 0.49 to 0.63."""
UNFUSED_ATTENTION_FRACTION = 0.45
"""Share of peak of the batched products of an unfused attention (thin matrices of one head's width)."""
MISALIGNED_HEAD_FACTOR = 3.0
"""How much slower those products are when the head width is no multiple of 8: tensor cores need 16-byte rows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceModel:
    """A device at one precision, with its measured surfaces."""

    peak_flops_per_s: float
    attention_peak_flops_per_s: float
    """Attention runs in the activation format whatever the matmuls do."""
    bandwidth_bytes_per_s: float
    operand_bytes: float
    activation_bytes: float
    matmul_residual: Surface | None
    """Measured over roofline seconds, over (m, n, k)."""
    attention_efficiency: Surface | None
    """Share of peak of the causal forward, over (sequence, batch x heads)."""
    attention_backward_ratio: Surface | None
    """Backward over forward seconds, over the same; where it was measured."""
    copy_rate: Surface | None
    """Bytes per second of a copy, read and write counted, over bytes moved; where it was measured."""
    kernels: Kernels
    grade: str
    """measured, borrowed or assumed: the matmul table's."""

    def matmul_s(self, m: Number, n: Number, k: Number, batch: Number = 1.0) -> Floats:
        """Seconds of ``batch`` products ``[m, k] @ [k, n]``."""
        m, n, k = (np.maximum(np.asarray(x, dtype=float), 1.0) for x in (m, n, k))
        ideal = roofline_s(m, n, k, self.peak_flops_per_s, self.bandwidth_bytes_per_s, self.operand_bytes)
        if self.matmul_residual is None:
            return np.asarray(batch * ideal / ASSUMED_MATMUL_FRACTION)
        return np.asarray(batch * ideal * np.maximum(self.matmul_residual.at(m, n, k), 1.0))

    def matmul_passes_s(self, op: Matmul) -> tuple[Floats, Floats]:
        """Forward seconds, and input-gradient plus weight-gradient seconds: three different shapes."""
        m, n, k = op.tokens, op.columns, op.depth
        forward = self.matmul_s(m, n, k, op.batch)
        return forward, self.matmul_s(m, k, n, op.batch) + self.matmul_s(k, n, m, op.batch)

    def attention_s(self, op: Attention) -> Floats:
        """Forward seconds of the attention core without its score traffic."""
        flops = np.asarray(op.flops, dtype=float)
        if self.kernels.attention == "unfused":
            slow = MISALIGNED_HEAD_FACTOR if op.qk_dim % 8 else 1.0
            return flops * slow / (self.attention_peak_flops_per_s * UNFUSED_ATTENTION_FRACTION)
        share: Number = ASSUMED_ATTENTION_FRACTION
        if self.attention_efficiency is not None:
            parallel = np.asarray(op.sequences * op.heads, dtype=float)
            share = self.attention_efficiency.at(np.asarray(op.key_len, dtype=float), parallel)
        return np.asarray(flops / (self.attention_peak_flops_per_s * share))

    def attention_backward_factor(self, op: Attention, default: float) -> Number:
        """Backward over forward seconds: measured here, else the stack's."""
        if self.kernels.attention == "unfused":
            return 2.0  # four products against two
        if self.attention_backward_ratio is None:
            return default
        parallel = np.asarray(op.sequences * op.heads, dtype=float)
        return self.attention_backward_ratio.at(np.asarray(op.key_len, dtype=float), parallel)

    def stream_s(self, elements: Number) -> Floats:
        """Seconds to move ``elements`` through memory."""
        moved = np.asarray(elements, dtype=float) * self.activation_bytes
        return self.transfer_s(moved)

    def transfer_s(self, bytes_: Number) -> Floats:
        """Seconds to read or write ``bytes_`` of memory."""
        moved = np.asarray(bytes_, dtype=float)
        if self.copy_rate is None:
            return moved / self.bandwidth_bytes_per_s
        return np.asarray(moved / self.copy_rate.at(np.maximum(moved, 1.0)))

    def stream_passes_s(self, op: Stream) -> tuple[Floats, Floats]:
        """Forward and backward seconds."""
        return self.stream_s(op.forward_elements), self.stream_s(op.backward_elements)


def roofline_s(
    m: npt.ArrayLike,
    n: npt.ArrayLike,
    k: npt.ArrayLike,
    peak_flops_per_s: float,
    bandwidth_bytes_per_s: float,
    operand_bytes: float,
) -> Floats:
    """Larger of compute and memory seconds of one product (Williams 2009, Roofline, section 3).

    >>> float(roofline_s(4096, 4096, 4096, 312e12, 2.039e12, 2.0)) == 2 * 4096**3 / 312e12
    True
    """
    m, n, k = (np.asarray(x, dtype=float) for x in (m, n, k))
    moved = operand_bytes * (m * k + k * n + m * n)
    return np.asarray(np.maximum(2.0 * m * n * k / peak_flops_per_s, moved / bandwidth_bytes_per_s))


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
    peak = device.peak_flops_per_s(precision)
    activation = activation_precision(precision)
    attention_peak = device.peak_flops_per_s(activation)
    operand_bytes = BYTES_PER_ELEMENT[precision]
    residual, grade = None, "assumed"
    names = TABLE_FORMATS.get(precision, (str(precision),))
    tables = [table for name in names if (table := measured.matmul_table(name)) is not None]
    if tables:
        table = tables[0]
        lender = device if table.grade == "measured" else load_device(table.device)
        ideal = roofline_s(
            table.m, table.n, table.k, lender.peak_flops_per_s(precision), _bandwidth(lender), operand_bytes
        )
        residual, grade = surface((table.m, table.n, table.k), np.maximum(table.seconds / ideal, 1e-3)), table.grade
    forward, ratio = _attention_surfaces(cluster, activation, attention_peak)
    copies = measured.memory_copy_table()
    return DeviceModel(
        peak_flops_per_s=peak,
        attention_peak_flops_per_s=attention_peak,
        bandwidth_bytes_per_s=_bandwidth(device),
        operand_bytes=operand_bytes,
        activation_bytes=BYTES_PER_ELEMENT[activation],
        matmul_residual=residual,
        attention_efficiency=forward,
        attention_backward_ratio=ratio,
        copy_rate=None if copies is None else surface((2 * copies.bytes,), 2 * copies.bytes / copies.seconds),
        kernels=kernels,
        grade=grade,
    )


def _bandwidth(device: Device) -> float:
    return device.memory_bandwidth_bytes_per_s


def _attention_surfaces(
    cluster: Cluster, precision: Precision, peak_flops_per_s: float
) -> tuple[Surface | None, Surface | None]:
    table = cluster.measured.attention_table(str(precision))
    if table is None:
        return None, None
    lender_peak = peak_flops_per_s
    if table.grade != "measured":
        lender_peak = load_device(table.device).peak_flops_per_s(Precision.BF16)
    # causal: half of the s x s scores, two products of two FLOPs per multiply-add
    flops = 2.0 * table.batch * table.heads * table.seq.astype(float) ** 2 * table.head_dim
    where = (table.seq, table.batch * table.heads)
    forward = surface(where, flops / (lender_peak * table.seconds))
    backward = cluster.measured.attention_backward_table(str(precision))
    if backward is None:
        return forward, None
    ahead = surface((table.seq, table.batch * table.heads, table.head_dim), table.seconds)
    forward_s = ahead.at(backward.seq, backward.batch * backward.heads, backward.head_dim)
    return forward, surface((backward.seq, backward.batch * backward.heads), backward.seconds / forward_s)
