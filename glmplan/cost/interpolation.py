"""Interpolation of measured tables in logarithmic coordinates, vectorised over queries.

Tables that fill a grid are interpolated multilinearly; scattered ones by inverse distance (Shepard 1968). Queries
outside are taken at the border.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

GRID_FILL = 0.95
"""A table with at least this share of its grid's cells counts as a grid; the others are filled from neighbours."""
SHEPARD_POWER = 4.0
"""Distance to this power: near points decide, far ones only fill in."""


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
        lower, weight = [], []
        for axis, values in zip(self.axes, query, strict=True):
            if len(axis) == 1:
                lower.append(np.zeros(len(values), dtype=np.int64))
                weight.append(np.zeros(len(values)))
                continue
            inside = np.clip(values, axis[0], axis[-1])
            index = np.clip(np.searchsorted(axis, inside, side="right") - 1, 0, len(axis) - 2)
            lower.append(index)
            weight.append((inside - axis[index]) / (axis[index + 1] - axis[index]))
        result = np.zeros(len(query[0]))
        dimensions = len(self.axes)
        for corner in range(2**dimensions):
            share = np.ones(len(query[0]))
            index_at: list[npt.NDArray[np.int64]] = []
            for d in range(dimensions):
                upper = (corner >> d) & 1
                share = share * (weight[d] if upper else 1.0 - weight[d])
                index_at.append(np.minimum(lower[d] + upper, len(self.axes[d]) - 1))
            result += share * self.values[tuple(index_at)]
        return result

    def _scattered(self, query: Floats) -> Floats:
        result = np.empty(len(query))
        for start in range(0, len(query), 4096):  # bounds the distance matrix
            part = query[start : start + 4096]
            squared = ((part[:, None, :] - self.points[None, :, :]) ** 2).sum(axis=2)
            weight = 1.0 / (squared + 1e-9) ** (SHEPARD_POWER / 2)
            result[start : start + 4096] = (weight * self.values).sum(axis=1) / weight.sum(axis=1)
        return result


def surface(coordinates: Sequence[npt.ArrayLike], values: npt.ArrayLike) -> Surface:
    """The surface through measured points; repeated points are averaged in logarithm."""
    points = np.log(np.stack([np.asarray(c, dtype=float) for c in coordinates], axis=1))
    logs = np.log(np.asarray(values, dtype=float))
    unique, inverse = np.unique(points, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    mean = np.bincount(inverse, weights=logs) / np.bincount(inverse)
    axes = tuple(np.unique(unique[:, d]) for d in range(unique.shape[1]))
    cells = int(np.prod([len(axis) for axis in axes]))
    if len(unique) < GRID_FILL * cells:
        return Surface(axes=(), values=mean, points=unique)
    grid = np.full([len(axis) for axis in axes], np.nan)
    grid[tuple(np.searchsorted(axis, unique[:, d]) for d, axis in enumerate(axes))] = mean
    if np.isnan(grid).any():
        scattered = Surface(axes=(), values=mean, points=unique)
        missing = np.argwhere(np.isnan(grid))
        where = np.stack([axes[d][missing[:, d]] for d in range(len(axes))], axis=1)
        grid[tuple(missing.T)] = scattered._scattered(where)
    return Surface(axes=axes, values=grid, points=unique)
