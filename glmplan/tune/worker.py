"""Tuners at work on one study: who lives, and what becomes of the trials of those who died.

A tuner holds a lock on a file of its own as long as it lives: the system drops it however the process ends.
"""

import fcntl
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WORKERS = "tuners"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One tuner's sign of life."""

    host: str
    path: Path

    def text(self) -> str:
        """As a trial carries it."""
        return f"{self.host}:{self.path}"


@contextmanager
def living(folder: Path) -> Iterator[Worker]:
    """While open, this process counts as a living tuner."""
    place = folder / WORKERS
    place.mkdir(parents=True, exist_ok=True)
    worker = Worker(host=socket.gethostname(), path=place / f"{uuid.uuid4().hex}.lock")
    with worker.path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield worker
        finally:
            worker.path.unlink(missing_ok=True)


def is_dead(text: str) -> bool:
    """Whether the tuner that a trial names has ended; False where nothing is known of it, as on another machine."""
    host, _, path = text.partition(":")
    if host != socket.gethostname():
        return False
    try:
        with Path(path).open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:  # removed by its tuner, unless the whole folder is another machine's of the same name
        return Path(path).parent.is_dir()
    return True


def others_alive(worker: Worker) -> bool:
    """Whether another tuner lives in this one's folder."""
    paths = [path for path in worker.path.parent.glob("*.lock") if path != worker.path]
    return any(not is_dead(f"{worker.host}:{path}") for path in paths)


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """While open, no other tuner in this folder is inside a block of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
