"""A plan taken up again: its request with everything loaded as it is today, and what is no longer as it was."""

from glmplan.hardware.calibration import Calibration
from glmplan.plan.document import Plan
from glmplan.search.planner import Problem, load_problem, plan_of_layout
from glmplan.units import format_seconds

SAME = 1e-6
"""Step times that agree to this fraction are the same."""


def problem_of_plan(plan: Plan, calibration: Calibration | None = None) -> tuple[Problem, list[str]]:
    """The problem that ``plan`` answered, and notes where the plan's own estimate is no longer today's.

    Raises InputError where the cluster or stack is no longer to be found, or the layout breaks today's rules.
    """
    problem = load_problem(plan.request, calibration)
    now = plan_of_layout(problem, plan.chosen.layout)
    notes = []
    before_s, now_s = plan.chosen.estimate.step_time_s, now.chosen.estimate.step_time_s
    if abs(now_s / before_s - 1.0) > SAME:
        changed = sorted(
            name
            for name in plan.provenance.profiles.keys() | now.provenance.profiles.keys()
            if plan.provenance.profiles.get(name) != now.provenance.profiles.get(name)
        )
        why = f"; changed since: {', '.join(changed)}" if changed else ""
        notes.append(
            f"the plan states {format_seconds(before_s)} a step, today's model {format_seconds(now_s)}, which is used"
            f"{why}"
        )
    return problem, notes
