"""How much of a layout's matmul work has shapes that were not measured: there the border of the table stands in."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glmplan.cost.interpolation import Surface
from glmplan.cost.roofline import DeviceModel
from glmplan.cost.step import CostModel
from glmplan.layout.parallel_layout import LayoutTable
from glmplan.workload.operation import Matmul

Floats = npt.NDArray[np.float64]
_SLACK = 1e-6
"""Of a logarithm: a shape on the border is inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The part of a layout's matmuls that no table holds."""

    flops_fraction: float
    largest: tuple[int, int, int]
    """The shape (m, n, k) outside with the most FLOPs; zeros where none is."""


def matmuls_outside(model: CostModel, table: LayoutTable) -> Outside:
    """Over the forward and both backward shapes of every matmul of ``table``'s one layout.

    Nothing is outside where there is no table: that is no extrapolation but a flat share of the peak.
    """
    total, outside = 0.0, 0.0
    largest, most = (0, 0, 0), 0.0
    for rank_block in model.rank_blocks(table):
        for name in rank_block.graph:
            op = rank_block.graph.nodes[name]["work"]
            if not isinstance(op, Matmul):
                continue
            surface = _device_of(model.device, op).matmul_residual
            m, n, k = (float(np.max(np.asarray(size))) for size in (op.tokens, op.columns, op.depth))
            flops = 2.0 * m * n * k * float(np.max(np.asarray(op.batch))) * rank_block.block.count
            for shape in ((m, n, k), (m, k, n), (k, n, m)):
                total += flops
                if surface is not None and not _holds(surface, shape):
                    outside += flops
                    if flops > most:
                        largest, most = (round(shape[0]), round(shape[1]), round(shape[2])), flops
    return Outside(flops_fraction=outside / total if total else 0.0, largest=largest)


def _device_of(device: DeviceModel, op: Matmul) -> DeviceModel:
    """The device at the precision of ``op``: matmuls that are not quantised run in that of the activations."""
    return device.plain if op.quantisation is None and device.plain is not None else device


def _holds(surface: Surface, shape: tuple[float, float, float]) -> bool:
    query = np.log(np.maximum(shape, 1.0))
    lowest, highest = surface.points.min(axis=0), surface.points.max(axis=0)
    return bool(((query >= lowest - _SLACK) & (query <= highest + _SLACK)).all())
