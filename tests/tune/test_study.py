"""The study's books: no trial is lost, none is counted twice. Runs are made up; the database is real."""

import fcntl
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from glmplan.errors import InputError
from glmplan.tune.space import Value, tuning_space
from glmplan.tune.storage import own_storage
from glmplan.tune.study import Interrupted, Tried, TuningStudy
from glmplan.tune.trial_process import TrialEnd
from glmplan.tune.worker import Worker, is_dead, living
from tests.tune.tiny import measurement, tiny_plan

SPACE = tuning_space(tiny_plan(), cores=2, only=["micro_batch", "recompute"])


def open_study(folder: Path, steps: int = 8) -> TuningStudy:
    subject = {"steps": steps}
    return TuningStudy(folder=folder, url=own_storage(folder), name="s", space=SPACE, subject=subject, seed=0)


def finish(trial: optuna.Trial, setting: dict[str, Value]) -> Tried:
    """A run whose time grows with how small its micro-batch is."""
    seconds = 1.0 / int(setting["micro_batch"])
    return Tried(
        number=trial.number,
        setting=setting,
        end=TrialEnd.FINISHED,
        reason="",
        step_time_s=seconds,
        measurement=measurement(seconds),
    )


def crash(trial: optuna.Trial, setting: dict[str, Value]) -> Tried:
    return Tried(
        number=trial.number,
        setting=setting,
        end=TrialEnd.OUT_OF_MEMORY,
        reason="rank 0 ran out of device memory",
        step_time_s=None,
        measurement=None,
    )


def interrupt(trial: optuna.Trial, setting: dict[str, Value]) -> Tried:
    raise KeyboardInterrupt


def run_all(study: TuningStudy, worker: Worker, count: int, work: object = finish) -> None:
    for _ in range(50):
        tried = [found.setting for found in study.tried()]
        if len(tried) >= count:
            return
        rest = [setting for setting in SPACE.settings() if setting not in tried]
        study.run_next(work, worker, limit=count, rest=rest)  # type: ignore[arg-type]
    raise AssertionError("the study does not get on")


def test_the_whole_space_is_tried_once_each(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    with living(tmp_path) as worker:
        study.queue([SPACE.start()])
        run_all(study, worker, SPACE.size())
    settings = [tuple(found.setting.values()) for found in study.tried()]
    assert len(settings) == len(set(settings)) == SPACE.size() == 12
    assert study.tried()[0].setting == SPACE.start()
    assert min(study.tried(), key=lambda found: found.step_time_s or 9).setting["micro_batch"] == 8


def test_a_crash_costs_one_trial_and_says_why(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    with living(tmp_path) as worker:
        run_all(study, worker, 1, crash)
        run_all(study, worker, 3)
    ends = [(found.end, found.reason) for found in open_study(tmp_path).tried()]
    assert ends == [
        (TrialEnd.OUT_OF_MEMORY, "rank 0 ran out of device memory"),
        (TrialEnd.FINISHED, ""),
        (TrialEnd.FINISHED, ""),
    ]


def test_an_interrupted_trial_is_tried_again_and_counts_once(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    with living(tmp_path) as worker:
        study.queue([SPACE.start()])
        with pytest.raises(KeyboardInterrupt):
            study.run_next(interrupt, worker, limit=3, rest=[])
        study.return_own(worker)
        study.return_own(worker)  # asked twice, queued once
    assert study.tried() == []
    with living(tmp_path) as worker:
        assert open_study(tmp_path).recover(worker) == 0
        run_all(study, worker, 3)
    assert [found.setting for found in study.tried()].count(SPACE.start()) == 1


def test_the_budgets_end_is_an_interruption(tmp_path: Path) -> None:
    study = open_study(tmp_path)

    def out_of_time(trial: optuna.Trial, setting: dict[str, Value]) -> Tried:
        return Tried(number=0, setting=setting, end=TrialEnd.INTERRUPTED, reason="", step_time_s=None, measurement=None)

    with living(tmp_path) as worker:
        with pytest.raises(Interrupted):
            study.run_next(out_of_time, worker, limit=3, rest=[])
        study.return_own(worker)
    assert study.tried() == []
    assert len([trial for trial in study._trials() if trial.state is optuna.trial.TrialState.WAITING]) == 1


@pytest.mark.parametrize("where", ["before the run", "in the run", "after the run, before the study knew"])
def test_what_a_killed_tuner_left_is_settled(tmp_path: Path, where: str) -> None:
    """Another process dies by SIGKILL in the middle of a trial; the next tuner settles it and counts it once."""
    code = f"""
import os, signal
from pathlib import Path
from tests.tune import test_study as t
from glmplan.tune.worker import living
folder, where = Path({str(tmp_path)!r}), {where!r}
study = t.open_study(folder)
study.queue([t.SPACE.start()])
def die(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "before the run":
    t.optuna.Trial.set_user_attr = die
if where.startswith("after"):
    study._study.tell = die
    from optuna.study import _optimize
    _optimize._tell_with_warning = die
with living(folder) as worker:
    study.run_next(t.finish if where.startswith("after") else die, worker, limit=3, rest=[])
"""
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert died.returncode == -9, died.stderr
    study = open_study(tmp_path)
    with living(tmp_path) as worker:
        assert study.recover(worker) == 1
        assert study.recover(worker) == 0
        assert study.others_at_work() == 0
        assert len(study.tried()) == (1 if where.startswith("after") else 0)
        run_all(study, worker, 4)
    settings = [tuple(found.setting.values()) for found in study.tried()]
    assert settings.count(tuple(SPACE.start().values())) == 1
    assert len(settings) == len(set(settings)) == 4


def test_the_trial_of_a_living_tuner_is_left_alone(tmp_path: Path) -> None:
    study, other = open_study(tmp_path), open_study(tmp_path)
    with living(tmp_path) as worker, living(tmp_path) as second:

        def look_meanwhile(trial: optuna.Trial, setting: dict[str, Value]) -> Tried:
            assert other.recover(second) == 0
            assert other.others_at_work() == 1
            return finish(trial, setting)

        study.run_next(look_meanwhile, worker, limit=3, rest=[])
    assert len(other.tried()) == 1


def test_a_tuner_is_dead_when_nobody_holds_its_lock(tmp_path: Path) -> None:
    with living(tmp_path) as worker:
        assert not is_dead(worker.text())
    assert is_dead(worker.text())
    assert not is_dead(f"another-machine:{worker.path}")
    assert not is_dead(f"{worker.host}:/no/such/folder/of/a/namesake.lock")
    worker.path.touch()
    assert is_dead(worker.text())
    with worker.path.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert not is_dead(worker.text())


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    open_study(tmp_path)
    with pytest.raises(InputError, match="another steps"):
        open_study(tmp_path, steps=9)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("study", "expected a database URL"),
        ("nosuch://me:secret@host/x", "no driver"),
        ("sqlite:////nowhere/at/all.db", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setattr("glmplan.tune.storage.ATTEMPTS", 1)
    with pytest.raises(InputError, match=message) as caught:
        TuningStudy(folder=tmp_path, url=url, name="s", space=SPACE, subject={}, seed=0)
    assert len(str(caught.value).splitlines()) == 1
    assert "secret" not in str(caught.value)
