"""How a run learns that it should end early: a signal, a file that the launcher puts down, or the launcher's death."""

import os
import signal
from pathlib import Path
from types import FrameType

STOP_FILE = "stop"


class StopRequest:
    """Asked once a step, by every rank; the ranks then agree, so that all of them stop after the same step."""

    def __init__(self, control_dir: Path | None = None, launcher_pid: int | None = None) -> None:
        self._file = None if control_dir is None else control_dir / STOP_FILE
        self._launcher_pid = launcher_pid
        self._signalled = False

    def listen(self) -> None:
        """From now on, SIGINT and SIGTERM ask for a stop instead of ending the process."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def wanted(self) -> bool:
        """True when the run should save and end after this step."""
        return self._signalled or (self._file is not None and self._file.exists()) or self._launcher_is_gone()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    def _launcher_is_gone(self) -> bool:
        if self._launcher_pid is None:
            return False
        try:
            os.kill(self._launcher_pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False
