"""Seconds of one operation on one device: roofline, corrected by what was measured.

A matmul or attention takes its ideal time times the residual that the measured table shows at that shape. Where nothing
was measured a flat share of the peak is assumed, and the estimate says so. ``device_surfaces`` makes a DeviceModel.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from glmplan.cost.interpolation import Floats, Surface
from glmplan.software.stack import Kernels
from glmplan.workload.operation import Attention, Matmul, Number, Stream
from glmplan.workload.quantisation import quantisation_bytes

ASSUMED_MATMUL_FRACTION = 0.65
"""Share of peak of large matmuls where no table exists: median over the devices with a table, 0.57 to 0.79."""
ASSUMED_ATTENTION_FRACTION = 0.5
"""The same for causal flash attention forward: 0.49 to 0.63."""
UNFUSED_ATTENTION_FRACTION = 0.45
"""Share of peak of the batched products of an unfused attention (thin matrices of one head's width)."""
KERNEL_FLOOR_S = 1e-6
"""Of any kernel, whatever its shape. The fastest products of the tables take 1.9 to 4.6 us, part of which scales with
the device: of 0, 1, 2 and 4 us this carries residuals from one device to the next with the smallest error."""
MISALIGNED_HEAD_FACTOR = 16.0
"""How much slower those products are when the head width is no multiple of 8: tensor cores need rows of 16 bytes, and
without them products that accumulate in fp32 run at the rate of fp32 (A100 datasheet: 19.5 against 312 TFLOP/s)."""


PASS_BANDWIDTH_FRACTION = 0.92
"""Of memory bandwidth, what simple kernels over large tensors reach: 2.2 of 2.4 TB/s on an H100 (torchao,
``roofline_utils.py``)."""


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
    """Measured over ideal seconds, over (m, n, k)."""
    attention_residual: Surface | None
    """Measured over ideal seconds of the causal forward, over (sequence, batch x heads)."""
    attention_backward_ratio: Surface | None
    """Backward over forward seconds, over the same; where it was measured."""
    copy_rate: Surface | None
    """Bytes per second of a copy, read and write counted, over bytes moved; where it was measured."""
    kernels: Kernels
    grade: str
    """measured, borrowed or assumed: the matmul table's."""
    transposes: bool = False
    """Matmuls at this precision take row-major operands only."""
    plain: "DeviceModel | None" = None
    """The device at the precision of activations, where matmuls have one of their own."""

    def matmul_s(self, m: Number, n: Number, k: Number, batch: Number = 1.0) -> Floats:
        """Seconds of ``batch`` products ``[m, k] @ [k, n]``."""
        m, n, k = (np.maximum(np.asarray(x, dtype=float), 1.0) for x in (m, n, k))
        rates = (self.peak_flops_per_s, self.bandwidth_bytes_per_s, self.operand_bytes)
        least = roofline_s(m, n, k, *rates)
        if self.matmul_residual is None:
            return np.asarray(batch * least / ASSUMED_MATMUL_FRACTION)
        return np.asarray(batch * np.maximum(ideal_matmul_s(m, n, k, *rates) * self.matmul_residual.at(m, n, k), least))

    def matmul_passes_s(self, op: Matmul) -> tuple[Floats, Floats]:
        """Forward seconds, and input-gradient plus weight-gradient seconds: three different shapes."""
        quantisation = op.quantisation
        if quantisation is None and self.plain is not None:
            return self.plain.matmul_passes_s(op)
        m, k = op.tokens, op.depth
        forward = backward = np.asarray(0.0)
        for share, times in Counter(op.parts).items():
            n = op.columns * share
            forward = forward + times * self.matmul_s(m, n, k, op.batch)
            backward = backward + times * (self.matmul_s(m, k, n, op.batch) + self.matmul_s(k, n, m, op.batch))
        if quantisation is None or self.plain is None:
            return forward, backward
        forward = forward * quantisation.kernels.forward_matmul_time
        share = quantisation.layers_share
        if share == 1.0:
            return forward, backward
        ahead, back = self.plain.matmul_passes_s(replace(op, quantisation=None))
        return share * forward + (1.0 - share) * ahead, share * backward + (1.0 - share) * back

    def summed_gradients_s(self, op: Matmul) -> Floats:
        """Seconds of reading the input gradients of all but one of the matmul's parts, to add them up."""
        return self.stream_s((len(op.parts) - 1.0) * op.tokens * op.batch * op.depth)

    def quantisation_passes_s(self, op: Matmul) -> tuple[Floats, Floats]:
        """Forward and backward seconds of quantising the operands of ``op``."""
        moved = quantisation_bytes(op, transposes=self.transposes)
        return self.pass_s(moved.forward), self.pass_s(moved.backward)

    def pass_s(self, bytes_: Number) -> Floats:
        """Seconds of a kernel of one pass, all of whose bytes are counted."""
        reached = 1.0 if self.copy_rate is not None else PASS_BANDWIDTH_FRACTION
        return np.asarray(self.transfer_s(bytes_) / reached)

    def attention_s(self, op: Attention) -> Floats:
        """Forward seconds of the attention core without its score traffic."""
        flops = np.asarray(op.flops, dtype=float)
        if self.kernels.attention == "unfused":
            slow = MISALIGNED_HEAD_FACTOR if op.qk_dim % 8 else 1.0
            return flops * slow / (self.attention_peak_flops_per_s * UNFUSED_ATTENTION_FRACTION)
        moved = op.heads * op.query_len + op.kv_heads * op.key_len
        moved_bytes = self.activation_bytes * (op.qk_dim + op.v_dim) * op.sequences * moved
        least = flops / self.attention_peak_flops_per_s
        ideal = ideal_attention_s(flops, moved_bytes, self.attention_peak_flops_per_s, self.bandwidth_bytes_per_s)
        if self.attention_residual is None:
            return ideal
        parallel = np.asarray(op.sequences * op.heads, dtype=float)
        residual = self.attention_residual.at(np.asarray(op.key_len, dtype=float), parallel)
        return np.asarray(np.maximum(ideal * residual, least))

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


def ideal_matmul_s(
    m: npt.ArrayLike,
    n: npt.ArrayLike,
    k: npt.ArrayLike,
    peak_flops_per_s: float,
    bandwidth_bytes_per_s: float,
    operand_bytes: float,
) -> Floats:
    """What measured products are divided by: compute and memory seconds, rounded where they meet, and a kernel's floor.

    ``(compute^3 + memory^3)^(1/3) + floor``. Compared with the bare roofline the residual varies less with the shape,
    so that it interpolates, and travels to another device, with a smaller error (reports/kernels.md).
    """
    m, n, k = (np.asarray(x, dtype=float) for x in (m, n, k))
    compute = m * n * k * (2.0 / peak_flops_per_s)
    memory = (m * k + k * n + m * n) * (operand_bytes / bandwidth_bytes_per_s)
    return np.asarray(np.cbrt(compute * compute * compute + memory * memory * memory) + KERNEL_FLOOR_S)


def ideal_attention_s(
    flops: npt.ArrayLike, moved_bytes: npt.ArrayLike, peak_flops_per_s: float, bandwidth_bytes_per_s: float
) -> Floats:
    """What measured attention is divided by: compute at a flash kernel's usual share of peak, memory, a kernel's floor.

    They add up: in the tables the seconds grow with the bytes of keys and values at every length of the sequence.
    """
    compute = np.asarray(flops, dtype=float) / (peak_flops_per_s * ASSUMED_ATTENTION_FRACTION)
    return np.asarray(compute + np.asarray(moved_bytes, dtype=float) / bandwidth_bytes_per_s + KERNEL_FLOOR_S)
