"""The tuned plan: the starting plan with the settings that won, their measurement, and what they gained."""

import statistics
from dataclasses import dataclass

from glmplan.plan.document import Plan
from glmplan.plan.execution import Gain, Tuning
from glmplan.plan.explanation import explain
from glmplan.tune.ranking import Estimator, option_of
from glmplan.tune.space import TuningSpace
from glmplan.tune.study import Tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The best trial, the start's, and what comparing them in turn gave."""

    best: Tried
    start: Tried | None
    """None when the starting plan itself did not finish."""
    gain: Gain | None
    start_times_s: tuple[float, ...]

    @property
    def kept(self) -> Tried:
        """The best where it is believed to be faster, or where the start cannot run; else the start."""
        if self.start is None or (self.gain is not None and self.gain.believed):
            return self.best
        return self.start


def tuned_plan(
    plan: Plan,
    space: TuningSpace,
    estimate: Estimator,
    confirmed: Confirmed,
    *,
    trials: dict[str, int],
    study: str,
    made_by: str,
) -> Plan:
    """``plan`` with what ``confirmed`` keeps as its chosen layout; the layout it replaces becomes an alternative."""
    kept = confirmed.kept
    measurement = kept.measurement
    assert measurement is not None
    chosen = option_of(space, kept.setting, estimate) if space.layout_of(kept.setting) != space.layout else plan.chosen
    earlier = [option for option in (plan.chosen, *plan.alternatives) if option.layout != chosen.layout]
    start_s = _start_seconds(confirmed)
    tuning = Tuning(
        study=study,
        trials=trials,
        execution=space.execution_of(kept.setting),
        measurement=measurement,
        start_step_time_s=start_s,
        gain=confirmed.gain,
        made_by=made_by,
    )
    fastest_s = min(option.estimate.step_time_s for option in (plan.chosen, *plan.alternatives))
    gap = max(0.0, chosen.estimate.step_time_s / fastest_s - 1.0)
    search = plan.search if chosen == plan.chosen else plan.search.model_copy(update={"optimal": False, "gap": gap})
    tuned = plan.model_copy(
        update={"chosen": chosen, "alternatives": tuple(earlier), "search": search, "tuning": tuning}
    )
    return tuned.model_copy(update={"explanation": tuple(explain(tuned))})


def _start_seconds(confirmed: Confirmed) -> float | None:
    if confirmed.start_times_s:
        return statistics.median(confirmed.start_times_s)
    return None if confirmed.start is None else confirmed.start.step_time_s
