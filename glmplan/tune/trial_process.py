"""One short real run of the trainer in processes of its own: watched step by step, ended when asked, never trusted."""

import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import psutil

from glmplan.documents import check, read_json
from glmplan.errors import DoesNotFit
from glmplan.plan.measurement import Measurement
from glmplan.train.launcher import worker_command, worker_environment
from glmplan.train.outcome import Outcome, read_outcome
from glmplan.train.run_record import METRICS_FILE, TrainingRun, write_run
from glmplan.train.stop_request import STOP_FILE, alive

MEASUREMENT_FILE = "measurement.json"
LOG_FILE = "log.txt"
POLL_S = 0.05
KILL_ATTEMPTS = 200
ORDERLY_S = 3.0
"""How long a run that should end gets to end its step before it is killed."""
_NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "bad_alloc", "MemoryError", "CUDA out of memory")


class TrialEnd(StrEnum):
    """How a trial ended."""

    FINISHED = "finished"
    PRUNED = "pruned"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"
    """Not the trial's own doing: it is tried again, and does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What a trial gave."""

    end: TrialEnd
    reason: str = ""
    """One line, where it did not finish."""
    measurement: Measurement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one trial."""

    seconds: float
    memory_bytes: int | None = None
    """Private memory of each process (RLIMIT_DATA, see setrlimit(2)); None for no limit."""


Watch = Callable[[int, float], bool]
"""Hears step and step time; answers whether the run should go on."""


def run_trial(run: TrainingRun, limits: Limits, watch: Watch, wanted: Callable[[], bool]) -> TrialResult:
    """Runs ``run`` until it ends, ``watch`` says no, the time is up, or it is not ``wanted`` any more.

    The run's folder must be new. No process of it is left when this returns or raises.
    """
    write_run(run)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="glmplan-trial-") as folder:
        control = Path(folder)
        with alive(control), _processes(run, control, limits) as process:
            steps = _Steps(run.directory / METRICS_FILE)
            end: TrialEnd | None = None
            while process.poll() is None and end is None:
                time.sleep(POLL_S)
                if not all(watch(step, seconds) for step, seconds in steps.new()):
                    end = TrialEnd.PRUNED
                elif not wanted():
                    end = TrialEnd.INTERRUPTED
                elif time.monotonic() - started > limits.seconds:
                    end = TrialEnd.TIMED_OUT
                elif (outcome := read_outcome(control)) is not None and outcome.exit_code:
                    break
            if end is not None:
                _end_orderly(process, control)
                reason = f"longer than {limits.seconds:.0f} s" if end is TrialEnd.TIMED_OUT else ""
                return TrialResult(end=end, reason=reason)
        return _result(run, read_outcome(control), process.returncode)


def end_processes(directory: Path) -> None:
    """Kills every process that works on the run in ``directory``, whoever started it and whatever session it is in."""
    for _ in range(KILL_ATTEMPTS):  # one that is killed may just have started another
        found = [process for process in psutil.process_iter() if _works_on(process, directory)]
        if not found:
            return
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        time.sleep(POLL_S)  # not psutil's wait: it would take the exit code from whoever started the process


def _works_on(process: psutil.Process, directory: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = process.cmdline()
    except psutil.Error:
        return False
    return any(word == "--directory" and after == str(directory) for word, after in itertools.pairwise(words))


@contextmanager
def _processes(run: TrainingRun, control: Path, limits: Limits) -> Iterator[subprocess.Popen[bytes]]:
    with (run.directory / LOG_FILE).open("wb") as log:
        process = _start(run, control, log, limits)
        try:
            yield process
        finally:
            end_processes(run.directory)
            process.wait()


def _start(run: TrainingRun, control: Path, log: BinaryIO, limits: Limits) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        worker_command(run, control, quiet=True),
        env=worker_environment(run),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    if limits.memory_bytes is not None:
        psutil.Process(process.pid).rlimit(psutil.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    return process


def _end_orderly(process: subprocess.Popen[bytes], control: Path) -> None:
    """Asks the ranks to stop after their step; ``_processes`` kills what does not."""
    (control / STOP_FILE).touch()
    try:
        process.wait(ORDERLY_S)
    except subprocess.TimeoutExpired:
        return


def _result(run: TrainingRun, outcome: Outcome | None, exit_code: int, /) -> TrialResult:
    if outcome is not None and not outcome.exit_code:
        path = run.directory / MEASUREMENT_FILE
        if outcome.interrupted or not path.is_file():
            return TrialResult(end=TrialEnd.CRASHED, reason="the run ended before its last step")
        return TrialResult(end=TrialEnd.FINISHED, measurement=check(Measurement, read_json(path)))
    if outcome is not None:
        end = TrialEnd.OUT_OF_MEMORY if outcome.exit_code == DoesNotFit.exit_code else TrialEnd.CRASHED
        return TrialResult(end=end, reason=outcome.message.splitlines()[0])
    said = _last_words(run.directory / LOG_FILE)
    if any(words in said for words in _NO_MEMORY):
        return TrialResult(end=TrialEnd.OUT_OF_MEMORY, reason=said)
    return TrialResult(end=TrialEnd.CRASHED, reason=said or f"a process ended without a word (exit code {exit_code})")


def _last_words(log: Path) -> str:
    """The log's last line that names an error, else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "bad_alloc" in line]
    return (errors or lines or [""])[-1][:300]


class _Steps:
    """The lines of ``metrics.jsonl`` as they come."""

    def __init__(self, path: Path) -> None:
        self._path, self._read_bytes = path, 0

    def new(self) -> list[tuple[int, float]]:
        """(step, seconds) of every whole line since the last call."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._read_bytes)
                content = stream.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        records = [json.loads(line) for line in whole.splitlines()]
        return [(int(record["step"]), float(record["step_time_s"])) for record in records]
