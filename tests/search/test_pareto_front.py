"""The front and its hypervolume, against closed forms and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.search.pareto_front import front_rows, hypervolume

POINTS = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=12)


@given(POINTS)
def test_a_row_is_kept_when_no_other_beats_it(points: list[tuple[int, ...]]) -> None:
    kept = front_rows(points)
    for row, point in enumerate(points):
        beaten = any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in points)
        assert (row in kept) == (not beaten and point not in points[:row])


def test_a_staircase_has_the_area_of_its_steps() -> None:
    """Points (i, n - i) under the corner (n, n): n (n - 1) / 2 unit squares above the diagonal are dominated, plus the
    tenth beyond the nadir, which all of them share."""
    n = 5
    points = [(i / n, (n - i) / n) for i in range(n + 1)]
    steps = sum((1.1 - (n - i) / n) * (min((i + 1) / n, 1.1) - i / n) for i in range(n)) + 1.1 * 0.1
    assert hypervolume(points, (0, 0), (1, 1)) == pytest.approx(steps)


@given(POINTS)
def test_more_designs_never_dominate_less(points: list[tuple[int, ...]]) -> None:
    whole = hypervolume(points, (0, 0, 0), (6, 6, 6))
    assert whole >= hypervolume(points[: len(points) // 2 + 1], (0, 0, 0), (6, 6, 6)) - 1e-12


@given(POINTS)
def test_the_volume_is_that_of_a_fine_grid(points: list[tuple[int, ...]]) -> None:
    """Counted cell by cell on the grid of whole numbers, whose last cell is a tenth of the range wide."""
    edges = np.array([0, 1, 2, 3, 4, 5, 6, 6.6])
    volume = 0.0
    for cell in np.ndindex(7, 7, 7):
        if any(all(point[axis] <= edges[cell[axis]] for axis in range(3)) for point in points):
            volume += float(np.prod([edges[i + 1] - edges[i] for i in cell]))
    assert hypervolume(points, (0, 0, 0), (6, 6, 6)) == pytest.approx(volume / 6**3)


def test_a_goal_in_which_all_are_equal_is_left_out() -> None:
    assert hypervolume([(1.0, 5.0), (2.0, 5.0)], (1.0, 5.0), (2.0, 5.0)) == pytest.approx(1.1)
