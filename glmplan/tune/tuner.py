"""Measured tuning: short real runs of a plan's settings, the best confirmed against the start and written as a plan."""

import hashlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna

from glmplan.documents import json_text
from glmplan.errors import DoesNotFit, GlmplanError, NoData
from glmplan.hardware.calibration import Calibration
from glmplan.plan.document import Plan, write_plan
from glmplan.train.run_record import WARMUP_STEPS, Requested, TrainingRun, design_run, planned_execution
from glmplan.tune.confirmation import MIN_PAIRS, alternate, gain_of
from glmplan.tune.ranking import Estimator, estimator_of, ranked
from glmplan.tune.space import TuningSpace, Value, tuning_space
from glmplan.tune.storage import own_storage
from glmplan.tune.study import Interrupted, Tried, TuningStudy
from glmplan.tune.synthetic_data import synthetic_data
from glmplan.tune.trial_process import Limits, TrialEnd, run_trial
from glmplan.tune.tuned_plan import Confirmed, tuned_plan
from glmplan.tune.worker import Worker, alone, living

CONFIRMED = "confirmed"
PLAN_FILE = "start.json"
LONGEST_SHARE = 0.5
"""Of the budget, for one trial: a hanging one must not cost the study."""
CONFIRMATION_SHARE = 0.4
"""Of the budget, at most, kept back for the confirmation."""
WAIT_S = 0.5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOptions:
    """What the command line asks for."""

    folder: Path
    data_dir: Path | None
    """None: made-up tokens, whose steps take as long."""
    trials: int
    budget_s: float
    steps: int
    pairs: int
    only: tuple[str, ...] = ()
    storage: str | None = None
    study: str | None = None
    trial_timeout_s: float | None = None
    memory_bytes: int | None = None
    seed: int = 0
    made_by: str = "glmplan tune"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What tuning gave."""

    plan: Plan
    """With the fastest settings that were measured and confirmed."""
    space: TuningSpace
    tried: tuple[Tried, ...]

    def document(self) -> list[dict[str, object]]:
        """The trials for JSON, in order."""
        return [
            {
                "number": trial.number,
                "setting": trial.setting,
                "end": str(trial.end),
                "reason": trial.reason,
                "step_time_s": trial.step_time_s,
            }
            for trial in self.tried
        ]


def tune(plan: Plan, calibration: Calibration | None, options: TuningOptions, say: Say) -> Session:
    """Tunes ``plan`` in real runs.

    Raises InputError (bad input), DoesNotFit (every trial ran out of memory), NoData (no trial finished).
    """
    folder = options.folder.resolve()
    cores = len(os.sched_getaffinity(0))
    space = tuning_space(plan, cores=cores, only=options.only)
    estimate = estimator_of(plan, calibration)
    tuner = _Tuner(plan, space, estimate, folder, options, say)
    with living(folder) as worker:
        try:
            tuner.measure(worker)
        finally:
            tuner.study.return_own(worker)
    return Session(plan=tuner.conclude(), space=space, tried=tuple(tuner.study.tried()))


class _Tuner:
    """One tuner's session on a study."""

    def __init__(
        self, plan: Plan, space: TuningSpace, estimate: Estimator, folder: Path, options: TuningOptions, say: Say
    ) -> None:
        self._plan, self._space, self._estimate = plan, space, estimate
        self._folder, self._options, self._say = folder, options, say
        self._deadline = time.monotonic() + options.budget_s
        self._trial_seconds: list[float] = []
        self._plan_path = folder / PLAN_FILE
        with alone(folder, "preparation"):
            write_plan(plan, self._plan_path)
            self._data_dir = options.data_dir or synthetic_data(plan.request.job, folder / "data")
        digest = _digest(plan)
        subject = {
            "plan": digest,
            "steps": options.steps,
            "settings": {axis.name: list(axis.values) for axis in space.axes},
            "data": "made up" if options.data_dir is None else str(options.data_dir.resolve()),
        }
        name = options.study or f"tune-{digest}-{hashlib.sha256(json_text(subject).encode()).hexdigest()[:6]}"
        url = options.storage or own_storage(folder)
        self._run_of(space.start(), folder / "never-started")  # a plan that the trainer refuses is refused here
        self.study = TuningStudy(folder=folder, url=url, name=name, space=space, subject=subject, seed=options.seed)
        self._ranking = [found.setting for found in ranked(space, estimate)]
        self._fitting = [found.setting for found in ranked(space, estimate) if found.fits]

    def measure(self, worker: Worker) -> None:
        """Trials until the study has them all, everything was tried, or the budget is needed for the confirmation."""
        study, limit = self.study, min(self._options.trials, self._space.size())
        recovered = study.recover(worker)
        if recovered:
            self._say(f"{recovered} trial(s) that a tuner left behind are tried again")
        study.queue([self._space.start(), *self._fitting[: max(1, limit // 3)]])
        while len(study.tried()) < limit and self._time_for_another():
            if len(study.tried()) + study.others_at_work() >= limit:
                time.sleep(WAIT_S)  # another tuner may still lose its trial
                study.recover(worker)
                continue
            try:
                study.run_next(self._work, worker, limit=limit, rest=self._untried())
            except Interrupted:
                break

    def _time_for_another(self) -> bool:
        """Whether one more trial leaves the budget enough for the confirmation."""
        trial_s = statistics.median(self._trial_seconds) if self._trial_seconds else 0.0
        confirmation_s = min(2 * self._options.pairs * trial_s, CONFIRMATION_SHARE * self._options.budget_s)
        return self._left_s() > confirmation_s + trial_s

    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    def _untried(self) -> list[dict[str, Value]]:
        """Settings nobody tried, in the model's order, then the others."""
        tried = [found.setting for found in self.study.tried()]
        everything = self._ranking + self._space.settings()
        return [setting for setting in everything if setting not in tried]

    def _work(self, trial: optuna.Trial, setting: dict[str, Value]) -> Tried:
        directory = self._folder / "trials" / f"{self.study.name}-{trial.number:04d}"
        trial.set_user_attr("folder", str(directory))
        times: list[float] = []
        keep = setting == self._space.start()  # all others are held against it

        def watch(step: int, seconds: float) -> bool:
            if step <= WARMUP_STEPS:
                return True
            times.append(seconds)
            trial.report(statistics.median(times), step)
            return keep or step == self._options.steps or not trial.should_prune()

        began = time.monotonic()
        longest = self._options.trial_timeout_s or max(60.0, LONGEST_SHARE * self._options.budget_s)
        limits = Limits(seconds=longest, memory_bytes=self._options.memory_bytes)
        run = self._run_of(setting, directory)
        result = run_trial(run, limits, watch, lambda: self._left_s() > 0)
        if result.end is TrialEnd.FINISHED:
            self._trial_seconds.append(time.monotonic() - began)
        measured = None if result.measurement is None else result.measurement.measured.step_time_s
        shown = f"{measured * 1e3:.1f} ms a step" if measured else f"{result.end}{': ' if result.reason else ''}"
        self._say(f"trial {trial.number}: {self._space.label(setting)}: {shown}{result.reason}")
        return Tried(
            number=trial.number,
            setting=setting,
            end=result.end,
            reason=result.reason,
            step_time_s=measured,
            measurement=result.measurement,
        )

    def _run_of(self, setting: dict[str, Value], directory: Path) -> TrainingRun:
        """The run of a setting: the start's plan with another layout and execution, for timing only."""
        requested = Requested(
            steps=self._options.steps,
            seed=self._options.seed,
            execution=self._space.execution_of(setting),
            timing_only=True,
        )
        run = design_run(self._plan_path, self._data_dir, directory, requested)
        option = self._plan.chosen.model_copy(update={"layout": self._space.layout_of(setting)})
        plan = run.plan.model_copy(update={"chosen": option, "alternatives": ()})
        return TrainingRun(directory=directory, plan=plan, settings=run.settings)

    def conclude(self) -> Plan:
        """The tuned plan, after the best trial was run against the start in turn."""
        tried = self.study.tried()
        finished = sorted((t for t in tried if t.step_time_s is not None), key=lambda t: (t.step_time_s, t.number))
        if not finished:
            raise _nothing_finished(tried, self._left_s() <= 0)
        start = next((t for t in finished if t.setting == self._space.start()), None)
        confirmed = self._confirmed(finished[0], start)
        counts = Counter(str(t.end) for t in tried)
        return tuned_plan(
            self._plan,
            self._space,
            self._estimate,
            confirmed,
            trials=dict(sorted(counts.items())),
            study=self.study.name,
            made_by=self._options.made_by,
        )

    def _confirmed(self, best: Tried, start: Tried | None) -> Confirmed:
        if start is None or best.setting == start.setting or not self._options.pairs:
            return Confirmed(best=best, start=start, gain=None, start_times_s=())
        with alone(self._folder, "confirmation"):
            known = self.study.attribute(CONFIRMED)
            pairs = known["pairs"] if known is not None and known["best"] == best.number else []
            if len(pairs) < self._options.pairs:
                self._say(f"confirming trial {best.number} against the plan as it is, in turn")
            settings = {"start": start.setting, "best": best.setting}
            for pair in alternate(lambda which: self._once_more(settings[which]), len(pairs), self._options.pairs):
                pairs = [*pairs, pair]
                self.study.remember(CONFIRMED, {"best": best.number, "pairs": pairs})
            start_s, best_s = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        gain = gain_of(start_s, best_s) if len(start_s) >= MIN_PAIRS else None
        if gain is None:
            self._say("the budget did not reach for a confirmation: the plan stays as it is; go on with more --budget")
        return Confirmed(best=best, start=start, gain=gain, start_times_s=tuple(start_s))

    def _once_more(self, setting: dict[str, Value]) -> float | None:
        if self._left_s() <= 0:
            return None
        directory = self._folder / "confirmation" / f"{time.time_ns()}"
        limits = Limits(seconds=max(60.0, self._left_s()), memory_bytes=self._options.memory_bytes)
        run = self._run_of(setting, directory)
        result = run_trial(run, limits, lambda step, seconds: True, lambda: self._left_s() > 0)
        return None if result.measurement is None else result.measurement.measured.step_time_s


def _digest(plan: Plan) -> str:
    """Of what a run of the plan depends on: estimates may change with the cost model, the runs do not."""
    content = {
        "job": plan.request.job.model_dump(mode="json"),
        "layout": plan.chosen.layout.model_dump(mode="json"),
        "execution": planned_execution(plan, 0).model_dump(mode="json"),
        "device": plan.cluster.device_kind,
    }
    return hashlib.sha256(json_text(content).encode()).hexdigest()[:12]


def _nothing_finished(tried: list[Tried], out_of_time: bool) -> GlmplanError:
    """The error that says why no trial finished."""
    reasons = Counter(f"{t.end}{f' ({t.reason})' if t.reason else ''}" for t in tried)
    text = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3))
    if tried and all(t.end is TrialEnd.OUT_OF_MEMORY for t in tried):
        return DoesNotFit(f"tune: every setting tried ran out of memory: {text}; plan with more devices or recompute")
    if not tried and out_of_time:
        return NoData("tune: the budget was over before a trial finished; give a larger --budget or fewer --steps")
    return NoData(f"tune: no trial finished: {text or 'none was started'}")
