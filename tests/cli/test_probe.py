"""The command as a user runs it: in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from glmplan.cli.probe import command
from glmplan.errors import InputError

COMMAND = [sys.executable, "-m", "glmplan", "probe"]


def probe(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_an_existing_file_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "machine.yaml").write_text("mine", encoding="utf-8")
    done = probe("--seconds", "300", folder=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == ("glmplan: machine.yaml: exists already; give --overwrite to replace it, or another -o\n")
    assert (tmp_path / "machine.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dtype", "fp64"), "--dtype: 'fp64' is no format; use a list of fp32, tf32"),
        (("--dtype", ","), "--dtype: empty"),
        (("--ranks", "0"), "--ranks: 0 is outside 1 to"),
        (("--seconds", "nan"), "--seconds: must be 1 to 3600"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_measured(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)) as refusal:
        command.main(list(arguments), standalone_mode=False)
    assert refusal.value.exit_code == 2 and "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [*COMMAND, "--seconds", "300", "--ranks", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stderr is not None
    first = running.stderr.readline()
    assert first == "probe: matmul\n"
    children = psutil.Process(running.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(running.pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal's foreground group.
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert out == "" and err.strip() == "glmplan: interrupted"
    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + 10
    while any(child.is_running() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(child.is_running() for child in children)


def test_the_command_writes_the_profile_and_prints_what_it_found(tmp_path: Path) -> None:
    done = probe("-o", "here.yaml", "--seconds", "2", "--ranks", "2", "--dtype", "fp32", "--quiet", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "wrote here.yaml; use it with --cluster here.yaml"
    assert all(line.startswith(("note: other programs", "wrote ")) for line in done.stderr.splitlines())
    assert "fp32 matmul, best" in done.stdout and "link latency" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["here.yaml"]
