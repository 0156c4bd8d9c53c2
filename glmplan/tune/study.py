"""The study: which settings were tried and how each ended, kept so that no trial is lost or counted twice.

A trial counts once it carries how it ended. One that its tuner left behind is queued again, then marked as failed.
"""

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from glmplan.errors import InputError
from glmplan.plan.measurement import Measurement
from glmplan.train.run_record import WARMUP_STEPS
from glmplan.tune.space import TuningSpace, Value
from glmplan.tune.storage import GRACE_S, open_storage, own_storage
from glmplan.tune.trial_process import TrialEnd, end_processes
from glmplan.tune.worker import Worker, alone, is_dead, others_alive

END, REASON, WORKER, RETRY_OF, MEASUREMENT, FOLDER = "end", "reason", "tuner", "retry_of", "measurement", "folder"
SUBJECT = "subject"
WITHDRAWN = "withdrawn"
COUNTED = frozenset(end.value for end in TrialEnd if end is not TrialEnd.INTERRUPTED)
STARTUP_TRIALS = 6
"""Trials before TPE proposes and the median prunes; the model's ranking fills them."""
PRUNE_AFTER_TRIALS = 3
"""Finished trials that the median needs."""
PRUNE_AFTER_STEPS = WARMUP_STEPS + 2
"""Steps of a trial that the median waits for, those of the warm-up among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A trial that counts."""

    number: int
    setting: dict[str, Value]
    end: TrialEnd
    reason: str
    step_time_s: float | None
    measurement: Measurement | None


class TuningStudy:
    """One study as one tuner sees it."""

    def __init__(
        self, *, folder: Path, url: str, name: str, space: TuningSpace, subject: Mapping[str, object], seed: int
    ) -> None:
        """Opens the study, or makes it. Raises InputError when it is about something else than ``subject``."""
        self.folder, self.space = folder, space
        self._own_storage = url == own_storage(folder)
        with alone(folder, "storage"):
            self._study = optuna.create_study(
                study_name=name,
                storage=open_storage(url, lambda study, trial: self._queue_again(trial)),
                sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=PRUNE_AFTER_TRIALS, n_warmup_steps=PRUNE_AFTER_STEPS
                ),
                load_if_exists=True,
            )
            self._check_subject(subject)

    @property
    def name(self) -> str:
        """The study's name in its storage."""
        return self._study.study_name

    def _check_subject(self, subject: Mapping[str, object]) -> None:
        text = json.dumps(subject, sort_keys=True)
        known = self._study.user_attrs.get(SUBJECT)
        if known is None:
            self._study.set_user_attr(SUBJECT, text)
        elif known != text:
            was = json.loads(known)
            other = [key for key in subject if was.get(key) != subject[key]]
            raise InputError(
                f"--study: {self.name} was made with another {', '.join(other)}; give --study another name, or the"
                " same inputs"
            )

    def attribute(self, name: str) -> Any:
        """What the study remembers under ``name``; None where nothing."""
        return self._study.user_attrs.get(name)

    def remember(self, name: str, value: object) -> None:
        """Keeps a JSON value with the study."""
        self._study.set_user_attr(name, value)

    def recover(self, worker: Worker) -> int:
        """Queues again what dead tuners left; returns how many. Processes of those trials are ended first."""
        found = 0
        with alone(self.folder, "recovery"):
            alone_here = self._own_storage and not others_alive(worker)
            for trial in self._trials(TrialState.RUNNING):
                if not self._left_behind(trial, alone_here=alone_here):
                    continue
                if folder := trial.user_attrs.get(FOLDER):
                    end_processes(Path(folder))
                self._settle(trial)
                found += 1
        return found

    def _left_behind(self, trial: FrozenTrial, *, alone_here: bool) -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker is not None:
            return is_dead(worker)
        if alone_here:  # died between taking the trial and signing it
            return True
        started = trial.datetime_start or datetime.datetime.min
        return (datetime.datetime.now() - started).total_seconds() > GRACE_S

    def _queue_again(self, trial: FrozenTrial) -> None:
        """Once, whoever asks: the copy says of which trial it is."""
        setting = _setting_of(trial)
        if END in trial.user_attrs or not setting:
            return
        if not any(other.user_attrs.get(RETRY_OF) == trial.number for other in self._trials()):
            self._study.enqueue_trial(setting, user_attrs={RETRY_OF: trial.number})

    def queue(self, settings: list[dict[str, Value]]) -> None:
        """Puts ``settings`` that nobody tries or tried into the queue, in order."""
        with alone(self.folder, "queue"):
            busy = [_setting_of(trial) for trial in self._trials() if _counts(trial) or not trial.state.is_finished()]
            for setting in settings:
                if setting not in busy:
                    self._study.enqueue_trial(setting)
                    busy.append(setting)

    def tried(self) -> list[Tried]:
        """Every trial that counts, in order."""
        return [_tried(trial) for trial in self._trials() if _counts(trial)]

    def others_at_work(self) -> int:
        """Trials that run now."""
        return len(self._trials(TrialState.RUNNING))

    def run_next(self, work: "Work", worker: Worker, *, limit: int, rest: list[dict[str, Value]]) -> None:
        """Takes the next setting and lets ``work`` measure it. ``rest`` is what to try where TPE repeats itself.

        Nothing is measured when the study has ``limit`` trials without it, or the setting is taken already.
        """

        def objective(trial: optuna.Trial) -> float:
            trial.set_user_attr(WORKER, worker.text())
            setting: dict[str, Value] = {}
            for axis in self.space.axes:
                setting[axis.name] = cast(Value, trial.suggest_categorical(axis.name, axis.values))
            before = [t for t in self._trials() if t.number < trial.number and (_counts(t) or _runs(t))]
            repeated = any(_setting_of(other) == setting for other in before)
            if repeated or len(before) >= limit:
                trial.set_user_attr(END, WITHDRAWN)
                self.queue(rest[:1] if repeated else [])
                raise _Withdrawn
            return _measure(trial, setting, work)

        self._study.optimize(objective, n_trials=1, catch=(_Withdrawn, _Failed))

    def return_own(self, worker: Worker) -> None:
        """Puts back into the queue what this tuner began and will not end."""
        for trial in self._trials(TrialState.RUNNING, TrialState.FAIL):
            if trial.user_attrs.get(WORKER) == worker.text():
                self._settle(trial)

    def _settle(self, trial: FrozenTrial) -> None:
        """Ends a trial whose tuner is gone: what had its result keeps it, the rest is queued again and fails."""
        self._queue_again(trial)
        if trial.state is not TrialState.RUNNING:
            return
        tried = _tried(trial) if _counts(trial) else None
        if tried is not None and tried.step_time_s is not None:
            self._study.tell(trial.number, tried.step_time_s, skip_if_finished=True)
        else:
            pruned = tried is not None and tried.end is TrialEnd.PRUNED
            state = TrialState.PRUNED if pruned and trial.intermediate_values else TrialState.FAIL
            self._study.tell(trial.number, state=state, skip_if_finished=True)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)


class Interrupted(Exception):
    """The trial was ended for a reason that is not its own."""


class _Withdrawn(Exception):
    """The trial is not needed; it does not count."""


class _Failed(Exception):
    """The trial failed, and says so in its attributes."""


Work = Callable[[optuna.Trial, dict[str, Value]], Tried]


def _measure(trial: optuna.Trial, setting: dict[str, Value], work: Work) -> float:
    result = work(trial, setting)
    if result.end is TrialEnd.INTERRUPTED:
        raise Interrupted
    if result.measurement is not None:
        trial.set_user_attr(MEASUREMENT, result.measurement.model_dump(mode="json", exclude_none=True))
    if result.reason:
        trial.set_user_attr(REASON, result.reason)
    trial.set_user_attr(END, result.end.value)
    if result.end is TrialEnd.PRUNED:
        raise optuna.TrialPruned
    if result.step_time_s is None:
        raise _Failed
    return result.step_time_s


def _counts(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get(END) in COUNTED


def _runs(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.RUNNING


def _setting_of(trial: FrozenTrial) -> dict[str, Value]:
    """The trial's setting, also of one that waits or has not asked for all its values yet."""
    queued = trial.system_attrs.get("fixed_params", {})
    return {**queued, **trial.params}


def _tried(trial: FrozenTrial) -> Tried:
    measurement = trial.user_attrs.get(MEASUREMENT)
    parsed = None if measurement is None else Measurement.model_validate(measurement)
    return Tried(
        number=trial.number,
        setting=_setting_of(trial),
        end=TrialEnd(trial.user_attrs[END]),
        reason=trial.user_attrs.get(REASON, ""),
        step_time_s=None if parsed is None else parsed.measured.step_time_s,
        measurement=parsed,
    )
