"""The command line as a whole: names, help, exit codes, and what users get when they err."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from glmplan import __version__
from glmplan.cli import main as module
from glmplan.cli.main import COMMANDS, LazyGroup, cli
from glmplan.errors import DoesNotFit, NoData
from tests.conftest import Outcome

Run = Callable[..., Outcome]


def test_help_lists_every_command(run_glmplan: Run) -> None:
    outcome = run_glmplan("--help")
    assert outcome.code == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)
    assert run_glmplan("--version").out == f"glmplan, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_has_help(run_glmplan: Run, name: str) -> None:
    outcome = run_glmplan(name, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: glmplan {name}")


def test_no_command_shows_the_help_and_fails(run_glmplan: Run) -> None:
    outcome = run_glmplan()
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: glmplan [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plam",), "glmplan: no command 'plam'; did you mean 'plan'?"),
        (("zzzzzz",), "glmplan: no command 'zzzzzz'; the commands are quickstart, plan"),
        (("plan",), "glmplan: Missing option '--model'."),
        (("plan", "--speed"), "glmplan: No such option"),
        (("explain",), "glmplan: Missing argument 'PLAN'."),
        (("explain", "nowhere.json"), "glmplan: nowhere.json: no such file or directory"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_two(run_glmplan: Run, arguments: tuple[str, ...], message: str) -> None:
    outcome = run_glmplan(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(message)
    assert len(outcome.err.splitlines()) == 1
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DoesNotFit("too large\nby far"), 3, "glmplan: too large\nglmplan: by far\n"),
        (NoData("nothing known"), 4, "glmplan: nothing known\n"),
        (KeyboardInterrupt(), 130, "glmplan: interrupted\n"),
        (click.Abort(), 130, "glmplan: interrupted\n"),
    ],
)
def test_an_expected_error_is_said_without_a_traceback(
    run_glmplan: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(LazyGroup, "invoke", fail)
    outcome = run_glmplan("models", "list")
    assert (outcome.code, outcome.err.lstrip("\n")) == (code, said)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(LazyGroup, "invoke", fail)
    monkeypatch.setattr(sys, "argv", ["glmplan", "models", "list"])
    with pytest.raises(ZeroDivisionError):
        module.main()


def test_a_reader_that_leaves_early_ends_the_command_quietly() -> None:
    script = f"{sys.executable} -m glmplan models list --format csv | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (0, 141)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_the_group_offers_its_commands_to_completion() -> None:
    assert isinstance(cli, LazyGroup)
    context = click.Context(cli)
    assert cli.list_commands(context) == list(COMMANDS)
    assert cli.get_command(context, "nothing") is None


def test_python_runs_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glmplan", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path("/"),
    )
    assert done.stdout.startswith("glmplan, version")
