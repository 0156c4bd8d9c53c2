"""Integer programs: outcome, bound and gap, with either solver."""

import math

import pulp
import pytest

from glmplan.search.integer_program import Outcome, Proof, available_solver, relative_gap, solve


def knapsack(limit: float) -> pulp.LpProblem:
    """Minus the most that fits: weights 4, 3, 3, values 5, 3.5, 3.5."""
    program = pulp.LpProblem("knapsack", pulp.LpMinimize)
    taken = [program.add_variable(f"x_{index}", cat=pulp.LpBinary) for index in range(3)]
    program += -5 * taken[0] - 3.5 * taken[1] - 3.5 * taken[2]
    program += 4 * taken[0] + 3 * taken[1] + 3 * taken[2] <= limit
    return program


@pytest.mark.parametrize("solver", ["highs", "cbc"])
def test_the_optimum_is_proven_and_above_the_relaxation(solver: str) -> None:
    # 6 units hold the two of value 3.5; with fractions 4 units of value 5 and two thirds of 3.5
    proof = solve(knapsack(6.0), time_limit_s=10.0, solver=solver, relaxation=True)
    assert proof.outcome is Outcome.OPTIMAL and proof.solved
    assert proof.bound == pytest.approx(-7.0)
    assert proof.relaxed == pytest.approx(-5.0 - 3.5 * 2 / 3)
    assert proof.gap(-7.0) == 0.0


@pytest.mark.parametrize("solver", ["highs", "cbc"])
def test_what_has_no_solution_is_infeasible(solver: str) -> None:
    proof = solve(knapsack(-1.0), time_limit_s=10.0, solver=solver)
    assert proof.outcome is Outcome.INFEASIBLE and not proof.solved
    assert proof.bound == math.inf


def test_without_a_bound_the_gap_is_unknown() -> None:
    proof = Proof(outcome=Outcome.FEASIBLE, bound=-math.inf, relaxed=math.nan, solver="cbc")
    assert proof.gap(1.0) == math.inf
    assert relative_gap(10.0, 9.0) == pytest.approx(0.1)


def test_cbc_stands_in_where_highs_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_solver() == "highs"
    monkeypatch.setattr(pulp.HiGHS, "available", lambda self: False)
    assert available_solver() == "cbc"
    assert solve(knapsack(6.0), time_limit_s=10.0).solver == "cbc"
