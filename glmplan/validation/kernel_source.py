"""SimuMax's measured kernels beside ours on the same shapes: gradients, grouped products, attention backward.

Its files give shares of peak; shapes are those of its model configurations. The ratio of its seconds to ours on forward
products is what its machine is slower than the one behind our table: a derate known without any training step.
"""

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glmplan.cost.device_surfaces import model_of
from glmplan.cost.interpolation import Floats
from glmplan.cost.roofline import DeviceModel
from glmplan.hardware.catalog import load_device
from glmplan.precision import Precision
from glmplan.software.stack import Kernels
from glmplan.validation.kernel_accuracy import tables_of
from glmplan.workload.operation import Attention

FOLDER = Path(__file__).parent / "kernels"
TABLE_DEVICES = {"a100_pcie": "a100-sxm-80gb", "b200": "b200-sxm"}
"""SimuMax's machine -> the device whose table ours is."""
PEAK_FLOPS_PER_S = {"a100_pcie": 312e12, "b200": 2250e12}
"""That its shares refer to (configs/system of the source)."""
PASSES = {"TN": "forward", "NN": "input gradient", "NT": "weight gradient"}
STAGES = {"fwd": "forward", "bwd_grad_act": "input gradient", "bwd_grad_w": "weight gradient"}
BACKWARD_OVER_FORWARD_FLOPS = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Seconds measured by the source over our seconds, one kind of kernel on one machine."""

    machine: str
    kernel: str
    shapes: int
    median: float
    p10: float
    p90: float


def compare_matmuls(machine: str) -> list[Beside]:
    """Products by pass; 'large' leaves out those under 0.2 TFLOP."""
    rows = [row for row in _rows("matmul") if row["gpu"] == machine]
    model = _model(machine)
    found = []
    for layout, name in PASSES.items():
        for kind in sorted({row["out_dtype"] for row in rows if row["layout"] == layout}):
            chosen = [row for row in rows if row["layout"] == layout and row["out_dtype"] == kind]
            m, n, k, batch, share = (_column(chosen, key) for key in ("m", "n", "k", "b", "efficiency"))
            flops = 2.0 * m * n * k * batch
            ratio = flops / (share * PEAK_FLOPS_PER_S[machine]) / model.matmul_s(m, n, k, batch)
            note = "" if layout != "NT" else f", {kind} sum"
            found.append(_beside(machine, f"matmul {name}{note}", ratio))
            large = flops > 0.2e12
            if large.any() and not large.all():
                found.append(_beside(machine, f"matmul {name}{note}, large", ratio[large]))
    return found


def compare_grouped(machine: str) -> list[Beside]:
    """Grouped products, ours as so many single ones; shapes are given as the forward pass has them."""
    rows = [row for row in _rows("grouped_matmul") if row["gpu"] == machine]
    model = _model(machine)
    found = []
    for stage, name in STAGES.items():
        chosen = [row for row in rows if row["stage"] == stage]
        groups, m, n, k, share = (_column(chosen, key) for key in ("groups", "m", "n", "k", "efficiency"))
        shape = {"fwd": (m, n, k), "bwd_grad_act": (m, k, n), "bwd_grad_w": (k, n, m)}[stage]
        seconds = 2.0 * groups * m * n * k / (share * PEAK_FLOPS_PER_S[machine])
        found.append(_beside(machine, f"grouped matmul {name}", seconds / model.matmul_s(*shape, groups)))
    return found


def compare_attention(machine: str) -> list[Beside]:
    """Attention forward against ours, and the source's backward over its own forward seconds."""
    rows = [row for row in _rows("attention") if row["gpu"] == machine]
    model = _model(machine)
    forward = {_shape(row): _attention_s(row, machine) for row in rows if row["pass"] == "fwd"}
    ours = {shape: float(model.attention_s(_operation(shape))) for shape in forward}
    backward = {_shape(row): _attention_s(row, machine) for row in rows if row["pass"] == "bwd"}
    found = []
    for width in sorted({shape[4] for shape in forward}):
        shapes = [shape for shape in forward if shape[4] == width]
        both = [shape for shape in shapes if shape in backward]
        ahead = np.array([forward[shape] / ours[shape] for shape in shapes])
        found.append(_beside(machine, f"attention forward, key width {width}", ahead))
        if both:
            back = np.array([backward[shape] / forward[shape] for shape in both])
            found.append(_beside(machine, f"attention backward over its forward, key width {width}", back))
    return found


def machine_derate(machine: str) -> Beside:
    """Forward and input-gradient products under one head: how much slower the source's machine is than the table's."""
    rows = [row for row in _rows("matmul") if row["gpu"] == machine and row["layout"] != "NT"]
    m, n, k, batch, share = (_column(rows, key) for key in ("m", "n", "k", "b", "efficiency"))
    seconds = 2.0 * m * n * k * batch / (share * PEAK_FLOPS_PER_S[machine])
    return _beside(
        machine, "all forward and input-gradient products", seconds / _model(machine).matmul_s(m, n, k, batch)
    )


def _model(machine: str) -> DeviceModel:
    device = load_device(TABLE_DEVICES[machine])
    return model_of(device, tables_of(device.name), Precision.BF16, Kernels(attention="flash"))


def _operation(shape: tuple[int, ...]) -> Attention:
    batch, seq, heads, kv_heads, qk_dim, v_dim = shape
    return Attention(
        name="attention",
        sequences=float(batch),
        heads=heads,
        kv_heads=kv_heads,
        query_len=seq,
        key_len=seq,
        qk_dim=qk_dim,
        v_dim=v_dim,
        causal=True,
    )


def _shape(row: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(row[key]) for key in ("batch", "seq", "heads", "kv_heads", "qk_dim", "v_dim"))


def _attention_s(row: dict[str, str], machine: str) -> float:
    """The source's share counts the whole score matrix, though its kernels are causal."""
    batch, seq, heads, _, qk_dim, v_dim = _shape(row)
    flops = 2.0 * batch * heads * seq * seq * (qk_dim + v_dim)
    work = flops * (BACKWARD_OVER_FORWARD_FLOPS if row["pass"] == "bwd" else 1.0)
    return work / (float(row["efficiency_full_flops"]) * PEAK_FLOPS_PER_S[machine])


def _rows(name: str) -> list[dict[str, str]]:
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _column(rows: Sequence[dict[str, str]], key: str) -> Floats:
    return np.array([float(row[key]) for row in rows])


def _beside(machine: str, kernel: str, ratio: Floats) -> Beside:
    low, middle, high = np.quantile(ratio, [0.1, 0.5, 0.9])
    return Beside(
        machine=machine, kernel=kernel, shapes=len(ratio), median=float(middle), p10=float(low), p90=float(high)
    )
