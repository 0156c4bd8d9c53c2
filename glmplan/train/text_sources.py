"""Reads text documents from files, folders and Python's own standard library. Cleans nothing."""

import inspect
import io
import json
import os
import sys
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from glmplan.errors import InputError

PYTHON_STDLIB = "python-stdlib"
"""Name of the source that every machine with Python has: the standard library's sources and built-in docstrings."""

# fmt: off
TEXT_SUFFIXES = frozenset({
    ".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org", ".adoc", ".json", ".jsonl", ".ndjson", ".csv",
    ".tsv", ".html", ".htm", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".py", ".pyi", ".ipynb", ".c", ".h",
    ".cc", ".cpp", ".cxx", ".hpp", ".cu", ".cuh", ".rs", ".go", ".java", ".kt", ".scala", ".js", ".jsx", ".ts",
    ".tsx", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".swift", ".sh", ".sql", ".srt",
})
# fmt: on
"""Files in folders are read when they end in one of these; a file named by the user is read whatever its name."""

_LINE_SUFFIXES = (".jsonl", ".ndjson")
_STDLIB_LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo"})


class TextSources:
    """The documents of ``sources``, in sorted order; ``skipped`` counts what could not be used, by reason.

    ``leave_out`` is a folder that is never entered (the output of this very run); links to folders are not followed.
    Of a file no more than its first ``max_file_bytes`` are read. Raises InputError for a source that does not exist.
    """

    def __init__(
        self,
        sources: Sequence[str | Path],
        *,
        text_field: str = "text",
        max_file_bytes: int = 2**30,
        leave_out: Path | None = None,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._text_field = text_field
        self._max_file_bytes = max_file_bytes
        self._leave_out = leave_out.resolve() if leave_out is not None else None
        self._sources = [source if source == PYTHON_STDLIB else Path(source) for source in sources]
        for source in self._sources:
            if isinstance(source, Path) and not source.exists():
                raise InputError(
                    f"{source}: no such file or folder; give text files, folders or the name {PYTHON_STDLIB}"
                )

    def documents(self) -> Iterator[str]:
        """One text after another; a JSON lines file gives one document a line."""
        for source in self._sources:
            if isinstance(source, str):
                yield from self._folder(_stdlib_folder(), _STDLIB_LEFT_OUT, frozenset({".py"}))
                yield from _built_in_docstrings()
            elif source.is_dir():
                yield from self._folder(source, frozenset(), TEXT_SUFFIXES)
            else:
                yield from self._file(source)

    def _folder(self, top: Path, left_out: frozenset[str], suffixes: frozenset[str]) -> Iterator[str]:
        def unreadable(_: OSError) -> None:
            self.skipped["unreadable folders"] += 1

        for folder, subfolders, names in os.walk(top, onerror=unreadable):
            subfolders[:] = sorted(
                name
                for name in subfolders
                if name not in left_out
                and not name.startswith((".", "__pycache__"))
                and not self._is_output(folder, name)
            )
            for name in sorted(names):
                if name.startswith("."):
                    continue
                if Path(name).suffix.lower() in suffixes:
                    yield from self._file(Path(folder, name))
                else:
                    self.skipped["files of other types"] += 1

    def _is_output(self, folder: str, name: str) -> bool:
        return self._leave_out is not None and Path(folder, name).resolve() == self._leave_out

    def _file(self, path: Path) -> Iterator[str]:
        if not path.is_file():  # a broken link, a pipe, a device
            self.skipped["unreadable files"] += 1
            return
        suffix = path.suffix.lower()
        if suffix in _LINE_SUFFIXES:
            yield from self._json_lines(path)
            return
        try:
            with path.open("rb") as stream:
                content = stream.read(self._max_file_bytes)
                if stream.read(1):
                    self.skipped["rests of files that are too long"] += 1
                    content = _whole_lines(content)
        except OSError:
            self.skipped["unreadable files"] += 1
            return
        text = _decoded(content, suffix)
        if text is None:
            self.skipped["binary files or files not in UTF-8"] += 1
            return
        yield from self._texts_of_json(text) if suffix == ".json" else (text,)

    def _json_lines(self, path: Path) -> Iterator[str]:
        try:
            with path.open("rb") as stream:
                for line in stream:
                    text = None
                    with suppress(ValueError, RecursionError):
                        text = self._text_in(json.loads(line))
                    if text is not None:
                        yield text
                    elif line.strip():
                        self.skipped[f"lines without a {self._text_field!r} field"] += 1
        except OSError:
            self.skipped["unreadable files"] += 1

    def _texts_of_json(self, text: str) -> Iterator[str]:
        """The text fields of a JSON document; the document itself where it has none."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        items = data if isinstance(data, list) else [data]
        texts = [found for item in items if (found := self._text_in(item)) is not None]
        yield from texts or (text,)

    def _text_in(self, item: object) -> str | None:
        value = item.get(self._text_field) if isinstance(item, dict) else item
        return value if isinstance(value, str) else None


def _whole_lines(content: bytes) -> bytes:
    """``content`` without a last line that is not complete, unless it is all one line."""
    end = content.rfind(b"\n") + 1
    return content[:end] if end else content.decode("utf-8", "ignore").encode("utf-8")


def _decoded(content: bytes, suffix: str) -> str | None:
    """The text of a file, or None when it is binary or in an unknown encoding."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in content:
        return None
    else:
        encoding = "utf-8-sig"
        if suffix == ".py":  # Python sources may declare another encoding in their first two lines
            with suppress(SyntaxError):
                encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
    try:
        return content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _stdlib_folder() -> Path:
    folder = Path(sysconfig.get_path("stdlib"))
    if not (folder / "os.py").is_file():
        raise InputError(f"{PYTHON_STDLIB}: this Python has no standard library sources; give text files or folders")
    return folder


def _built_in_docstrings() -> Iterator[str]:
    """One document for each public module that is compiled into the interpreter: its docstrings."""
    for name in sorted(name for name in sys.builtin_module_names if not name.startswith("_")):
        module = import_module(name)
        parts = [f"{name}\n\n{inspect.getdoc(module) or ''}"]
        for member, value in sorted(vars(module).items()):
            documentation = inspect.getdoc(value) if callable(value) else None
            if documentation and not member.startswith("_"):
                parts.append(f"{name}.{member}\n\n{documentation}")
        yield "\n\n\n".join(parts) + "\n"
