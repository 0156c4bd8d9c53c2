"""Integer programs: solved by HiGHS, or by CBC where HiGHS is missing, with the bound that proves how good they are."""

import math
import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pulp

TOLERANCE = 1e-9
"""Of feasibility and of the gap. Programs are scaled so that their largest figures are near 1."""


class Outcome(StrEnum):
    """What became of a program."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    """A solution is known; time ran out before the proof."""
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"
    """Time ran out before any solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How good the solution of a minimisation is."""

    outcome: Outcome
    bound: float
    """No solution is below; -inf where nothing is proven."""
    relaxed: float
    """The optimum without integrality, a bound that needs no search; NaN where it was not asked for."""
    solver: str

    @property
    def solved(self) -> bool:
        """Whether there is a solution."""
        return self.outcome in (Outcome.OPTIMAL, Outcome.FEASIBLE)

    def gap(self, value: float) -> float:
        """Upper bound of the relative distance of a solution of ``value`` to the optimum."""
        return relative_gap(value, self.bound)


def relative_gap(value: float, bound: float) -> float:
    """How far ``value`` may be above the optimum, over itself; 0 when ``bound`` meets it within rounding.

    >>> relative_gap(10.0, 9.0)
    0.1
    """
    if not math.isfinite(bound):
        return math.inf
    gap = (value - bound) / max(abs(value), 1e-300)
    return gap if gap > 1e-7 else 0.0


def available_solver() -> str:
    """``highs`` where highspy is installed, else ``cbc``."""
    return "highs" if pulp.HiGHS(msg=False).available() else "cbc"


def solve(
    program: pulp.LpProblem,
    *,
    time_limit_s: float,
    solver: str | None = None,
    relaxation: bool = False,
    gap: float = TOLERANCE,
) -> Proof:
    """Minimises ``program`` until the bound is within ``gap`` (of 1 or of the objective) or time is up.

    Variables then hold the solution.
    One thread and no random seed: the same program gives the same solution.
    """
    solver = solver or available_solver()
    relaxed = math.nan
    if relaxation:
        program.solve(_backend(solver, time_limit_s, gap, integers=False))
        relaxed = _objective(program) if program.status == pulp.LpStatusOptimal else math.nan
    program.solve(_backend(solver, time_limit_s, gap, integers=True))
    outcome = _outcome(program)
    if outcome is Outcome.OPTIMAL:
        bound = _objective(program)
    elif solver == "highs" and outcome is not Outcome.INFEASIBLE:
        bound = float(program.solverModel.getInfo().mip_dual_bound)
    else:
        bound = math.inf if outcome is Outcome.INFEASIBLE else -math.inf
    if math.isfinite(relaxed):
        bound = max(bound, relaxed)
    return Proof(outcome=outcome, bound=bound, relaxed=relaxed, solver=solver)


def _backend(solver: str, time_limit_s: float, gap: float, *, integers: bool) -> pulp.LpSolver:
    if solver == "highs":
        return pulp.HiGHS(
            mip=integers,
            msg=False,
            threads=1,
            timeLimit=time_limit_s,
            gapRel=gap,
            gapAbs=gap,
            mip_feasibility_tolerance=TOLERANCE,
            primal_feasibility_tolerance=TOLERANCE,
        )
    options: dict[str, Any] = {"mip": integers, "msg": False, "timeLimit": time_limit_s, "gapRel": gap}
    options["options"] = ["primalTolerance 1e-9", "integerTolerance 1e-9"]
    if pulp.COIN_CMD(msg=False).available():
        return pulp.COIN_CMD(**options)
    with warnings.catch_warnings():  # the CBC inside PuLP is to leave it; until then it serves
        warnings.simplefilter("ignore", DeprecationWarning)
        return pulp.PULP_CBC_CMD(**options)


def _objective(program: pulp.LpProblem) -> float:
    value = pulp.value(program.objective)
    return math.nan if value is None else float(value)


def _outcome(program: pulp.LpProblem) -> Outcome:
    if program.status in (pulp.LpStatusInfeasible, pulp.LpStatusUnbounded):
        return Outcome.INFEASIBLE
    if program.status != pulp.LpStatusOptimal or any(variable.varValue is None for variable in program.variables()):
        return Outcome.UNKNOWN
    return Outcome.OPTIMAL if program.sol_status == pulp.LpSolutionOptimal else Outcome.FEASIBLE
