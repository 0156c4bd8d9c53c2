"""A prepared data set on disk: token shards, their index ``data.json``, and memory-mapped reading.

A shard is a file of little-endian token numbers without a header. The index is written last, so that a folder holds
either a whole data set or none. How text becomes tokens is ``corpus``'s concern.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from glmplan.documents import check, json_text, read_json, sha256, write_text
from glmplan.errors import DocumentError, Fault, InputError

Split = Literal["train", "validation"]
Counts = npt.NDArray[np.int64]
DATA_FILE = "data.json"
SCHEMA_VERSION = 1
SHARD_TOKENS = 2**27
"""Tokens after which a new shard begins."""
_BUFFER_TOKENS = 2**20


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardRecord(_Record):
    """One shard file."""

    file: str = Field(pattern=r"^(train|validation)-\d{5}\.bin$")
    split: Split
    tokens: PositiveInt
    sha256: str


class DataStatistics(_Record):
    """What the text was and what became of it."""

    documents: int
    duplicate_documents: int
    duplicate_lines: int
    skipped: dict[str, int]
    """Reason -> files or lines that could not be used."""
    cut_short: bool
    """True when the text ended at the limit that the user set."""
    text_bytes: int
    """UTF-8 bytes of the cleaned text."""
    tokens: int
    bytes_per_token: float
    """0 for tokens that were given without text."""
    unigram_entropy_nats: float
    """Entropy of the train tokens' frequencies: the loss of a model that knows them and nothing else."""


class DataSummary(_Record):
    """The index of a data set, ``data.json``."""

    schema_version: int = SCHEMA_VERSION
    vocab_size: PositiveInt
    dtype: Literal["uint16", "uint32"]
    end_of_text: int = Field(ge=0)
    """The token that separates documents."""
    shards: tuple[ShardRecord, ...] = Field(min_length=1)
    statistics: DataStatistics
    preparation: dict[str, str | int | float | bool]
    """The settings that made the data set."""

    def tokens_of(self, split: Split) -> int:
        """Tokens of a split."""
        return sum(shard.tokens for shard in self.shards if shard.split == split)


class TokenShards:
    """The tokens of one split, as one endless sequence: it starts again after its last token."""

    def __init__(self, directory: Path, summary: DataSummary, split: Split) -> None:
        records = [shard for shard in summary.shards if shard.split == split]
        if not records:
            raise InputError(f"{directory}: the data set has no {split} split; prepare it again with more text")
        self.vocab_size = summary.vocab_size
        self.num_tokens = summary.tokens_of(split)
        self.tokenizer_path = directory / "tokenizer.json"
        dtype = _stored_type(summary.dtype)
        self._maps = [np.memmap(directory / shard.file, dtype=dtype, mode="r") for shard in records]
        self._ends = np.cumsum([shard.tokens for shard in records])

    def window(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """``length`` tokens from position ``start`` on (modulo ``num_tokens``), copied as int64."""
        result = np.empty(length, dtype=np.int64)
        filled, position = 0, start % self.num_tokens
        while filled < length:
            shard = int(np.searchsorted(self._ends, position, side="right"))
            offset = position - (int(self._ends[shard - 1]) if shard else 0)
            part = self._maps[shard][offset : offset + length - filled]
            result[filled : filled + len(part)] = part
            filled += len(part)
            position = (position + len(part)) % self.num_tokens
        return result


class ShardWriter:
    """Writes the tokens of one split into shards; use as a context manager. Files appear under their final names."""

    def __init__(self, directory: Path, split: Split, dtype: str, shard_tokens: int = SHARD_TOKENS) -> None:
        self.records: list[ShardRecord] = []
        self._directory, self._split, self._dtype, self._shard_tokens = directory, split, dtype, shard_tokens
        self._pending: list[npt.NDArray[np.int64]] = []
        self._pending_tokens = 0
        self._shard: _OpenShard | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._close()

    def write(self, tokens: npt.NDArray[np.int64]) -> None:
        """Appends tokens."""
        self._pending.append(tokens)
        self._pending_tokens += len(tokens)
        if self._pending_tokens >= _BUFFER_TOKENS:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        tokens = np.concatenate(self._pending)
        self._pending, self._pending_tokens = [], 0
        while len(tokens):
            if self._shard is None:
                self._shard = _OpenShard(self._directory, f"{self._split}-{len(self.records):05d}.bin", self._dtype)
            room = self._shard_tokens - self._shard.tokens
            self._shard.write(tokens[:room])
            tokens = tokens[room:]
            if self._shard.tokens == self._shard_tokens:
                self._close()

    def _close(self) -> None:
        if self._shard is not None:
            self.records.append(self._shard.record(self._split))
            self._shard = None


class _OpenShard:
    """One shard file being written and hashed."""

    def __init__(self, directory: Path, name: str, dtype: str) -> None:
        self.tokens = 0
        self._name, self._dtype = name, _stored_type(dtype)
        self._hash = hashlib.sha256()
        self._stream = (directory / name).open("wb")

    def write(self, tokens: npt.NDArray[np.int64]) -> None:
        content = tokens.astype(self._dtype).tobytes()
        self._hash.update(content)
        self._stream.write(content)
        self.tokens += len(tokens)

    def record(self, split: Split) -> ShardRecord:
        self._stream.close()
        return ShardRecord(file=self._name, split=split, tokens=self.tokens, sha256=self._hash.hexdigest())


def write_token_data_set(directory: Path, tokens: Mapping[Split, Counts], vocab_size: int) -> DataSummary:
    """A data set of given tokens, without text and tokenizer: for synthetic data. Returns its index."""
    directory.mkdir(parents=True, exist_ok=True)
    records: list[ShardRecord] = []
    for split, values in tokens.items():
        with ShardWriter(directory, split, dtype_for(vocab_size)) as writer:
            writer.write(values)
        records += writer.records
    statistics = DataStatistics(
        documents=0,
        duplicate_documents=0,
        duplicate_lines=0,
        skipped={},
        cut_short=False,
        text_bytes=0,
        tokens=sum(record.tokens for record in records),
        bytes_per_token=0.0,
        unigram_entropy_nats=entropy_nats(np.bincount(tokens["train"], minlength=vocab_size)),
    )
    summary = DataSummary(
        vocab_size=vocab_size,
        dtype=dtype_for(vocab_size),
        end_of_text=0,
        shards=tuple(records),
        statistics=statistics,
        preparation={"tokens": "given"},
    )
    write_text(directory / DATA_FILE, json_text(summary.model_dump(mode="json")))
    return summary


def entropy_nats(counts: Counts) -> float:
    """Entropy of the distribution with these counts: -sum p ln p, in nats (Shannon 1948, section 6).

    >>> round(entropy_nats(np.array([1, 1, 0, 2])), 4)
    1.0397
    """
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def open_token_shards(directory: Path, split: Split, *, verify: bool = False) -> TokenShards:
    """The tokens of a split. ``verify`` also compares every shard with its hash, which reads all of them.

    Raises InputError when ``directory`` holds no data set, a shard is missing or broken, or the split is empty.
    """
    summary = read_data_summary(directory)
    check_shards(directory, (shard for shard in summary.shards if shard.split == split), summary.dtype, verify=verify)
    return TokenShards(directory, summary, split)


def read_data_summary(directory: Path) -> DataSummary:
    """The index of the data set in ``directory``. Raises InputError when there is none or it is broken."""
    path = directory / DATA_FILE
    if not path.is_file():
        raise InputError(f"{directory}: no data set ({DATA_FILE} is missing); make one with: glmplan data prepare")
    document = read_json(path)
    version = document.data.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        reason = f"{version} is newer than this glmplan reads ({SCHEMA_VERSION}); prepare the data again"
        raise DocumentError(document.name, [Fault(field="schema_version", reason=reason)])
    return check(DataSummary, document)


def check_shards(directory: Path, shards: Iterable[ShardRecord], dtype: str, *, verify: bool) -> None:
    """Raises InputError, naming the shard, when one is missing, has the wrong size or (``verify``) other content."""
    for shard in shards:
        path = directory / shard.file
        expected_bytes = shard.tokens * _stored_type(dtype).itemsize
        if not path.is_file():
            raise InputError(f"{path}: shard is missing; prepare the data again")
        found_bytes = path.stat().st_size
        if found_bytes != expected_bytes:
            raise InputError(
                f"{path}: shard has {found_bytes} bytes, {DATA_FILE} says {expected_bytes}; prepare the data again"
            )
        if verify and sha256(path) != shard.sha256:
            raise InputError(f"{path}: shard does not match its SHA-256 in {DATA_FILE}; prepare the data again")


def dtype_for(vocab_size: int) -> Literal["uint16", "uint32"]:
    """The smaller type that holds every token number."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def _stored_type(dtype: str) -> np.dtype[np.unsignedinteger]:
    return np.dtype({"uint16": "<u2", "uint32": "<u4"}[dtype])
