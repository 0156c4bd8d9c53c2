"""Interpolation of measured tables in logarithmic coordinates, vectorised over queries.

Tables that fill most of a grid are interpolated multilinearly, their holes filled from neighbours; scattered ones by
inverse distance (Shepard 1968). Queries outside are taken at the border.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GRID_FILL = 0.4
"""A table with at least this share of its grid's cells counts as a grid; the others are filled from neighbours."""
SHEPARD_POWER = 4.0
"""Distance to this power: near points decide, far ones only fill in."""
FILL_SWEEPS = 40
"""Sweeps over the holes; with a fifth of the cells missing the values settle to 1e-3 in fewer."""
SPIKE_LOG = 0.1
"""How far a cell may stand above or below its neighbours before it counts as a spike."""
SPIKE_KEPT = 0.15
"""Share of a spike beyond SPIKE_LOG that is kept. Where one device was measured twice, the second collection repeats
0.05 to 0.26 of the spikes of the first (H100, H200, B200, L40S, RTX PRO 6000 matmuls): the rest is noise."""
LEAST_JUMP = 1e-3
"""Of the logarithm between neighbours, so that equal neighbours do not get all the weight."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """A positive quantity over positive coordinates. Exactly one of ``grid`` and ``points`` is used."""

    axes: tuple[Floats, ...]
    """Logarithms of the grid's coordinates, ascending; empty for scattered points."""
    values: Floats
    """Logarithms: an array over the grid, or one value a point."""
    points: Floats
    """``[points, dimensions]``, logarithms."""

    def at(self, *coordinates: npt.ArrayLike) -> Floats:
        """The quantity at the (broadcast) coordinates."""
        arrays = np.broadcast_arrays(*[np.asarray(c, dtype=float) for c in coordinates])
        shape = arrays[0].shape
        query = [np.log(np.maximum(array, 1e-12)).ravel() for array in arrays]
        log_value = self._grid(query) if self.axes else self._scattered(np.stack(query, axis=1))
        return np.exp(log_value).reshape(shape)

    def _grid(self, query: list[Floats]) -> Floats:
        flat = self.values.ravel()
        base = np.zeros(len(query[0]), dtype=np.int64)
        corners: list[tuple[int, Floats | float]] = [(0, 1.0)]  # offset in the flat grid, share
        stride = flat.size
        for axis, values in zip(self.axes, query, strict=True):
            stride //= len(axis)
            if len(axis) == 1:
                continue
            inside = np.clip(values, axis[0], axis[-1])
            index = np.clip(np.searchsorted(axis, inside, side="right") - 1, 0, len(axis) - 2)
            upper = (inside - axis[index]) / (axis[index + 1] - axis[index])
            base += index * stride
            corners = [
                pair
                for offset, share in corners
                for pair in ((offset, share * (1.0 - upper)), (offset + stride, share * upper))
            ]
        result = np.zeros(len(query[0]))
        for offset, share in corners:
            result += share * flat[base + offset]
        return result

    def _scattered(self, query: Floats) -> Floats:
        result = np.empty(len(query))
        for start in range(0, len(query), 4096):  # bounds the distance matrix
            part = query[start : start + 4096]
            squared = ((part[:, None, :] - self.points[None, :, :]) ** 2).sum(axis=2)
            weight = 1.0 / (squared + 1e-9) ** (SHEPARD_POWER / 2)
            result[start : start + 4096] = (weight * self.values).sum(axis=1) / weight.sum(axis=1)
        return result


def surface(coordinates: Sequence[npt.ArrayLike], values: npt.ArrayLike, *, calm: bool = False) -> Surface:
    """The surface through measured points; repeated points are averaged in logarithm. ``calm`` flattens the spikes of
    a dense grid; otherwise measured points come back exactly."""
    points = np.log(np.stack([np.asarray(c, dtype=float) for c in coordinates], axis=1))
    logs = np.log(np.asarray(values, dtype=float))
    positions = [np.unique(points[:, d], return_inverse=True) for d in range(points.shape[1])]
    axes = tuple(axis for axis, _ in positions)
    shape = tuple(len(axis) for axis in axes)
    cells = int(np.prod(shape))
    cell_of = np.ravel_multi_index(tuple(inverse.ravel() for _, inverse in positions), shape)
    occupied, inverse = np.unique(cell_of, return_inverse=True)
    mean = np.bincount(inverse.ravel(), weights=logs) / np.bincount(inverse.ravel())
    where = np.stack([axis[i] for axis, i in zip(axes, np.unravel_index(occupied, shape), strict=True)], axis=1)
    if len(occupied) < GRID_FILL * cells:
        return Surface(axes=(), values=mean, points=where)
    grid = np.full(cells, np.nan)
    grid[occupied] = mean
    filled = _filled(grid.reshape(shape))
    if calm:
        filled = _filled(np.where(np.isnan(grid.reshape(shape)), np.nan, _calmed(filled)))
    return Surface(axes=axes, values=filled, points=where)


def _filled(grid: Floats) -> Floats:
    """The grid with its holes filled: each the mean of its neighbours along the axes, weighted by how little the
    measured values jump between those two coordinates (one over the squared median jump).

    So a hole follows the axis along which the surface is smooth, whatever the axis' scale. Known cells stay.
    """
    holes = np.argwhere(np.isnan(grid))
    if not len(holes):
        return grid
    flat = grid.ravel().copy()
    at = np.ravel_multi_index(tuple(holes.T), grid.shape)
    flat[at] = np.nanmean(flat)
    neighbours, weights = _neighbours(grid, holes)
    total = weights.sum(axis=1)
    for _ in range(FILL_SWEEPS):
        flat[at] = (weights * flat[neighbours]).sum(axis=1) / total
    return flat.reshape(grid.shape)


def _calmed(grid: Floats) -> Floats:
    """The grid with cells that stand far off the mean of their neighbours brought nearer."""
    cells = np.argwhere(np.isfinite(grid))
    neighbours, weights = _neighbours(grid, cells)
    total = weights.sum(axis=1)
    flat = grid.ravel()
    off = flat - (weights * flat[neighbours]).sum(axis=1) / np.where(total > 0, total, 1.0)
    beyond = np.where(total > 0, np.sign(off) * np.maximum(np.abs(off) - SPIKE_LOG, 0.0), 0.0)
    return np.asarray((flat - (1.0 - SPIKE_KEPT) * beyond).reshape(grid.shape))


def _neighbours(grid: Floats, holes: Ints) -> tuple[Ints, Floats]:
    """Flat indices of the two neighbours of each hole along each axis, and their weights (0 beyond the border)."""
    indices, weights = [], []
    for d, length in enumerate(grid.shape):
        if length == 1:
            continue
        weight = 1.0 / np.maximum(_typical_jumps(grid, d), LEAST_JUMP) ** 2
        for step in (-1, 1):
            moved = holes.copy()
            moved[:, d] = np.clip(holes[:, d] + step, 0, length - 1)
            inside = moved[:, d] != holes[:, d]
            gap = np.clip(np.minimum(holes[:, d], moved[:, d]), 0, length - 2)
            indices.append(np.ravel_multi_index(tuple(moved.T), grid.shape))
            weights.append(np.where(inside, weight[gap], 0.0))
    return np.stack(indices, axis=1), np.stack(weights, axis=1)


def _typical_jumps(grid: Floats, axis: int) -> Floats:
    """Median over the grid of the jump between each two neighbouring coordinates of ``axis``."""
    jumps = np.abs(np.diff(grid, axis=axis))
    by_gap = np.moveaxis(jumps, axis, 0).reshape(jumps.shape[axis], -1)
    measured = ~np.isnan(by_gap).all(axis=1)
    typical = np.full(len(by_gap), np.nanmedian(by_gap) if measured.any() else 1.0)
    typical[measured] = np.nanmedian(by_gap[measured], axis=1)
    return typical
