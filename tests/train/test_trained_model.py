from pathlib import Path

import pytest
import torch

from glmplan.errors import InputError
from glmplan.train.decoder_model import Decoder
from glmplan.train.initialisation import materialise
from glmplan.train.sampling import Sampling
from glmplan.train.tokenizer import END_OF_TEXT, num_token_ids, train_tokenizer
from glmplan.train.trained_model import TrainedModel, load_trained
from tests.train.jobs import CPU, tiny_architecture


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    """Fresh weights and a tokenizer of bytes and a few pairs."""
    tokenizer = train_tokenizer(["the cat sat on the mat, naïve 猫"] * 3, 270)
    with torch.device("meta"):
        model = Decoder(tiny_architecture(vocab=num_token_ids(tokenizer)), num_positions=64)
    materialise(model, CPU, seed=0)
    return TrainedModel(model=model.eval(), tokenizer=tokenizer)


def test_pieces_make_the_text_that_comes_at_once(trained: TrainedModel) -> None:
    sampling = Sampling(temperature=2.0, seed=1)
    (whole,), _ = trained.continuations(["the"], 50, sampling)
    pieces = list(trained.stream("the", 50, sampling))
    assert "".join(pieces) == whole.text
    assert len(pieces) > 5


def test_the_pace_counts_every_token_once(trained: TrainedModel) -> None:
    made, pace = trained.continuations(["the cat", "on"], 9, Sampling(temperature=0))
    assert pace.prompt_tokens == sum(len(trained.tokenizer.encode(text).ids) for text in ("the cat", "on"))
    assert pace.new_tokens + len(made) == sum(item.num_tokens for item in made)
    assert pace.tokens_per_s > 0


def test_the_end_of_a_text_is_told_and_not_shown(trained: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    end = trained.tokenizer.token_to_id(END_OF_TEXT)
    script = [trained.tokenizer.token_to_id(letter) for letter in "ab"] + [end]

    def scripted(*_: object) -> object:
        return ({0: token} for token in script)

    monkeypatch.setattr("glmplan.train.trained_model.generate_batch", scripted)
    (made,), _ = trained.continuations(["x"], 9, Sampling())
    assert (made.text, made.num_tokens, made.ended_by) == ("ab", 3, "end of text")
    assert "".join(trained.stream("x", 9, Sampling())) == "ab"


def test_an_empty_prompt_begins_a_document(trained: TrainedModel) -> None:
    (made,), pace = trained.continuations([""], 3, Sampling())
    assert (made.num_tokens, pace.prompt_tokens) == (3, 1)


def test_a_tokenizer_of_another_model_is_an_input_error(trained: TrainedModel) -> None:
    with torch.device("meta"):
        small = Decoder(tiny_architecture(vocab=20), num_positions=8)
    with pytest.raises(InputError, match="outside the model's vocabulary of 20"):
        TrainedModel(model=small, tokenizer=trained.tokenizer).continuations(["the"], 1, Sampling())


def test_a_folder_without_a_run_or_a_model_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no training run"):
        load_trained(tmp_path)
