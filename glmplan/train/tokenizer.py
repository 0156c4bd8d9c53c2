"""Byte-level BPE tokenizers: training one on a text, loading one, and the special tokens the trainer relies on.

A byte-level tokenizer has no unknown token: any text in any language comes back as it went in.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from glmplan.errors import InputError

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
TOKENIZER_FILE = "tokenizer.json"
SMALLEST_VOCAB = 256 + 2
"""Every byte and the two special tokens."""

# What the end of a text is called by tokenizers that others made.
_OTHER_END_OF_TEXT = ("<|end_of_text|>", "</s>", "<eos>", "<|end|>", "[SEP]")
_BATCH_TEXTS = 256


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer (Sennrich 2016, arXiv:1508.07909, on bytes as in GPT-2) of at most ``vocab_size``.

    The same texts give the same tokenizer. A short text may hold too few pairs to fill the vocabulary.
    Raises InputError when ``vocab_size`` is below 258.
    """
    if vocab_size < SMALLEST_VOCAB:
        raise InputError(f"vocab size: {vocab_size} is too small; use {SMALLEST_VOCAB} (all bytes) or more")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PAD],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a Hugging Face ``tokenizer.json``. Raises InputError when it cannot be read."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a Hugging Face tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for every kind of fault
        raise InputError(f"{path}: not a Hugging Face tokenizer: {str(error).splitlines()[0]}") from None


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a prepared data set. Raises InputError when there is none."""
    return read_tokenizer(directory / TOKENIZER_FILE)


def end_of_text_id(tokenizer: Tokenizer) -> int | None:
    """The token that separates documents, or None when the tokenizer has none that we know."""
    for name in (END_OF_TEXT, *_OTHER_END_OF_TEXT):
        token: int | None = tokenizer.token_to_id(name)
        if token is not None:
            return token
    return None


def with_end_of_text(tokenizer: Tokenizer) -> int:
    """The token that separates documents; adds ``END_OF_TEXT`` to a tokenizer without one."""
    if end_of_text_id(tokenizer) is None:
        tokenizer.add_special_tokens([END_OF_TEXT])
    token = end_of_text_id(tokenizer)
    assert token is not None
    return token


def num_token_ids(tokenizer: Tokenizer) -> int:
    """One more than the largest token number; ids are below it even where a vocabulary has gaps."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def tokenise(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    """The tokens of each text, in order. A special token's name inside a text stays plain text."""
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    stream = iter(texts)
    while batch := list(islice(stream, _BATCH_TEXTS)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield encoding.ids
