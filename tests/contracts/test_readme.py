"""Every command that the README shows does what it shows."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from glmplan.cli.main import COMMANDS
from tests.conftest import Outcome

Run = Callable[..., Outcome]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("quickstart", "train", "generate", "data", "gpu", "probe", "validate", "calibrate", "weights")
"""Commands that take minutes or need what those make: `make demo` runs them, and their own tests do."""


def shown_commands() -> list[str]:
    """Command lines after a ``$`` prompt in console blocks, in order; a backslash continues a line."""
    lines = [line for block in BLOCK.findall(README) for line in block.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("$ ").strip() for line in lines if line.startswith("$ ")]


def quick_commands() -> list[list[str]]:
    """The shown glmplan commands that run in a second and need no file of the reader's."""
    parts = [shlex.split(line, comments=True) for line in shown_commands()]
    return [words[1:] for words in parts if words[0] == "glmplan" and words[1] not in ELSEWHERE]


def test_the_readme_shows_commands() -> None:
    assert len(quick_commands()) >= 5


@pytest.mark.parametrize("line", shown_commands())
def test_a_shown_command_exists_with_its_options(run_glmplan: Run, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
        return
    assert words[0] == "glmplan"
    path = [word for word in words[1:3] if re.fullmatch(r"[a-z]+", word)]
    assert path[0] in COMMANDS
    help_text = run_glmplan(*path[:1], "--help").out
    if len(path) > 1 and re.search(rf"^  {path[1]} ", help_text, re.MULTILINE):
        help_text = run_glmplan(*path, "--help").out
    for option in (word for word in words if word.startswith("-") and len(word) > 1):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", help_text), option


def test_quick_commands_run_one_after_the_other(
    run_glmplan: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in quick_commands():
        outcome = run_glmplan(*words)
        assert outcome.code == 0, (words, outcome.err)
        assert outcome.out or list(tmp_path.iterdir())


def test_commands_of_the_table_exist() -> None:
    named = re.findall(r"^\| `glmplan ([a-z-]+)", README, re.MULTILINE)
    assert named
    assert set(named) <= set(COMMANDS)
