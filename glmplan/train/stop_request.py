"""How a run learns that it should end early: a signal, a file that the launcher puts down, or the launcher's death."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

STOP_FILE = "stop"
_ALIVE_FILE = "alive"


@contextmanager
def alive(control_dir: Path) -> Iterator[None]:
    """While open, this process counts as the living launcher of the runs that listen at ``control_dir``.

    A lock tells: the system drops it however the process ends, where a process number would linger or be reused.
    """
    with (control_dir / _ALIVE_FILE).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class StopRequest:
    """Asked once a step, by every rank; the ranks then agree, so that all of them stop after the same step."""

    def __init__(self, control_dir: Path | None = None) -> None:
        self._control_dir = control_dir
        self._signalled = False

    def listen(self) -> None:
        """From now on, SIGINT and SIGTERM ask for a stop instead of ending the process."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def wanted(self) -> bool:
        """True when the run should save and end after this step."""
        if self._signalled or self._control_dir is None:
            return self._signalled
        return (self._control_dir / STOP_FILE).exists() or not _is_alive(self._control_dir)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.wanted():
            os._exit(128 + number)  # asked twice: do not wait for the step's end
        self._signalled = True


def _is_alive(control_dir: Path) -> bool:
    try:
        with (control_dir / _ALIVE_FILE).open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
