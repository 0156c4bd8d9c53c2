"""Quantities with units."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from glmplan.units import (
    BYTES,
    BYTES_PER_S,
    FLOPS_PER_S,
    HERTZ,
    SECONDS,
    USD,
    USD_PER_HOUR,
    WATTS,
    Bytes,
    Dimension,
    exact_text,
    format_bytes,
    format_quantity,
    format_seconds,
    parse_quantity,
)

SI_UNIT = {
    "B": BYTES,
    "B/s": BYTES_PER_S,
    "FLOP/s": FLOPS_PER_S,
    "s": SECONDS,
    "W": WATTS,
    "USD": USD,
    "USD/h": USD_PER_HOUR,
    "Hz": HERTZ,
}


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("80 GiB", BYTES, 80 * 1024**3),
        ("80 GB", BYTES, 80e9),
        ("0 B", BYTES, 0.0),
        ("1.5kB", BYTES, 1500.0),
        ("400 Gbit/s", BYTES_PER_S, 50e9),
        ("200Gbps", BYTES_PER_S, 25e9),
        ("3.35 TB/s", BYTES_PER_S, 3.35e12),
        ("989 TFLOP/s", FLOPS_PER_S, 989e12),
        ("5 us", SECONDS, 5e-6),
        ("2 d", SECONDS, 172800.0),
        ("250,000 USD", USD, 250000.0),
        ("250_000 USD", USD, 250000.0),
        ("730 USD/month", USD_PER_HOUR, 1.0),
        ("1e-3 W", WATTS, 0.001),
        (".5 GHz", HERTZ, 5e8),
    ],
)
def test_a_quantity_is_read_in_si_units(text: str, dimension: Dimension, value: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    ["80", "", "GiB", "80 gib", "80 GB/s", "eighty GiB", "1,5 GiB", "1,50,000 B", "--1 B", "nan B", "inf B", "1 2 B"],
)
def test_text_without_a_number_and_a_known_unit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size with a unit, such as '80 GiB'; got"):
        parse_quantity(text, BYTES)


@pytest.mark.parametrize("value", [80, 80.0, None, True, ["80 GiB"]])
def test_a_bare_number_is_refused_because_its_unit_is_a_guess(value: Any) -> None:
    with pytest.raises(ValueError, match="with a unit"):
        parse_quantity(value, BYTES)


def test_negative_and_endless_quantities_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative; got '-1 GiB'"):
        parse_quantity("-1 GiB", BYTES)
    with pytest.raises(ValueError, match="must be finite; got '1e400 GiB'"):
        parse_quantity("1e400 GiB", BYTES)


@given(value=st.floats(0, 1e300, allow_nan=False), unit=st.sampled_from(sorted(SI_UNIT)))
def test_a_value_written_exactly_is_read_back_as_the_same_float(value: float, unit: str) -> None:
    assert parse_quantity(exact_text(value, unit), SI_UNIT[unit]) == value


@given(value=st.floats(1e-3, 1e18), binary=st.booleans())
def test_a_formatted_size_is_read_back_to_its_shown_digits(value: float, binary: bool) -> None:
    shown = format_quantity(value, "B", digits=6, binary=binary)
    assert parse_quantity(shown, BYTES) == pytest.approx(value, rel=1e-5)


@given(value=st.floats(1e-9, 1e8))
def test_a_formatted_duration_is_read_back_to_its_shown_digits(value: float) -> None:
    assert parse_quantity(format_seconds(value), SECONDS) == pytest.approx(value, rel=1e-3)


@given(value=st.floats(1, 1e15))
def test_the_number_before_a_decimal_prefix_is_between_one_and_a_thousand(value: float) -> None:
    number = float(format_quantity(value, "B").split()[0])
    assert 1 <= number <= 1000


def test_sizes_and_durations_read_as_people_write_them() -> None:
    assert format_bytes(80 * 2**30) == "80 GiB"
    assert format_bytes(0) == "0 B"
    assert [format_seconds(s) for s in (0.0, 3e-9, 2e-6, 0.0154, 12.0, 7200.0, 172800.0)] == [
        "0 s",
        "3 ns",
        "2 us",
        "15.4 ms",
        "12 s",
        "2 h",
        "2 d",
    ]


def test_a_document_field_reads_and_writes_its_unit() -> None:
    field = TypeAdapter(Bytes)
    assert field.validate_python("80 GiB") == 80 * 2**30
    assert math.isclose(field.validate_python(field.dump_python(1.25, mode="json")), 1.25)
    with pytest.raises(ValidationError):
        field.validate_python(80)
