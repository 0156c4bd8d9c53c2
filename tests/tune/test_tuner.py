"""Real runs of the trainer: tuned, crashed, killed and shared. Tiny, and few: each starts a process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from glmplan.layout.parallel_layout import ParallelLayout
from glmplan.plan.document import read_plan, write_plan
from glmplan.train.run_record import Requested, design_run
from glmplan.tune.trial_process import end_processes
from tests.tune.tiny import tiny_plan, write_tiny_plan

QUICK = ("--steps", "6", "--budget", "150s")


def tuner(plan: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "glmplan", "tune", str(plan), "-o", str(output), *QUICK, "--format", "json"]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer_of(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=170)
    assert process.returncode == 0, err
    answer = json.loads(out)
    assert isinstance(answer, dict)
    return answer


def processes_under(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "--directory" in words and any(word.startswith(str(folder)) for word in words):
            found.append(" ".join(words))
    return found


@pytest.mark.slow
def test_a_tuned_plan_says_what_it_gained_and_is_what_the_trainer_runs(tmp_path: Path) -> None:
    plan = write_tiny_plan(tmp_path / "plan.json", ParallelLayout(micro_batch=1, grad_accum=8))
    answer_of(tuner(plan, tmp_path / "tuned.json", "--trials", "2", "--pairs", "3", "--only", "micro-batch"))
    tuned = read_plan(tmp_path / "tuned.json")
    assert tuned.tuning is not None
    assert sum(tuned.tuning.trials.values()) == 2
    assert tuned.tuning.measurement.measured.step_time_s is not None
    assert tuned.chosen.layout.global_batch == 8
    assert any("Measured tuning" in sentence for sentence in tuned.explanation)
    if tuned.tuning.gain is not None and tuned.tuning.gain.believed:  # as a quiet machine finds
        assert tuned.chosen.layout.micro_batch > 1
    data = tmp_path / "tuned-trials" / "data"
    run = design_run(tmp_path / "tuned.json", data, tmp_path / "run", Requested(steps=2))
    assert run.layout == tuned.chosen.layout
    assert run.settings.execution == tuned.tuning.execution


@pytest.mark.slow
def test_running_out_of_memory_costs_one_trial(tmp_path: Path) -> None:
    """Under a limit of the host's memory the plan runs; 31 sequences at once need 260 MB a copy of the logits."""
    layout = ParallelLayout(micro_batch=1, grad_accum=31)
    plan = tiny_plan(layout, vocab=65536, batch=31)
    write_plan(plan, tmp_path / "plan.json")
    options = ("--trials", "2", "--pairs", "0", "--only", "micro-batch", "--memory-limit", "900 MiB")
    answer = answer_of(tuner(tmp_path / "plan.json", tmp_path / "tuned.json", *options))
    trials = answer["trials"]
    assert isinstance(trials, list)
    assert Counter(trial["end"] for trial in trials) == {"finished": 1, "out of memory": 1}
    failed = next(trial for trial in trials if trial["end"] == "out of memory")
    assert failed["setting"]["micro_batch"] > 1
    assert "ran out of device memory" in failed["reason"]


@pytest.mark.slow
def test_a_killed_tuner_goes_on_where_it_was(tmp_path: Path) -> None:
    plan = write_tiny_plan(tmp_path / "plan.json")
    options = ("--trials", "3", "--pairs", "0", "--only", "micro-batch,loader-threads")
    folder = tmp_path / "tuned-trials"
    first = tuner(plan, tmp_path / "tuned.json", *options)
    deadline = time.monotonic() + 90
    while len(list(folder.glob("trials/*/metrics.jsonl"))) < 2:  # in the middle of the second trial
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    answer = answer_of(tuner(plan, tmp_path / "tuned.json", *options))
    trials = answer["trials"]
    assert isinstance(trials, list)
    assert len(trials) == 3
    assert all(trial["end"] in ("finished", "pruned") for trial in trials)
    assert len({json.dumps(trial["setting"]) for trial in trials}) == 3
    assert processes_under(folder) == []


@pytest.mark.slow
def test_two_tuners_share_one_study(tmp_path: Path) -> None:
    plan = write_tiny_plan(tmp_path / "plan.json")
    options = ["--trials", "3", "--pairs", "0", "--only", "micro-batch,loader-threads"]
    options += ["--folder", str(tmp_path / "study")]
    tuners = [tuner(plan, tmp_path / f"tuned-{number}.json", *options) for number in range(2)]
    answers = [answer_of(process) for process in tuners]
    assert answers[0]["trials"] == answers[1]["trials"]
    trials = answers[0]["trials"]
    assert isinstance(trials, list)
    assert len(trials) == 3
    assert len({json.dumps(trial["setting"]) for trial in trials}) == 3
    assert read_plan(tmp_path / "tuned-0.json").chosen == read_plan(tmp_path / "tuned-1.json").chosen


def test_only_the_processes_of_one_folder_are_ended(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)", "--directory"]
    ours = subprocess.Popen([*sleep, str(tmp_path / "a")], start_new_session=True)
    others = subprocess.Popen([*sleep, str(tmp_path / "ab")], start_new_session=True)
    time.sleep(0.2)  # until both are what they will be
    try:
        end_processes(tmp_path / "a")
        assert ours.wait(timeout=10) == -signal.SIGKILL
        assert others.poll() is None
    finally:
        others.kill()
        others.wait()
