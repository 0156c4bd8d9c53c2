"""How results look."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.cli.terminal import note, print_json, print_table

CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


def test_text_keeps_every_cell_whole_however_wide(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "x" * 300
    print_table(("name", "value"), [(wide, "1"), ("b", "22")], "text", "a title")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "a title"
    assert any(wide in line and " 1" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_numbers_stand_on_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "value"), [("a", "1.5"), ("b", "220.25")], "text")
    rows = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()[:2] in ("a ", "b ")]
    assert len(rows) == 2
    assert len(rows[0]) == len(rows[1])


def test_brackets_are_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [("[red]x[/red]",), ("[/]",)], "text")
    assert "[red]x[/red]" in capsys.readouterr().out


def test_markdown_escapes_its_own_bars(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [("1|2", "3")], "md", "title")
    assert capsys.readouterr().out == "**title**\n\n| a | b |\n|---|---|\n| 1\\|2 | 3 |\n"


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_csv_is_read_back_cell_by_cell(rows: list[tuple[str, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stream = io.StringIO()
        patch.setattr("sys.stdout", stream)
        print_table(("a", "b"), rows, "csv")
    read = list(csv.reader(io.StringIO(stream.getvalue())))
    assert read[0] == ["a", "b"]
    assert [[cell.removeprefix("'") for cell in row] for row in read[1:]] == [
        [cell.removeprefix("'") for cell in row] for row in rows
    ]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        ("+a", "'+a"),
        ("-5", "-5"),
        ("-5 %", "'-5 %"),
        ("+1.5", "+1.5"),
        ("plain", "plain"),
    ],
)
def test_a_spreadsheet_does_not_take_a_cell_for_a_formula(
    capsys: pytest.CaptureFixture[str], cell: str, written: str
) -> None:
    print_table(("a",), [(cell,)], "csv")
    assert capsys.readouterr().out.splitlines()[1] == written


def test_json_is_json_and_notes_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"ü": [1, 2.5, None]})
    note("a note")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ü": [1, 2.5, None]}
    assert captured.err == "a note\n"
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json({"a": float("inf")})
