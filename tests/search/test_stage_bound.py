"""The bound of the slowest stage is one, and is tight where nothing but the slowest stage counts."""

from dataclasses import replace

import numpy as np
import pytest

from glmplan.search.stage_bound import fastest_s, least_slowest_s
from glmplan.search.stage_problem import stage_bytes, stage_seconds
from tests.search.stage_problems import plain_problem, random_problem, solutions


@pytest.mark.parametrize("seed", range(36))
def test_no_split_that_fits_has_a_faster_slowest_stage(seed: int) -> None:
    problem = random_problem(seed)
    slowest = [
        stage_seconds(problem, chosen).max()
        for chosen, _ in solutions(problem)
        if (stage_bytes(problem, chosen) <= problem.capacity_bytes).all()
    ]
    if slowest:
        assert least_slowest_s(problem) <= min(slowest) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(24))
def test_the_bound_is_met_without_least_numbers_order_or_workspace(seed: int) -> None:
    problem = random_problem(seed)
    if problem.chunks_per_stage > 1:
        return
    freer = replace(
        problem,
        fewest_layers=np.zeros_like(problem.fewest_layers),
        first_option_first=False,
        workspace_bytes=np.zeros_like(problem.workspace_bytes),
    )
    slowest = [
        stage_seconds(freer, chosen).max()
        for chosen, _ in solutions(freer)
        if (stage_bytes(freer, chosen) <= freer.capacity_bytes).all()
    ]
    if slowest:
        assert least_slowest_s(freer) == pytest.approx(min(slowest), rel=1e-8)


def test_a_stage_that_nothing_fits_on_takes_for_ever() -> None:
    problem = replace(plain_problem(layers=4, stages=2), capacity_bytes=np.array([1.5, 4.0]))
    assert fastest_s(problem, 0, np.array([1])) == 1.0
    assert fastest_s(problem, 0, np.array([2])) == np.inf
    assert least_slowest_s(problem) == pytest.approx(3.0, rel=1e-8)
