"""Opens the study's storage: SQLite in the tuner's folder, or any database that SQLAlchemy reaches by URL."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmplan.errors import InputError

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage

HEARTBEAT_S = 15
"""How often a tuner tells the database that its trial lives."""
GRACE_S = 90
"""After so long without a sign, a trial on another machine counts as dead."""
ATTEMPTS = 5

STUDY_FILE = "study.db"

Stale = Callable[["optuna.Study", "optuna.trial.FrozenTrial"], None]


def own_storage(folder: Path) -> str:
    """The URL of the SQLite file in the tuner's folder."""
    return f"sqlite:///{folder / STUDY_FILE}"


def open_storage(url: str, on_stale: Stale) -> "RDBStorage":
    """The storage at ``url``; ``on_stale`` hears of trials whose tuner died without a sign.

    Raises InputError when the database cannot be reached; passwords are not repeated.
    """
    import optuna
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    from glmplan.search.study_file import sqlite_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InputError(
            "--storage: expected a database URL such as sqlite:///study.db or postgresql+psycopg://user@host/name"
        ) from None
    shown = parsed.render_as_string(hide_password=True)
    sqlite = parsed.get_backend_name() == "sqlite"
    options: dict[str, Any] = {
        "heartbeat_interval": HEARTBEAT_S,
        "grace_period": GRACE_S,
        "heartbeat_stale_trial_callback": on_stale,
    }
    problem: Exception | None = None
    for attempt in range(ATTEMPTS):  # two tuners may create the tables at once
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                if sqlite:
                    return sqlite_storage(url, **options)
                return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True}, **options)
        except (NoSuchModuleError, ImportError) as error:
            raise InputError(f"--storage: {shown}: no driver for this database ({error}); install one") from None
        except (SQLAlchemyError, RuntimeError) as error:
            problem = error
            time.sleep(0.2 * (attempt + 1))
    raise InputError(f"--storage: {shown}: cannot be used: {str(problem).splitlines()[0]}") from None
