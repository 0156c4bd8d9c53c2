"""Cleaning of one text after another: Unicode form, control characters, white space, repeats and stop words.

Works on text only; where it comes from is ``text_sources``'s concern.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from glmplan.documents import read_text
from glmplan.errors import InputError

BUILT_IN_STOP_WORDS = ("en", "zh")

_CONTROL = dict.fromkeys([*(c for c in range(32) if c not in (9, 10)), *range(127, 160), 0xFEFF])
_SURROGATE = re.compile("[\ud800-\udfff]")
# Scripts written without spaces: CJK radicals to unified ideographs, compatibility ideographs, later planes.
_UNSPACED = "\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_DIGEST_BYTES = 16


class Cleaning(BaseModel):
    """What is done to a text. The defaults change how text is stored, not what it says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unicode_form: Literal["nfc", "nfkc", "none"] = "nfc"
    """``nfkc`` also folds full-width, ligature and superscript forms; ``none`` leaves code points alone."""
    collapse_whitespace: bool = False
    """Runs of blanks become one, blank lines too. Destroys the indentation of source code."""
    duplicate_line_chars: int = Field(default=100, ge=0)
    """A line at least this long that was seen before (licence headers, menus) is dropped; 0 keeps all lines."""
    stop_words: tuple[str, ...] = ()
    """Words to remove, for frequency studies; a language model is better off without removal."""


@dataclass(slots=True)
class CleaningCounts:
    """What cleaning has dropped so far."""

    duplicate_documents: int = 0
    duplicate_lines: int = 0
    empty_documents: int = 0


class Cleaner:
    """Cleans texts in the order given; remembers what it has seen, so one cleaner serves one data set."""

    def __init__(self, cleaning: Cleaning) -> None:
        self.counts = CleaningCounts()
        self._cleaning = cleaning
        self._documents: set[bytes] = set()
        self._lines: set[bytes] = set()
        self._without_stop_words = stop_word_remover(cleaning.stop_words)

    def clean(self, text: str) -> str:
        """The cleaned text, or "" when nothing is left of it or the whole text was seen before."""
        text = normal_form(text, self._cleaning)
        digest = _digest(text)
        if not text.strip():
            self.counts.empty_documents += 1
            return ""
        if digest in self._documents:
            self.counts.duplicate_documents += 1
            return ""
        self._documents.add(digest)
        text = self._without_stop_words(self._without_repeated_lines(text))
        if not text.strip():
            self.counts.empty_documents += 1
            return ""
        return text

    def _without_repeated_lines(self, text: str) -> str:
        shortest = self._cleaning.duplicate_line_chars
        if not shortest or len(text) < shortest:
            return text
        kept = []
        for line in text.split("\n"):
            if len(line) >= shortest:
                digest = _digest(line.strip())
                if digest in self._lines:
                    self.counts.duplicate_lines += 1
                    continue
                self._lines.add(digest)
            kept.append(line)
        return "\n".join(kept)


def normal_form(text: str, cleaning: Cleaning) -> str:
    """``text`` in one Unicode form with ``\\n`` line ends, no control characters but tab, and one final newline."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROL)
    text = _SURROGATE.sub("", text)
    if cleaning.unicode_form == "nfc":
        text = unicodedata.normalize("NFC", text)
    elif cleaning.unicode_form == "nfkc":
        text = unicodedata.normalize("NFKC", text)
    if cleaning.collapse_whitespace:
        text = re.sub(r"[^\S\n]+", " ", text)
        text = re.sub(r" ?\n ?", "\n", text)
        text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return text.strip("\n") + "\n"


def stop_word_remover(words: Sequence[str]) -> Callable[[str], str]:
    """A function that removes ``words`` from a text; words of spaced scripts whatever their case.

    Chinese and Japanese have no spaces, so their words are matched as strings, the longest first: a character that
    belongs to a longer word outside the list can be removed too.
    """
    unspaced = [word for word in words if re.search(f"[{_UNSPACED}]", word)]
    spaced = [word for word in words if word not in set(unspaced)]
    patterns = []
    if spaced:
        patterns.append(rf"(?<![\w'’])(?:{_alternatives(spaced)})(?![\w'’])[^\S\n]?")
    if unspaced:
        patterns.append(f"(?:{_alternatives(unspaced)})")
    if not patterns:
        return lambda text: text
    pattern = re.compile("|".join(patterns), re.IGNORECASE)
    return lambda text: pattern.sub("", text)


def load_stop_words(name: str) -> tuple[str, ...]:
    """The stop words of a built-in list (``en``, ``zh``) or of a file with one word a line.

    Raises InputError when the name is neither, or the file holds no word.
    """
    if name in BUILT_IN_STOP_WORDS:
        text = files("glmplan.train").joinpath("stop_words", f"{name}.txt").read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = read_text(Path(name))
    else:
        known = ", ".join(BUILT_IN_STOP_WORDS)
        raise InputError(f"stop words: {name!r} is neither a built-in list ({known}) nor a file")
    lines = (line.strip() for line in text.splitlines())
    words = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not words:
        raise InputError(f"stop words: {name} holds no word; expected one a line")
    return words


def _alternatives(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=_DIGEST_BYTES).digest()
