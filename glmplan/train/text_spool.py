"""The cleaned text of a corpus on disk, cut into sections, and which of them are for validation.

A nameless file holds the text, so memory stays small and sources are read once; it vanishes with the process.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from glmplan.errors import InputError

_SECTIONS_PER_SHARE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A stretch of the spooled text: a document, or a part of a long one."""

    start: int
    num_bytes: int
    begins_document: bool
    digest: bytes
    """Seeded hash that orders sections for the split."""


@dataclass(slots=True)
class TextSpool:
    """Documents one after another in ``stream``, with their lengths in bytes."""

    stream: IO[bytes]
    lengths: list[int]
    cut_short: bool = False
    """True when text was left out for the limit."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all documents."""
        return sum(self.lengths)

    def read(self, sections: Sequence[Section], done: Callable[[float], None]) -> Iterator[str]:
        """The text of each section; ``done`` is told the fraction read."""
        total, so_far = sum(section.num_bytes for section in sections), 0
        for section in sections:
            self.stream.seek(section.start)
            yield self.stream.read(section.num_bytes).decode("utf-8")
            so_far += section.num_bytes
            done(so_far / total)


def spool_texts(texts: Iterator[str], stream: IO[bytes], max_bytes: int, done: Callable[[float], None]) -> TextSpool:
    """Writes texts (empty ones left out) to ``stream`` until ``max_bytes`` of UTF-8 are reached."""
    spool = TextSpool(stream=stream, lengths=[])
    total = 0
    for text in texts:
        content = text.encode("utf-8")
        if len(content) > max_bytes - total:
            # Without the half character that the cut may leave.
            content = content[: max_bytes - total].decode("utf-8", "ignore").encode("utf-8")
            spool.cut_short = True
        if content.strip():
            stream.write(content)
            spool.lengths.append(len(content))
            total += len(content)
            done(total / max_bytes)
        if spool.cut_short:
            break
    done(1.0)
    return spool


def cut_sections(spool: TextSpool, validation_fraction: float, seed: int) -> list[Section]:
    """Documents as sections; one that is longer than the whole validation share is cut at line ends.

    Without the cut, a corpus of one file could not be split.
    """
    share = int(spool.num_bytes * validation_fraction)
    part_bytes = max(1, share // _SECTIONS_PER_SHARE)
    key = hashlib.sha256(str(seed).encode()).digest()
    sections: list[Section] = []
    spool.stream.seek(0)
    start = 0
    for length in spool.lengths:
        content = spool.stream.read(length)
        parts = _cut_at_lines(content, part_bytes) if share and length > share else [content]
        for index, part in enumerate(parts):
            digest = hashlib.blake2b(part, digest_size=16, key=key).digest()
            sections.append(Section(start=start, num_bytes=len(part), begins_document=index == 0, digest=digest))
            start += len(part)
    return sections


def _cut_at_lines(content: bytes, part_bytes: int) -> list[bytes]:
    """``content`` in parts of at least ``part_bytes`` that end with a line; the last may be shorter."""
    parts = []
    start = 0
    while len(content) - start > part_bytes:
        end = content.find(b"\n", start + part_bytes - 1) + 1
        if end in (0, len(content)):
            break
        parts.append(content[start:end])
        start = end
    return [*parts, content[start:]]


def validation_sections(sections: Sequence[Section], fraction: float) -> frozenset[int]:
    """Indices of the validation sections: in the order of their hashes, those that fit into the share ``fraction``.

    One section at least when ``fraction`` is positive. Raises InputError when that would leave none to train on.
    """
    if fraction == 0:
        return frozenset()
    if len(sections) < 2:
        raise InputError("validation split: the text has one line only; give more text or --validation-fraction 0")
    share = fraction * sum(section.num_bytes for section in sections)
    chosen: list[int] = []
    taken = 0
    for index in sorted(range(len(sections)), key=lambda index: sections[index].digest):
        # Half of a section may stand over, so that the share is met on average.
        if taken + sections[index].num_bytes / 2 <= share:
            chosen.append(index)
            taken += sections[index].num_bytes
    if not chosen:
        chosen = [min(range(len(sections)), key=lambda index: (sections[index].num_bytes, sections[index].digest))]
    return frozenset(chosen[: len(sections) - 1])
