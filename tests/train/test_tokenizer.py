"""Byte-level BPE: nothing is lost, training is repeatable, faults are one line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from glmplan.errors import InputError
from glmplan.train.tokenizer import (
    END_OF_TEXT,
    PAD,
    end_of_text_id,
    load_tokenizer,
    num_token_ids,
    read_tokenizer,
    tokenise,
    train_tokenizer,
    with_end_of_text,
)

TEXTS = ["the quick brown fox jumps over the lazy dog\n" * 20, "模型训练需要数据，数据很重要。" * 20]
TRAINED = train_tokenizer(TEXTS, 300)


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_any_text_comes_back_as_it_went_in(text: str) -> None:
    (ids,) = tokenise(TRAINED, [text])
    assert TRAINED.decode(ids, skip_special_tokens=False) == text
    assert all(0 <= token < num_token_ids(TRAINED) for token in ids)


def test_training_is_repeatable() -> None:
    assert train_tokenizer(TEXTS, 400).to_str() == train_tokenizer(list(TEXTS), 400).to_str()


def test_merges_follow_the_frequencies() -> None:
    # The most frequent adjacent pair is merged first (Sennrich 2016, algorithm 1): "ab" stands 6 times, "bc" 3 times.
    tokenizer = train_tokenizer(["abc " * 3 + "ab " * 3], 258 + 1)
    assert tokenizer.id_to_token(258) == "ab"


def test_special_tokens_come_first() -> None:
    assert [TRAINED.token_to_id(token) for token in (END_OF_TEXT, PAD)] == [0, 1]
    assert end_of_text_id(TRAINED) == 0


def test_the_vocabulary_is_as_large_as_asked() -> None:
    assert num_token_ids(TRAINED) == 300


def test_a_tokenizer_of_another_house_keeps_its_end_of_text() -> None:
    tokenizer = Tokenizer(WordLevel({"a": 0, "</s>": 7}, unk_token="a"))
    assert with_end_of_text(tokenizer) == 7
    assert num_token_ids(tokenizer) == 8  # numbers may have gaps


def test_a_tokenizer_without_end_of_text_gets_one() -> None:
    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    assert end_of_text_id(tokenizer) is None
    assert with_end_of_text(tokenizer) == 2


def test_broken_and_missing_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model"')
    with pytest.raises(InputError, match=r"tokenizer\.json: not a Hugging Face tokenizer: ") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_tokenizer(tmp_path / "other.json")
