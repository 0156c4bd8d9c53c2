"""Reading, checking and writing documents."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from glmplan import documents
from glmplan.documents import (
    MAX_DEPTH,
    check,
    field_path,
    json_text,
    parse_json,
    parse_yaml,
    read_json,
    read_text,
    read_yaml,
    sha256,
    write_bytes,
    write_text,
    yaml_text,
)
from glmplan.errors import DocumentError, InputError

KEYS = st.text("abcdefghij_", min_size=1, max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
)
DATA = st.dictionaries(
    KEYS, st.recursive(SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(KEYS, x), max_leaves=8)
)


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(gt=0)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    parts: list[Inner] = []


@settings(max_examples=40)
@given(data=DATA)
def test_json_written_is_the_same_json_read(data: dict[str, object]) -> None:
    assert parse_json(json_text(data), "x").data == data


@settings(max_examples=40)
@given(data=DATA.filter(bool))
def test_yaml_written_is_the_same_yaml_read(data: dict[str, object]) -> None:
    assert parse_yaml(yaml_text(data, "a comment\nof two lines"), "x").data == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "field 'a' is given twice"),
        ('{"a": {"b": NaN}}', "NaN is not a finite number"),
        ('{"a": -Infinity}', "-Infinity is not a finite number"),
        ('{"a": 1e999}', "1e999 is not a finite number"),
        ('{"a": [1, 2', "truncated file?"),
        ('{"a": ', "truncated file?"),
        ('{"a" 1}\n', "not JSON: expecting ':' delimiter"),
        ("[1, 2]", "expected a JSON object"),
        ("", "not JSON"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON: maximum recursion depth"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON: Exceeds the limit"),
    ],
)
def test_json_that_would_be_silently_wrong_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=r"^plan\.json") as caught:
        parse_json(text, "plan.json")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a: given twice"),
        ("a:\n  b: 1\n  b: 2\n", "f.yaml:3: a.b: given twice"),
        ("a: &x [1]\nb: *x\n", "f.yaml:2: not YAML: aliases (*name) are not allowed here"),
        ("a: .inf\n", "f.yaml:1: a: must be a finite number; got .inf"),
        ("a: .nan\n", "f.yaml:1: a: must be a finite number; got .nan"),
        ("a: " + "[" * 60 + "]" * 60, f"f.yaml:1: not YAML: nested deeper than {MAX_DEPTH} levels"),
        ("- 1\n- 2\n", "f.yaml:1: expected a mapping of fields"),
        ("", "f.yaml: empty; expected a mapping"),
        ("# only a comment\n", "f.yaml: empty; expected a mapping"),
        ("a: [1, 2\nb: 3\n", "f.yaml:2: not YAML: expected ',' or ']'"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: not YAML: but found another document"),
        ("a: !!python/object:os.system x\n", "cannot read"),
        ("a: 2020-99-99\n", "cannot read '2020-99-99'"),
        ("a: \x07\n", "not YAML"),
    ],
)
def test_yaml_that_would_be_silently_wrong_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text, "f.yaml")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_dates_stay_the_text_that_was_written() -> None:
    assert parse_yaml("a: 2024-05-01\n", "x").data == {"a": "2024-05-01"}


def test_all_faults_of_a_document_come_at_once_with_their_lines() -> None:
    text = "nam: x\nparts:\n  - size: 1\n  - size: -3\n  - {}\n"
    with pytest.raises(DocumentError) as caught:
        check(Outer, parse_yaml(text, "f.yaml"))
    assert str(caught.value).splitlines() == [
        "f.yaml:1: name: missing; it must be given",
        "f.yaml:4: parts[1].size: input should be greater than 0; got -3",
        "f.yaml:5: parts[2].size: missing; it must be given",
        "f.yaml:1: nam: unknown field; remove it or correct its name",
    ]


def test_a_message_does_not_repeat_a_huge_value_whole() -> None:
    with pytest.raises(DocumentError) as caught:
        check(Inner, parse_json(json_text({"size": "x" * 100_000}), "f.json"))
    assert len(str(caught.value)) < 500


def test_a_field_path_reads_as_in_the_file() -> None:
    assert field_path(("gpus", 0, "name")) == "gpus[0].name"
    assert field_path(()) == ""


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}')
    assert read_json(path).data == {"a": 1}


def test_files_that_are_no_text_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary, huge = tmp_path / "binary.yaml", tmp_path / "huge.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    huge.write_bytes(b"a: 1\n" * 1000)
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 4096)
    for path, message in (
        (binary, "binary.yaml: not UTF-8 text (byte 3)"),
        (huge, "huge.yaml: larger than 0 MiB; expected a document"),
        (tmp_path, "is a folder; expected a file"),
        (tmp_path / "none.yaml", "none.yaml: no such file or directory"),
        (tmp_path / ("x" * 300), "file name too long"),
        (Path("a\0b.yaml"), "embedded null byte"),
        (Path("/dev/zero"), "larger than"),
    ):
        with pytest.raises(InputError) as caught:
            read_yaml(path)
        assert message in str(caught.value)


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "plan.json"
    write_text(path, "old")
    write_text(path, "nëw")
    assert path.read_text(encoding="utf-8") == "nëw"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["plan.json"]
    write_bytes(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"


@pytest.mark.parametrize("fails", ["fsync", "fdopen"])
def test_the_old_file_stays_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    path = tmp_path / "plan.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(InputError, match=r"plan.json: cannot be written: no space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


def test_a_place_that_cannot_hold_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "plan.json", tmp_path, Path("/proc/plan.json")):
        with pytest.raises(InputError, match="cannot be written"):
            write_text(path, "new")


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join()
    assert received == ["through"]
    assert pipe.is_fifo()


def test_content_has_a_fingerprint(tmp_path: Path) -> None:
    """SHA-256 of "abc": FIPS 180-4, example of appendix B.1 of the earlier edition."""
    path = tmp_path / "abc"
    write_text(path, "abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert read_text(path) == "abc"


def test_json_refuses_to_write_what_it_could_not_read() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"a": float("nan")})
    assert json.loads(json_text({"ü": 1})) == {"ü": 1}
