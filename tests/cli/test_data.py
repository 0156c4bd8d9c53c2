"""``glmplan data``: what it prints, where, and how it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from glmplan.cli.data import command
from glmplan.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.md").write_text(f"# Note {number}\n" + f"some words of note {number}\n" * 20)
    return folder


def test_prepare_prints_the_summary_that_it_wrote(source: Path, tmp_path: Path) -> None:
    arguments = ["prepare", str(source), "-o", str(tmp_path / "data"), "--vocab-size", "300", "--format", "json"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((tmp_path / "data" / "data.json").read_text())


def test_notes_go_to_stderr(source: Path, tmp_path: Path) -> None:
    (source / "picture.png").write_bytes(b"\0")
    arguments = ["prepare", str(source), "-o", str(tmp_path / "data"), "--vocab-size", "300", "--max-bytes", "3 kB"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "stopped at 3 kB of text" in result.stderr
    assert "stopped" not in result.stdout


def test_stop_words_can_be_removed(source: Path, tmp_path: Path) -> None:
    arguments = ["prepare", str(source), "-o", str(tmp_path / "data"), "--vocab-size", "300"]
    result = CliRunner().invoke(command, [*arguments, "--remove-stop-words", "en"], catch_exceptions=False)
    assert result.exit_code == 0
    from glmplan.train.token_shards import open_token_shards
    from glmplan.train.tokenizer import load_tokenizer

    shards = open_token_shards(tmp_path / "data", "train")
    text = load_tokenizer(tmp_path / "data").decode(shards.window(0, shards.num_tokens).tolist())
    assert "words note" in text
    assert "some" not in text


@pytest.mark.parametrize("output_format", ["text", "csv", "md"])
def test_show_prints_the_statistics(source: Path, tmp_path: Path, output_format: str) -> None:
    runner = CliRunner()
    runner.invoke(command, ["prepare", str(source), "-o", str(tmp_path / "d"), "--vocab-size", "300"])
    result = runner.invoke(command, ["show", str(tmp_path / "d"), "--verify", "--format", output_format])
    assert result.exit_code == 0
    assert "unigram entropy (nats)" in result.stdout


def test_show_refuses_a_broken_shard(source: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    runner.invoke(command, ["prepare", str(source), "-o", str(tmp_path / "d"), "--vocab-size", "300"])
    (tmp_path / "d" / "validation-00000.bin").write_bytes(b"")
    result = runner.invoke(command, ["show", str(tmp_path / "d")])
    assert isinstance(result.exception, InputError)
    assert "validation-00000.bin" in str(result.exception)


def test_faults_are_one_line_and_exit_code_two(tmp_path: Path) -> None:
    for arguments in (
        ["data", "prepare", "nowhere", "-o", "out"],
        ["data", "prepare", ".", "-o", "out"],
        ["data", "prepare", ".", "-o", "out", "--max-bytes", "20"],
        ["data", "show", "nowhere"],
    ):
        call = [sys.executable, "-m", "glmplan", *arguments]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stdout == ""
        said = [line for line in done.stderr.splitlines() if not line.startswith("data: ")]  # progress
        assert len(said) == 1 and said[0].startswith("glmplan: ")
    assert not (tmp_path / "out").exists()
