"""Optuna studies in SQLite files, fast enough for trials of milliseconds."""

from typing import Any

import optuna
from sqlalchemy import event

LOCK_WAIT_S = 60
"""How long a process waits for another one's write."""


def sqlite_storage(url: str, **options: Any) -> optuna.storages.RDBStorage:
    """The storage at a SQLite ``url``; ``options`` are RDBStorage's.

    Writes are handed to the system without waiting for the disk: a killed process loses nothing, a power cut may lose
    the last trials.
    """
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": LOCK_WAIT_S}}, **options)
    event.listen(storage.engine, "connect", _do_not_wait)
    storage.engine.dispose()  # connections made before the listener
    return storage


def _do_not_wait(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")
