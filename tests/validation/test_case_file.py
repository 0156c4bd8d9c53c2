"""Reading measurement files."""

import gzip
import json
from pathlib import Path

import pytest

from glmplan.errors import DocumentError, InputError
from glmplan.validation.case_file import PlacedMeasurement, case_files, read_cases
from tests.validation.records import record, write_lines


def test_every_published_line_is_a_case_with_a_unique_id_and_a_source(published: tuple[PlacedMeasurement, ...]) -> None:
    assert len(published) == 1819
    assert len({item.measurement.id for item in published}) == 1819
    assert all(item.measurement.source["title"] and item.measurement.source["ref"] for item in published)


def test_fields_that_the_format_does_not_know_are_left_out(tmp_path: Path) -> None:
    data = record(weather="fine", measured__colour="red", fp8_recipe=None) | {"cuda_graph": None}
    case = read_cases([write_lines(tmp_path / "c.jsonl", data)])[0]
    assert case.measurement.measured.step_time_s == 1.0
    assert case.place.endswith("c.jsonl:1")


def test_a_gzip_file_and_a_run_folder_are_read_like_a_plain_file(tmp_path: Path) -> None:
    text = json.dumps(record()) + "\n"
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as stream:
        stream.write(text)
    run = tmp_path / "run"
    run.mkdir()
    (run / "measurement.json").write_text(json.dumps(record(), indent=2))
    cases = read_cases(case_files([str(tmp_path / "c.jsonl.gz"), str(run)]))
    assert cases[0].measurement == cases[1].measurement


def test_a_folder_without_a_measurement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no measurement\.json in this folder"):
        case_files([str(tmp_path)])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_cases([tmp_path / "none.jsonl"])


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match="holds no case"):
        read_cases([tmp_path / "c.jsonl"])


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps(record()).encode())[:-12])
    with pytest.raises(InputError, match="cannot be read as gzip"):
        read_cases([tmp_path / "c.jsonl.gz"])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('{"id": "a", ', "not JSON"),
        ("NaN", "NaN is not a finite number"),
        (json.dumps(record()).replace("1.0}", "NaN}"), "NaN is not a finite number"),
        (json.dumps(record()).replace("1.0}", "1e999}"), "1e999 is not a finite number"),
        (json.dumps(record(id=None)), "id: missing"),
        (json.dumps(record(measured__step_time_s=-1.0)), "measured.step_time_s: input should be greater than 0"),
        (json.dumps(record(model=None)), "model: missing"),
        ("[1, 2]", "expected a JSON object"),
        ('{"id": "a", "id": "b"}', "given twice"),
    ],
)
def test_a_broken_line_is_named_with_its_number(tmp_path: Path, broken: str, reason: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(record()) + "\n" + broken + "\n")
    with pytest.raises(DocumentError) as caught:
        read_cases([path])
    assert f"{path}:2: " in str(caught.value)
    assert reason in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_broken_lines_are_reported_at_once_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("x\n" * 30)
    with pytest.raises(DocumentError) as caught:
        read_cases([path])
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[0].startswith(f"{path}:1: ")
    assert lines[-1].endswith("and 10 faults more")
