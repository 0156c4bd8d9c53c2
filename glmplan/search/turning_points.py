"""Where the answer turns: the value of each figure of the machine at which another layout becomes the faster one."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from glmplan.errors import InputError
from glmplan.hardware.calibration import Calibration
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.plan.document import Plan
from glmplan.plan.explanation import explain
from glmplan.search.planned import problem_of_plan
from glmplan.search.planner import Problem, explained
from glmplan.search.sensitivity import CAPACITY, varied_figures, with_figure
from glmplan.search.setting import figure_text

FARTHEST = 4.0
"""Figures are changed by at most this factor, up and down."""
TRIED = tuple(math.pow(FARTHEST, exponent / 4.0) for exponent in (1, 2, 3, 4))
"""Factors between which a turn is looked for, in both directions."""
TIMELESS = (CAPACITY, "cluster.usd_per_device_hour")
"""Figures that change no layout's time."""
CLOSE = 0.01
"""A turning point is known to this fraction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurningPoint:
    """The value of one figure beyond which a rival is faster than the chosen layout."""

    name: str
    """As `glmplan whatif --set` takes it."""
    before: str
    after: str
    """Both with their unit."""
    factor: float
    """The one over the other."""

    def sentence(self, rival: ParallelLayout) -> str:
        """What happens beyond the point."""
        side = "above" if self.factor > 1 else "below"
        return (
            f"With {self.name} {side} {self.after} ({self.factor - 1.0:+.0%}; today {self.before}) {rival.label()} is"
            " faster, memory permitting."
        )


def turning_points(
    problem: Problem, chosen: ParallelLayout, rival: ParallelLayout, *, most: int = 5
) -> tuple[TurningPoint, ...]:
    """Where ``rival`` overtakes ``chosen``, the smallest change first, at most one point up and one down a figure."""
    table = LayoutTable.of(chosen, rival)
    found = []
    for name, figure in varied_figures(problem).items():
        if not figure.unit or name in TIMELESS:  # corrections are no figures that anybody buys
            continue

        def lead(factor: float, name: str = name) -> float:
            return _lead(problem, table, name, factor)

        for direction in (1.0, -1.0):
            factor = _turn(lead, direction)
            if factor is not None:
                before, after = (figure_text(figure.value * times, figure.unit) for times in (1.0, factor))
                found.append(TurningPoint(name=name, before=before, after=after, factor=factor))
    return tuple(sorted(found, key=lambda point: abs(math.log(point.factor)))[:most])


def _lead(problem: Problem, table: LayoutTable, name: str, factor: float) -> float:
    """Seconds by which the first layout of ``table`` is faster, over its own; nan where the figure cannot be so."""
    try:
        model = with_figure(problem, name, factor).model
    except InputError:  # a figure that cannot have this value turns nothing
        return math.nan
    chosen_s, rival_s = np.sum(list(model.times(model.work(table)).values()), axis=0)
    return float(rival_s / chosen_s - 1.0)


def _turn(lead: Callable[[float], float], direction: float) -> float | None:
    """The factor nearest to 1 in ``direction`` at which ``lead`` turns negative, by bisection; None where none does."""
    safe = 1.0
    for tried in TRIED:
        factor = math.pow(tried, direction)
        value = lead(factor)
        if math.isnan(value):
            return None
        if value < 0:
            break
        safe = factor
    else:
        return None
    turned = factor
    while abs(math.log(turned / safe)) > CLOSE:
        middle = math.sqrt(safe * turned)
        if lead(middle) < 0:
            turned = middle
        else:
            safe = middle
    return turned


def probed(plan: Plan, calibration: Calibration | None) -> tuple[Plan, list[str], list[str]]:
    """``plan`` explained from the whole space, its sentences with the turning points, and notes on what has changed.

    Raises InputError where the plan's cluster or stack is no longer to be found.
    """
    problem, notes = problem_of_plan(plan, calibration)
    plan = explained(problem, plan, whole_space=True)
    sentences = explain(plan)
    rivals = [option for option in (plan.surroundings and plan.surroundings.different, *plan.alternatives) if option]
    if rivals:
        rival = rivals[0].layout
        points = turning_points(problem, plan.chosen.layout, rival)
        sentences += [point.sentence(rival) for point in points]
        if not points:
            sentences.append(f"No figure of the machine within a factor of {FARTHEST:g} makes {rival.label()} faster.")
    return plan, sentences, notes
