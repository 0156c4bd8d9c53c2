"""Measurements: one JSON object a line."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from glmplan.plan.measurement import MeasuredValues, Measurement, measurement_line, write_measurement


def measurement(**fields: Any) -> Measurement:
    plain: dict[str, Any] = {
        "id": "own-1",
        "source": {"title": "a run"},
        "software": "glmplan",
        "model": {"name": "tiny"},
        "hardware": {"gpu": "cpu", "gpus": 1},
        "layout": {"dp": 1},
        "measured": {"step_time_s": 0.5},
    }
    return Measurement.model_validate(plain | fields)


def test_a_measurement_is_one_line_without_absent_fields(tmp_path: Path) -> None:
    line = measurement_line(measurement(notes="two\nlines"))
    assert line.count("\n") == 1
    assert line.endswith("\n")
    data = json.loads(line)
    assert "seq_len" not in data
    assert data["measured"] == {"step_time_s": 0.5}
    assert Measurement.model_validate(data) == measurement(notes="two\nlines")
    write_measurement(measurement(), tmp_path / "measurement.json")
    assert (tmp_path / "measurement.json").read_text() == measurement_line(measurement())


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"measured": {"step_time_s": 0}},
        {"measured": {"step_time_s": -1}},
        {"measured": {"speed": 1}},
        {"x": 1},
    ],
)
def test_impossible_measurements_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        measurement(**fields)


def test_a_measurement_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least one"):
        MeasuredValues()
    with pytest.raises(ValidationError):
        MeasuredValues(step_time_s=float("inf"))
