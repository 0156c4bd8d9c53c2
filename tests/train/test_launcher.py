"""Real processes: the command line, torchrun, interrupts, and generation from what was trained."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from glmplan.cli.generate import command as generate_command
from glmplan.errors import GlmplanError, InputError
from glmplan.layout.parallel_layout import ParallelLayout, Sharding
from glmplan.train.checkpoint_folder import latest_step
from glmplan.train.corpus import prepare_corpus
from glmplan.train.launcher import run_training
from tests.train.documents import write_test_data, write_test_plan
from tests.train.jobs import tiny_job

TEXT = "the cat sat on the mat and the dog sat on the log and the bird sat on the wall. " * 40


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_test_data(tmp_path / "data")
    write_test_plan(
        tmp_path / "plan.json",
        tiny_job(),
        ParallelLayout(micro_batch=8),
        ParallelLayout(dp=2, micro_batch=4, sharding=Sharding.FSDP, shard_group=2),
    )
    return tmp_path


def glmplan_train(inputs: Path, *options: str) -> subprocess.Popen[str]:
    arguments = ["train", str(inputs / "plan.json"), "--data", str(inputs / "data"), "--out", str(inputs / "run")]
    return subprocess.Popen(
        [sys.executable, "-m", "glmplan", *arguments, *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def steps_done(run_dir: Path) -> int:
    try:
        return len((run_dir / "metrics.jsonl").read_text().splitlines())
    except OSError:
        return 0


def wait_for_steps(run_dir: Path, count: int) -> None:
    deadline = time.monotonic() + 90
    while steps_done(run_dir) < count:
        assert time.monotonic() < deadline, f"fewer than {count} steps"
        time.sleep(0.05)


def test_text_in_text_out(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT + "\n\n" + TEXT.upper())
    (tmp_path / "more.txt").write_text("A second document, so that one can be held out. " * 20)
    data = prepare_corpus([tmp_path / "text.txt", tmp_path / "more.txt"], tmp_path / "data", vocab_size=300)
    job = tiny_job(vocab=data.vocab_size)
    write_test_plan(tmp_path / "plan.json", job, ParallelLayout(micro_batch=8))
    result = run_training(tmp_path / "plan.json", tmp_path / "data", tmp_path / "run", 3)
    assert (result.finished, result.last_step) == (True, 3)
    texts = []
    for _ in range(2):
        arguments = ["--run", str(tmp_path / "run"), "--prompt", "the cat", "--max-tokens", "12", "--seed", "4"]
        answer = CliRunner().invoke(generate_command, arguments, catch_exceptions=False)
        assert answer.exit_code == 0
        texts.append(answer.stdout)
    assert texts[0] == texts[1]
    assert texts[0].strip()


def test_generating_without_a_run_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no training run"):
        CliRunner().invoke(
            generate_command, ["--run", str(tmp_path), "--prompt", "x"], catch_exceptions=False, standalone_mode=False
        )


def test_an_error_inside_the_processes_becomes_one_line_and_leaves_nothing(inputs: Path) -> None:
    shard = inputs / "data" / "validation-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    process = glmplan_train(inputs, "--steps", "3", "--quiet")
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 2
    assert output == ""
    assert len(errors.splitlines()) == 1
    assert "validation-00000.bin: shard has" in errors
    assert not (inputs / "run").exists()


@pytest.mark.slow
def test_ctrl_c_saves_at_the_end_of_the_step_and_the_run_goes_on(inputs: Path) -> None:
    process = glmplan_train(inputs, "--option", "1", "--steps", "100000", "--quiet")
    wait_for_steps(inputs / "run", 3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    done = steps_done(inputs / "run")
    assert errors.splitlines() == [f"stopped after step {done}; go on with the same command and --resume"]
    assert latest_step(inputs / "run") == done
    result = run_training(inputs / "plan.json", inputs / "data", inputs / "run", done + 2, option=1, resume=True)
    assert result.finished
    steps = [json.loads(line)["step"] for line in (inputs / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, done + 3))


@pytest.mark.slow
def test_a_killed_launcher_does_not_leave_processes_running(inputs: Path) -> None:
    process = glmplan_train(inputs, "--option", "1", "--steps", "100000", "--quiet")
    wait_for_steps(inputs / "run", 3)
    process.kill()
    deadline = time.monotonic() + 60
    while latest_step(inputs / "run") is None:
        assert time.monotonic() < deadline, "the workers did not notice"
        time.sleep(0.1)
    done = steps_done(inputs / "run")
    assert latest_step(inputs / "run") == done
    process.communicate(timeout=60)  # ends when the last process that shares its stderr has ended
    assert steps_done(inputs / "run") == done


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_with_one_line_and_the_last_checkpoint_stays(inputs: Path) -> None:
    process = glmplan_train(inputs, "--option", "1", "--steps", "100000", "--checkpoint-every", "2", "--quiet")
    wait_for_steps(inputs / "run", 5)
    os.kill(a_worker_of(inputs / "run"), signal.SIGKILL)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "a training process ended early" in errors.splitlines()[-1]
    assert "--resume" in errors.splitlines()[-1]
    step = latest_step(inputs / "run")
    assert step is not None
    assert step % 2 == 0
    assert run_training(inputs / "plan.json", inputs / "data", inputs / "run", step + 1, option=0, resume=True).finished


def a_worker_of(run_dir: Path) -> int:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "glmplan.train.worker" in words and str(run_dir) in words and "glmplan.train.agent" not in words:
            return int(entry.name)
    raise AssertionError("no worker found")


@pytest.mark.slow
def test_torchrun_may_start_the_command_itself(inputs: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "glmplan"]
    arguments = ["train", str(inputs / "plan.json"), "--data", str(inputs / "data"), "--out", str(inputs / "run")]
    finished = subprocess.run(
        [*command, *arguments, "--option", "1", "--steps", "3", "--quiet"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert steps_done(inputs / "run") == 3
    assert latest_step(inputs / "run") == 3


def test_the_parent_needs_no_torch() -> None:
    code = "import sys, glmplan.train.launcher, glmplan.cli.train, glmplan.cli.generate; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_a_run_that_cannot_start_raises(inputs: Path) -> None:
    (inputs / "run").write_text("a file")
    with pytest.raises(GlmplanError, match="is a file"):
        run_training(inputs / "plan.json", inputs / "data", inputs / "run", 1)
