"""Surfaces through measured points."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.cost.interpolation import Floats, Surface, surface
from tests.small_jobs import cluster_of

RNG = np.random.default_rng(7)
GRID = np.array(list(itertools.product([1, 4, 64], [2, 8, 32, 128], [16, 256])), dtype=float)
SCATTERED = np.exp(RNG.uniform(0, 8, size=(60, 3)))


def values_at(points: Floats) -> Floats:
    """Any positive function."""
    return np.asarray(np.sin(points).sum(axis=1) + 4.0)


SURFACES = {
    "grid": (GRID, surface(list(GRID.T), values_at(GRID))),
    "scattered": (SCATTERED, surface(list(SCATTERED.T), values_at(SCATTERED))),
}


@pytest.mark.parametrize("kind", SURFACES)
def test_measured_points_come_back_exactly(kind: str) -> None:
    points, through = SURFACES[kind]
    assert through.at(*points.T) == pytest.approx(values_at(points), rel=1e-9)


def test_which_tables_are_grids() -> None:
    assert SURFACES["grid"][1].axes
    assert not SURFACES["scattered"][1].axes


@pytest.mark.parametrize("kind", SURFACES)
@given(where=st.tuples(*[st.floats(1e-6, 1e9)] * 3))
def test_no_value_leaves_the_range_of_the_measured_ones(kind: str, where: tuple[float, float, float]) -> None:
    points, through = SURFACES[kind]
    measured = values_at(points)
    assert measured.min() * (1 - 1e-9) <= through.at(*where) <= measured.max() * (1 + 1e-9)


def test_between_two_points_of_a_grid_the_logarithm_is_linear() -> None:
    line = surface(([1.0, 100.0],), [2.0, 8.0])
    assert float(line.at(10.0)) == pytest.approx(4.0)
    assert float(line.at(1e-9)) == pytest.approx(2.0)
    assert float(line.at(1e9)) == pytest.approx(8.0)


def test_repeated_measurements_count_as_their_geometric_mean() -> None:
    assert float(surface(([5.0, 5.0],), [2.0, 8.0]).at(5.0)) == pytest.approx(4.0)


def test_a_grid_with_a_hole_is_filled_and_keeps_its_points() -> None:
    points = np.array(list(itertools.product(range(1, 8), range(1, 8))), dtype=float)
    kept = np.delete(points, 24, axis=0)
    through = surface(list(kept.T), values_at(kept))
    assert through.axes
    assert through.at(*kept.T) == pytest.approx(values_at(kept), rel=1e-9)
    hole = float(through.at(*points[24]))
    assert values_at(kept).min() <= hole <= values_at(kept).max()


def test_a_hole_follows_the_axis_along_which_the_surface_is_smooth() -> None:
    """Steps along x that are equal for every y: the neighbours along y know the value."""
    steps = np.array([1.0, 5.0, 2.0, 9.0, 3.0, 7.0])
    points = np.array([(x, y) for x in range(1, 7) for y in range(1, 13)], dtype=float)
    values = steps[points[:, 0].astype(int) - 1] * (1.0 + 0.01 * points[:, 1])
    hole = (points[:, 0] == 4) & (points[:, 1] == 6)
    through = surface(list(points[~hole].T), values[~hole])
    assert float(through.at(4.0, 6.0)) == pytest.approx(values[hole][0], rel=1e-3)


def test_a_spike_is_flattened_and_a_slope_is_not() -> None:
    points = np.array(list(itertools.product(range(1, 9), range(1, 9), range(1, 9))), dtype=float)
    values = points.prod(axis=1)
    spiked = values.copy()
    middle = int(np.flatnonzero((points == 4).all(axis=1))[0])
    spiked[middle] *= 2.0
    calm = surface(list(points.T), spiked, calm=True).at(*points.T)
    assert calm[middle] < 1.25 * values[middle]
    inside = ((points > 1) & (points < 8)).all(axis=1) & (np.arange(len(points)) != middle)
    assert np.median(np.abs(calm[inside] / values[inside] - 1.0)) < 0.02


def test_shapes_broadcast() -> None:
    through: Surface = SURFACES["grid"][1]
    assert through.at(np.ones((3, 1)), np.ones(4), 16.0).shape == (3, 4)


def test_the_measured_matmul_surface_repeats_its_table() -> None:
    table = cluster_of("dgx-a100-pod", 8).measured.matmul_table("bf16")
    assert table is not None
    rows = np.random.default_rng(3).permutation(len(table.m))[:200]
    shapes = np.stack([table.m, table.n, table.k], axis=1)
    _, inverse, counts = np.unique(shapes, axis=0, return_inverse=True, return_counts=True)
    rows = rows[counts[inverse.ravel()[rows]] == 1]
    through = surface((table.m, table.n, table.k), table.seconds)
    assert through.at(table.m[rows], table.n[rows], table.k[rows]) == pytest.approx(table.seconds[rows], rel=1e-6)
