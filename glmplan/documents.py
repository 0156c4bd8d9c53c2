"""Reads and writes YAML and JSON documents.

Reading refuses what would be silently wrong (duplicate keys, non-finite numbers, huge or deeply nested files, YAML
anchors that expand) and reports every fault with file, line and field path. Writing is atomic: beside, then rename.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from glmplan.errors import DocumentError, Fault, InputError

MAX_DOCUMENT_BYTES = 64 * 2**20
MAX_DEPTH = 40
MAX_SHOWN = 200
"""Characters of a wrong value that a message repeats."""

Json = dict[str, Any]
ModelT = TypeVar("ModelT", bound=BaseModel)
Lines = Mapping[tuple[str | int, ...], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed document with what an error message needs."""

    name: str
    data: Any
    lines: Lines
    """Field path -> line number, where the format tells."""


def read_text(path: Path) -> str:
    """The text of ``path``. Raises InputError when it cannot be read, is too large, or is not UTF-8."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; expected a file")
        with path.open("rb") as stream:
            content = stream.read(MAX_DOCUMENT_BYTES + 1)
        if len(content) > MAX_DOCUMENT_BYTES:
            raise InputError(f"{path}: larger than {MAX_DOCUMENT_BYTES // 2**20} MiB; expected a document")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:  # a path with a null byte
        raise InputError(f"{str(path)!r}: {error}") from None


def read_yaml(path: Path) -> Document:
    """The document in ``path``. Raises DocumentError when it is no plain YAML mapping."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, name: str) -> Document:
    """``text`` as a document called ``name`` in messages. Raises DocumentError."""
    try:
        node = yaml.compose(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise DocumentError(name, [Fault(field="", reason=f"not YAML: {error.problem}", line=line)]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = f"not YAML: {str(error).splitlines()[0]}"
        raise DocumentError(name, [Fault(field="", reason=reason)]) from None
    if node is None:
        raise DocumentError(name, [Fault(field="", reason="empty; expected a mapping")])
    lines: dict[tuple[str | int, ...], int] = {}
    faults: list[Fault] = []
    data = _plain(node, (), lines, faults)
    if faults:
        raise DocumentError(name, faults)
    if not isinstance(data, dict):
        raise DocumentError(name, [Fault(field="", reason="expected a mapping of fields", line=1)])
    return Document(name=name, data=data, lines=lines)


class _PlainLoader(yaml.SafeLoader):
    """Refuses anchors: nothing here needs them, and they are how a small file becomes a large one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases (*name) are not allowed here", event)
        depth = self._depth = getattr(self, "_depth", 0) + 1
        if depth > MAX_DEPTH:
            raise _refused(f"nested deeper than {MAX_DEPTH} levels", event)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _refused(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]


def _plain(
    node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], faults: list[Fault]
) -> Any:
    line = node.start_mark.line + 1
    lines[path] = line
    if isinstance(node, yaml.MappingNode):
        result: Json = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                faults.append(
                    Fault(field=field_path((*path, key)), reason="given twice", line=key_node.start_mark.line + 1)
                )
                continue
            result[key] = _plain(value_node, (*path, key), lines, faults)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines, faults) for index, item in enumerate(node.value)]
    constructor = yaml.SafeLoader("")
    try:
        value = constructor.construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError):
        faults.append(Fault(field=field_path(path), reason=f"cannot read {node.value!r}", line=line))
        return None
    if hasattr(value, "isoformat") or isinstance(value, bytes):
        return node.value  # dates stay the text they were written as
    if isinstance(value, float) and not math.isfinite(value):
        faults.append(Fault(field=field_path(path), reason=f"must be a finite number; got {node.value}", line=line))
    return value


def read_json(path: Path) -> Document:
    """The JSON object in ``path``. Raises DocumentError for truncated, duplicated or non-finite content."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, name: str) -> Document:
    """``text`` as a JSON document called ``name`` in messages. Raises DocumentError."""

    def finite(token: str) -> float:
        value = float(token)
        if not math.isfinite(value):
            raise ValueError(f"{token} is not a finite number")
        return value

    def unique(pairs: list[tuple[str, Any]]) -> Json:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"field {twice!r} is given twice")
        return result

    try:
        data = json.loads(text, parse_constant=finite, parse_float=finite, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated")
        reason = f"not JSON: {error.msg[0].lower()}{error.msg[1:]}{' (truncated file?)' if cut else ''}"
        raise DocumentError(name, [Fault(field="", reason=reason, line=error.lineno)]) from None
    except (ValueError, RecursionError) as error:
        raise DocumentError(name, [Fault(field="", reason=f"not JSON: {error}")]) from None
    if not isinstance(data, dict):
        raise DocumentError(name, [Fault(field="", reason="expected a JSON object")])
    return Document(name=name, data=data, lines={})


def check(model: type[ModelT], document: Document, at: tuple[str | int, ...] = ()) -> ModelT:
    """``document.data`` as ``model``. Raises DocumentError with all faults; ``at`` is where the data stands."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise DocumentError(document.name, faults_of(error, document.lines, at)) from None


def faults_of(error: ValidationError, lines: Lines, at: tuple[str | int, ...] = ()) -> list[Fault]:
    """Every fault that pydantic found, with the field path and line in the user's file."""
    faults = []
    for item in error.errors(include_url=False):
        where = (*at, *(part for part in item["loc"] if _is_field(part)))
        line = next((lines[where[:end]] for end in range(len(where), -1, -1) if where[:end] in lines), None)
        faults.append(Fault(field=field_path(where), reason=_reason(item), line=line))
    return faults


def _is_field(part: str | int) -> bool:
    """False for the names pydantic adds for union branches and validators."""
    return isinstance(part, int) or not (part.startswith(("function-", "lax-or-strict", "is-instance")) or "[" in part)


def _reason(item: Any) -> str:
    kind, given = item["type"], item.get("input")
    if kind == "missing":
        return "missing; it must be given"
    if kind == "extra_forbidden":
        return "unknown field; remove it or correct its name"
    message = str(item["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "value_error" or isinstance(given, (dict, list)):
        return message
    return f"{message}; got {_short(given)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def field_path(parts: tuple[str | int, ...]) -> str:
    """``("gpus", 0, "name")`` as ``gpus[0].name``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def json_text(data: Any) -> str:
    """``data`` as JSON that is the same bytes for the same content. Raises ValueError on NaN and infinities."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def yaml_text(data: Any, header: str = "") -> str:
    """``data`` as YAML in its own key order; ``header`` becomes comment lines on top."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return comment + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` beside ``path``, then renames: a reader sees the old file or the new one, never a part.

    Links are followed; devices and pipes are written to as they are.
    Raises InputError when the place cannot be written to.
    """
    _write(path, lambda stream: stream.write(text.encode("utf-8")))


def write_bytes(path: Path, content: bytes) -> None:
    """Like ``write_text``, for bytes."""
    _write(path, lambda stream: stream.write(content))


def _write(path: Path, fill: Callable[[Any], object]) -> None:
    target, temporary = Path(os.path.realpath(path)), None
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            with target.open("wb") as stream:  # a device or pipe, such as /dev/stdout, is written to, never replaced
                fill(stream)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:64]}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            fill(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
        temporary = None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal: what provenance records."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
