import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from glmplan.train.decoder_model import Decoder
from glmplan.train.huggingface_export import export_model
from glmplan.train.initialisation import materialise
from glmplan.train.tokenizer import TOKENIZER_FILE, num_token_ids, train_tokenizer
from tests.conftest import Outcome
from tests.train.jobs import CPU, tiny_architecture

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights in Hugging Face form."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["the cat sat on the mat"] * 3, 270)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    with torch.device("meta"):
        model = Decoder(tiny_architecture(vocab=num_token_ids(tokenizer)), num_positions=64)
    materialise(model, CPU, seed=0)
    export_model(model, folder / TOKENIZER_FILE, folder / "out")
    return folder / "out"


def test_the_text_goes_to_stdout_and_the_pace_to_stderr(run_glmplan: Run, model_dir: Path) -> None:
    outcome = run_glmplan("generate", "--run", model_dir, "--prompt", "the", "--max-tokens", 5)
    assert outcome.code == 0
    assert outcome.out.strip()
    assert "tokens/s" in outcome.err


def test_a_file_of_prompts_makes_a_batch(run_glmplan: Run, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("the cat\n\non\n")
    common = ("generate", "--run", model_dir, "--max-tokens", 4, "--temperature", 0, "--format", "json")
    batch = json.loads(run_glmplan(*common, "--prompts", tmp_path / "prompts.txt").out)
    assert [item["prompt"] for item in batch["continuations"]] == ["the cat", "on"]
    given = json.loads(run_glmplan(*common, "--prompt", "the cat", "--prompt", "on").out)
    assert given == batch
    alone = json.loads(run_glmplan(*common, "--prompt", "on").out)
    assert alone["continuations"] == batch["continuations"][1:]


def test_lines_of_stdin_are_continued_one_by_one(
    run_glmplan: Run, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("generate", "--run", model_dir, "--max-tokens", 4, "--temperature", 0)
    alone = [run_glmplan(*arguments, "--prompt", prompt).out for prompt in ("the", "on")]
    monkeypatch.setattr("sys.stdin", io.StringIO("the\n\non\n"))
    outcome = run_glmplan(*arguments, "--interactive")
    assert (outcome.code, outcome.out) == (0, "".join(alone))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give one of --prompt"),
        (("--prompt", "a", "--interactive"), "give one of --prompt"),
        (("--prompt", "a", "--max-tokens", 0), "max tokens: must be 1 or more"),
        (("--prompts", "nowhere.txt"), "nowhere.txt: no such file"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    arguments: tuple[object, ...], told: str, run_glmplan: Run, model_dir: Path
) -> None:
    outcome = run_glmplan("generate", "--run", model_dir, *arguments)
    assert outcome.code == 2
    assert told in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_file_without_prompts_is_refused(run_glmplan: Run, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    outcome = run_glmplan("generate", "--run", model_dir, "--prompts", tmp_path / "empty.txt")
    assert (outcome.code, outcome.out) == (2, "")
    assert "holds no prompt" in outcome.err
