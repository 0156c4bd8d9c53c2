"""Prepares a corpus: text sources become a data set of token shards for training and validation."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from glmplan import __version__
from glmplan.documents import json_text, write_text
from glmplan.errors import InputError
from glmplan.train.text_cleaning import Cleaner, Cleaning
from glmplan.train.text_sources import TextSources
from glmplan.train.text_spool import Section, TextSpool, cut_sections, spool_texts, validation_sections
from glmplan.train.token_shards import (
    DATA_FILE,
    Counts,
    DataStatistics,
    DataSummary,
    ShardRecord,
    ShardWriter,
    Split,
    dtype_for,
    entropy_nats,
)
from glmplan.train.tokenizer import (
    TOKENIZER_FILE,
    num_token_ids,
    read_tokenizer,
    tokenise,
    train_tokenizer,
    with_end_of_text,
)

Progress = Callable[[str, float], None]
"""Called with the phase's name and how much of it is done (0 to 1)."""
_STAGING = ".preparing"


def prepare_corpus(
    sources: Sequence[str | Path],
    directory: Path,
    *,
    vocab_size: int = 4096,
    tokenizer: Path | None = None,
    validation_fraction: float = 0.05,
    cleaning: Cleaning | None = None,
    text_field: str = "text",
    max_bytes: float = 20_000_000,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DataSummary:
    """Reads, cleans, splits and tokenises ``sources`` into ``directory``; the same inputs give the same bytes.

    A byte-level BPE tokenizer of ``vocab_size`` is trained on the train split unless ``tokenizer`` names a file. At
    most ``max_bytes`` of cleaned UTF-8 text are taken. Raises InputError when there is no usable text, an argument is
    out of range, or ``directory`` holds a data set and ``overwrite`` is false; it is then left as it was.
    """
    _check_arguments(directory, validation_fraction, max_bytes, overwrite)
    report = progress or _silent
    cleaning = cleaning or Cleaning()
    given = read_tokenizer(tokenizer) if tokenizer is not None else None
    texts = TextSources(sources, text_field=text_field, max_file_bytes=int(max_bytes), leave_out=directory)
    cleaner = Cleaner(cleaning)
    with _staging_folder(directory) as staging, tempfile.TemporaryFile(dir=staging) as stream:
        cleaned = (cleaner.clean(text) for text in texts.documents())
        spool = spool_texts(cleaned, stream, int(max_bytes), partial(report, "reading"))
        if not spool.lengths:
            raise InputError(f"{', '.join(map(str, sources))}: no text found{_reasons(texts.skipped)}")
        sections = cut_sections(spool, validation_fraction, seed)
        validation = validation_sections(sections, validation_fraction)
        trained = given or _trained(spool, sections, validation, vocab_size, report)
        shards, counts, end_of_text = _write_shards(staging, trained, spool, sections, validation, report)
        trained.save(str(staging / TOKENIZER_FILE))
        summary = DataSummary(
            vocab_size=num_token_ids(trained),
            dtype=dtype_for(num_token_ids(trained)),
            end_of_text=end_of_text,
            shards=tuple(shards),
            statistics=_statistics(spool, cleaner, texts, shards, counts),
            preparation={
                "glmplan_version": __version__,
                "seed": seed,
                "validation_fraction": validation_fraction,
                "tokenizer": "trained" if given is None else "given",
                **cleaning.model_dump(exclude={"stop_words"}),
                "stop_words": len(cleaning.stop_words),
            },
        )
        _publish(staging, directory, summary)
    return summary


def _check_arguments(directory: Path, validation_fraction: float, max_bytes: float, overwrite: bool) -> None:
    if not 0 <= validation_fraction <= 0.5:
        raise InputError(f"validation fraction: must be from 0 to 0.5; got {validation_fraction:g}")
    if max_bytes < 1:
        raise InputError(f"max bytes: must be at least 1; got {max_bytes:g}")
    if (directory / DATA_FILE).exists() and not overwrite:
        raise InputError(f"{directory}: already holds a data set; use --overwrite, or another folder")


def _silent(phase: str, fraction: float) -> None:
    """Progress that nobody watches."""


def _trained(
    spool: TextSpool, sections: list[Section], validation: frozenset[int], vocab_size: int, report: Progress
) -> Tokenizer:
    """A tokenizer that has seen the train sections only."""
    train = [section for index, section in enumerate(sections) if index not in validation]
    return train_tokenizer(spool.read(train, partial(report, "training the tokenizer")), vocab_size)


def _write_shards(
    directory: Path,
    tokenizer: Tokenizer,
    spool: TextSpool,
    sections: list[Section],
    validation: frozenset[int],
    report: Progress,
) -> tuple[list[ShardRecord], Counts, int]:
    """Writes both splits, each document after an end-of-text token. Returns shards, train counts and that token."""
    end_of_text = with_end_of_text(tokenizer)
    num_ids = num_token_ids(tokenizer)
    counts = np.zeros(num_ids, dtype=np.int64)
    encoded = tokenise(tokenizer, spool.read(sections, partial(report, "tokenising")))
    last: dict[Split, int] = {}
    with ExitStack() as stack:
        writers: dict[Split, ShardWriter] = {
            split: stack.enter_context(ShardWriter(directory, split, dtype_for(num_ids)))
            for split in ("train", "validation")
        }
        for index, (section, ids) in enumerate(zip(sections, encoded, strict=True)):
            split: Split = "validation" if index in validation else "train"
            continues = not section.begins_document and last.get(split) == index - 1
            tokens = np.array(ids if continues else [end_of_text, *ids], dtype=np.int64)
            writers[split].write(tokens)
            last[split] = index
            if split == "train":
                np.add.at(counts, tokens, 1)
    return [record for writer in writers.values() for record in writer.records], counts, end_of_text


def _statistics(
    spool: TextSpool, cleaner: Cleaner, texts: TextSources, shards: list[ShardRecord], counts: Counts
) -> DataStatistics:
    num_tokens = sum(shard.tokens for shard in shards)
    skipped = texts.skipped + Counter({"empty documents": cleaner.counts.empty_documents})
    return DataStatistics(
        documents=len(spool.lengths),
        duplicate_documents=cleaner.counts.duplicate_documents,
        duplicate_lines=cleaner.counts.duplicate_lines,
        skipped=dict(sorted(skipped.items())),
        cut_short=spool.cut_short,
        text_bytes=spool.num_bytes,
        tokens=num_tokens,
        bytes_per_token=spool.num_bytes / num_tokens,
        unigram_entropy_nats=entropy_nats(counts),
    )


@contextmanager
def _staging_folder(directory: Path) -> Iterator[Path]:
    """A folder inside ``directory`` for half-made files; gone afterwards, whatever happens."""
    staging = directory / _STAGING
    is_new = not directory.exists()
    try:
        shutil.rmtree(staging, ignore_errors=True)  # left by a run that was killed
        staging.mkdir(parents=True)
        yield staging
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new and directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def _publish(staging: Path, directory: Path, summary: DataSummary) -> None:
    """Moves the files into place, the index last; an older data set's files go first."""
    (directory / DATA_FILE).unlink(missing_ok=True)
    for split in ("train", "validation"):
        for old in directory.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].bin"):
            old.unlink()
    for path in staging.iterdir():
        path.replace(directory / path.name)
    write_text(directory / DATA_FILE, json_text(summary.model_dump(mode="json")))


def _reasons(skipped: Counter[str]) -> str:
    counted = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    return f" (skipped: {counted})" if counted else "; give files or folders with text"
