"""Reads cases: measurements with where they stand. Files of one JSON object a line (plain or gzip), single records,
run folders. What a case means is in ``case``; a broken file is refused with every fault and its line.
"""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glmplan.documents import MAX_DOCUMENT_BYTES, faults_of, parse_json, read_text
from glmplan.errors import DocumentError, Fault, InputError
from glmplan.plan.measurement import MeasuredValues, Measurement

PUBLISHED = "published"
"""The name of the cases that ship with the package."""
_MAX_FAULTS = 20
_KNOWN = frozenset(Measurement.model_fields)
_KNOWN_VALUES = frozenset(MeasuredValues.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedMeasurement:
    """A measurement and the file and line it was read from."""

    measurement: Measurement
    place: str


def case_files(names: Sequence[str]) -> list[Path]:
    """The files that ``names`` mean: a path, a run folder (its ``measurement.json``), or ``published``.

    Raises InputError for a folder without a measurement.
    """
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        if name == PUBLISHED and not path.exists():
            paths += sorted((Path(__file__).parent / "cases").glob("*.jsonl*"))
        elif path.is_dir():
            if not (path / "measurement.json").is_file():
                raise InputError(
                    f"{path}: no measurement.json in this folder; give a run folder, a .jsonl file or '{PUBLISHED}'"
                )
            paths.append(path / "measurement.json")
        else:
            paths.append(path)
    return paths


def read_cases(paths: Sequence[Path]) -> tuple[PlacedMeasurement, ...]:
    """All measurements of ``paths``, in order.

    Foreign fields are left out. Raises DocumentError with every fault of the first broken file, InputError when a
    file cannot be read or holds no case.
    """
    return tuple(case for path in paths for case in _read(path))


def _read(path: Path) -> list[PlacedMeasurement]:
    cases: list[PlacedMeasurement] = []
    faults: list[Fault] = []
    for line, text in _records(path):
        try:
            cases.append(_case(text, str(path), line))
        except DocumentError as error:
            faults += error.faults
    if faults:
        more = len(faults) - _MAX_FAULTS
        shown = faults[:_MAX_FAULTS] + ([Fault(field="", reason=f"and {more} faults more")] if more > 0 else [])
        raise DocumentError(str(path), shown)
    if not cases:
        raise InputError(f"{path}: holds no case; expected one JSON object a line")
    return cases


def _records(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of each record: the whole file for ``.json``, else every line that is not blank."""
    text = _gzip_text(path) if path.suffix == ".gz" else read_text(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        yield 1, text
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _gzip_text(path: Path) -> str:
    try:
        with gzip.open(path, "rb") as stream:
            content = stream.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as gzip: {str(error).lower()}") from None
    if len(content) > MAX_DOCUMENT_BYTES:
        raise InputError(f"{path}: larger than {MAX_DOCUMENT_BYTES // 2**20} MiB when unpacked")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _case(text: str, name: str, line: int) -> PlacedMeasurement:
    try:
        data = parse_json(text, name).data
    except DocumentError as error:
        offset = line - 1
        raise DocumentError(
            name, [Fault(field=f.field, reason=f.reason, line=(f.line or 1) + offset) for f in error.faults]
        ) from None
    try:
        measurement = Measurement.model_validate(_known_fields(data))
    except ValidationError as error:
        faults = [Fault(field=f.field, reason=f.reason, line=line) for f in faults_of(error, {}, ())]
        raise DocumentError(name, faults) from None
    return PlacedMeasurement(measurement=measurement, place=f"{name}:{line}")


def _known_fields(data: dict[str, Any]) -> dict[str, Any]:
    """``data`` without what this format does not know and without nulls, which mean "not stated"."""
    known = {key: value for key, value in data.items() if key in _KNOWN and value is not None}
    if isinstance(known.get("measured"), dict):
        values = {key: value for key, value in known["measured"].items() if key in _KNOWN_VALUES}
        known["measured"] = {key: value for key, value in values.items() if value is not None}
    for section in ("model", "hardware", "layout"):
        if isinstance(known.get(section), dict):
            known[section] = {key: value for key, value in known[section].items() if value is not None}
    return known
