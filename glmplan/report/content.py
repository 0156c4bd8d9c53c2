"""What a report is made of, before it becomes HTML or Markdown: sections of sentences, tiles, charts and tables.

All texts are plain: whoever renders them escapes them.
"""

import unicodedata
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text. Every row has one cell for each header."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    """Columns that are set flush right."""
    marked: int | None = None
    """The row that stands out: the chosen layout, the total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number of the headline."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure and the table behind it, which says the same without seeing."""

    slug: str
    """Letters and dashes; the element's id in the page."""
    title: str
    figure: Any
    """A plotly Figure."""
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with its content, in the order of the fields."""

    slug: str
    title: str
    paragraphs: tuple[str, ...] = ()
    tiles: tuple[Tile, ...] = ()
    commands: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole report."""

    title: str
    subtitle: str
    generator: str
    sections: tuple[Section, ...]


def plain(text: str, *, keep_lines: bool = False) -> str:
    """``text`` without control characters and lone surrogates, so that no terminal or browser obeys it.

    Line breaks become spaces unless ``keep_lines``. Format characters that reorder text (bidirectional overrides)
    are replaced as well: a name must read as it is stored.
    """
    characters = []
    for character in text:
        if character == "\n" and keep_lines:
            characters.append(character)
        elif character in "\n\r\t":
            characters.append(" ")
        elif unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _REORDERING:
            characters.append("\N{REPLACEMENT CHARACTER}")
        else:
            characters.append(character)
    return "".join(characters)


_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
