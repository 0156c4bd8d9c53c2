"""Starts a run's processes on this machine (torchrun for more than one), waits, and passes an interrupt on.

Needs no torch itself. An interrupt lets the run save at the end of its step; a second one ends it without saving.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from glmplan.errors import DoesNotFit, GlmplanError, InputError
from glmplan.train.outcome import Outcome, read_outcome
from glmplan.train.run_record import Requested, TrainingRun, design_run, withdraw_run, write_run
from glmplan.train.stop_request import STOP_FILE, alive

_POLL_S = 0.1
_GRACE_S = 5.0
"""After a rank reported a failure, how long the others get to end by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How a run ended that did not fail."""

    directory: Path
    last_step: int
    """Last step done, which a checkpoint holds."""
    finished: bool
    """False when it was interrupted."""
    signal_number: int = 0
    """The signal that interrupted it; 0 when none did."""
    message: str = ""
    """A remark for the user."""


def run_training(
    plan_path: Path,
    data_dir: Path,
    out_dir: Path,
    steps: int,
    *,
    option: int = 0,
    seed: int | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    validate_every: int | None = None,
    learning_rate: float | None = None,
    warmup_steps: int | None = None,
    compile_model: bool | None = None,
    quiet: bool = True,
) -> TrainingResult:
    """Trains ``option`` of the plan (0: the chosen layout) in processes of its own, and waits for them.

    Raises InputError (bad input), DoesNotFit (out of device memory), GlmplanError (a process died).
    """
    requested = Requested(
        steps=steps,
        option=option,
        seed=seed,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        checkpoint_every=checkpoint_every,
        validate_every=validate_every,
        compile_model=compile_model,
    )
    return launch(plan_path, data_dir, out_dir, requested, resume=resume, quiet=quiet)


def launch(
    plan_path: Path, data_dir: Path, out_dir: Path, requested: Requested, *, resume: bool, quiet: bool
) -> TrainingResult:
    """``run_training`` with the settings as one record."""
    run = design_run(plan_path, data_dir, out_dir, requested, resume=resume)
    written = write_run(run)
    try:
        return _start(run, quiet=quiet)
    except GlmplanError:
        withdraw_run(run, written)
        raise


def _start(run: TrainingRun, *, quiet: bool) -> TrainingResult:
    with tempfile.TemporaryDirectory(prefix="glmplan-") as folder:
        control = Path(folder)
        with alive(control):
            process = subprocess.Popen(
                worker_command(run, control, quiet=quiet), env=worker_environment(run), start_new_session=True
            )
            with _interrupts(process, control) as received:
                exit_code = _wait(process, control)
        outcome = read_outcome(control)
    return _result(run, outcome, exit_code, received)


def worker_command(run: TrainingRun, control: Path, *, quiet: bool) -> list[str]:
    """The command that starts a written run's processes; they listen to what the launcher says at ``control``."""
    ranks = run.layout.world_size
    worker = ["-m", "glmplan.train.worker", "--directory", str(run.directory), "--control", str(control)]
    worker += ["--quiet"] if quiet else []
    if ranks == 1:
        return [sys.executable, *worker]
    agent = ["-m", "glmplan.train.agent", "--standalone", "--nproc-per-node", str(ranks)]
    return [sys.executable, *agent, *worker]


def worker_environment(run: TrainingRun) -> dict[str, str]:
    """This process's environment, without another torchrun's variables, and with the cores shared among the ranks."""
    foreign = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    threads = run.settings.execution.threads or max(1, len(os.sched_getaffinity(0)) // run.layout.world_size)
    added = {
        "OMP_NUM_THREADS": str(threads),
        # Threads that spin while they wait make a step many times slower as soon as anything else runs here.
        "OMP_WAIT_POLICY": "PASSIVE",
        # torchrun's: it would repeat as an error what the worker has said.
        "LOGLEVEL": "CRITICAL",
    }
    return added | kept


@contextmanager
def _interrupts(process: subprocess.Popen[bytes], control: Path) -> Iterator[list[int]]:
    """While open, SIGINT and SIGTERM ask the run to stop; the second one ends it. Yields the signals received."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            (control / STOP_FILE).touch()
        else:
            process.terminate()

    try:
        previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait(process: subprocess.Popen[bytes], control: Path) -> int:
    failed_at: float | None = None
    while (exit_code := process.poll()) is None:
        time.sleep(_POLL_S)
        outcome = read_outcome(control)
        if outcome is None or not outcome.exit_code:
            continue
        failed_at = failed_at or time.monotonic()
        if time.monotonic() - failed_at > _GRACE_S:
            process.terminate()
    return exit_code


def _result(run: TrainingRun, outcome: Outcome | None, exit_code: int, received: list[int]) -> TrainingResult:
    if outcome is None:
        resumable = "; go on from the last checkpoint with --resume" if (run.directory / "checkpoints").exists() else ""
        raise GlmplanError(f"{run.directory}: a training process ended early (exit code {exit_code}){resumable}")
    if outcome.exit_code:
        kind = {InputError.exit_code: InputError, DoesNotFit.exit_code: DoesNotFit}.get(outcome.exit_code, GlmplanError)
        raise kind(outcome.message)
    return TrainingResult(
        directory=run.directory,
        last_step=outcome.last_step,
        finished=not outcome.interrupted,
        signal_number=received[0] if received and outcome.interrupted else 0,
        message=outcome.message,
    )
