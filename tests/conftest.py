"""Settings and fixtures that all tests share."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run of the command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_glmplan(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs ``glmplan ARGUMENTS`` in this process, from argument parsing to exit code."""
    from glmplan.cli.main import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["glmplan", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capfd.readouterr()
        code = stop.value.code
        assert isinstance(code, int)
        return Outcome(code=code, out=captured.out, err=captured.err)

    return run
