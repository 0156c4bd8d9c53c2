"""The cost model's opinion of a tuning space: which settings to measure first."""

from collections.abc import Callable
from dataclasses import dataclass

from glmplan.cost.step import EstimateTable
from glmplan.errors import InputError
from glmplan.hardware.calibration import Calibration
from glmplan.layout.parallel_layout import LayoutTable, ParallelLayout
from glmplan.layout.rules import broken_rules
from glmplan.plan.document import Option, Plan
from glmplan.search.planner import Problem, load_problem
from glmplan.train.run_measurement import EAGER_STACK
from glmplan.train.run_record import COMPILED_STACK
from glmplan.tune.space import TuningSpace, Value

MODELLED_AXES = ("micro_batch", "recompute", "compile_model")
"""What the cost model tells apart; the other axes are alike to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedSetting:
    """A setting with what the cost model predicts for it."""

    setting: dict[str, Value]
    predicted_step_time_s: float
    fits: bool


Estimator = Callable[[ParallelLayout, bool | None], EstimateTable]


def estimator_of(plan: Plan, calibration: Calibration | None) -> Estimator:
    """Costs layouts of ``plan``'s problem, eager or compiled. Raises InputError where its profiles are gone."""
    problems: dict[str, Problem] = {}

    def problem(compiled: bool | None) -> Problem:
        stack = plan.request.stack
        if compiled is not None and stack in (EAGER_STACK, COMPILED_STACK):
            stack = COMPILED_STACK if compiled else EAGER_STACK
        if stack not in problems:
            request = plan.request.model_copy(update={"stack": stack})
            known = calibration if calibration is not None and calibration.stack == stack else None
            problems[stack] = load_problem(request, known)
        return problems[stack]

    def estimate(layout: ParallelLayout, compiled: bool | None) -> EstimateTable:
        found = problem(compiled)
        if reasons := broken_rules(layout, found.context):
            raise InputError("\n".join(reasons))
        return found.model.estimate(LayoutTable.of(layout))

    return estimate


def ranked(space: TuningSpace, estimate: Estimator) -> list[RankedSetting]:
    """Settings over the axes that the model tells apart: those that fit first, the fastest predicted first.

    Of a thousand thread counts and buckets none is here: the model has no opinion on them.
    """
    found = []
    for setting in space.settings([name for name in MODELLED_AXES if any(a.name == name for a in space.axes)]):
        compiled = setting.get("compile_model", space.execution.compile_model)
        try:
            table = estimate(space.layout_of(setting), None if compiled is None else bool(compiled))
        except InputError:  # a rule forbids it: not worth a run
            continue
        found.append(
            RankedSetting(
                setting=setting,
                predicted_step_time_s=float(table.step_time_s[0]),
                fits=bool(table.fits()[0]),
            )
        )
    return sorted(found, key=lambda item: (not item.fits, item.predicted_step_time_s, str(item.setting)))


def option_of(space: TuningSpace, setting: dict[str, Value], estimate: Estimator) -> Option:
    """The setting's layout with its estimate, for the tuned plan."""
    compiled = space.execution_of(setting).compile_model
    layout = space.layout_of(setting)
    return Option(layout=layout, estimate=estimate(layout, compiled).row(0))
