"""NAME=VALUE as text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmplan.errors import InputError
from glmplan.search.setting import Setting, changed_value, factor_of, parse_settings


def value(text: str, before: float, unit: str = "", *, whole: bool = False) -> float:
    return changed_value(Setting(name="figure", text=text), before, unit, whole=whole)


@pytest.mark.parametrize(
    ("text", "before", "unit", "expected"),
    [
        ("+20%", 100.0, "", 120.0),
        ("-5 %", 100.0, "", 95.0),
        ("x1.5", 8.0, "", 12.0),
        ("*2", 8.0, "", 16.0),
        ("4 TB/s", 3.35e12, "B/s", 4e12),
        ("4TB/s", 3.35e12, "B/s", 4e12),
        ("400 Gbit/s", 1e10, "B/s", 5e10),
        ("+20%", 3e12, "B/s", 3.6e12),
        ("96 GiB", 80 * 2.0**30, "B", 96 * 2.0**30),
        ("0.3", 0.6, "", 0.3),
    ],
)
def test_a_value_is_absolute_with_its_unit_or_relative(text: str, before: float, unit: str, expected: float) -> None:
    assert value(text, before, unit) == pytest.approx(expected)


@given(st.floats(0.01, 90.0), st.floats(1e-6, 1e15))
def test_a_rise_and_a_fall_by_the_same_percentage_are_each_others_mirror(percent: float, before: float) -> None:
    up, down = value(f"+{percent:.6f}%", before), value(f"-{percent:.6f}%", before)
    assert up + down == pytest.approx(2 * before)
    assert down < before < up


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("4", "B/s", "expected a bandwidth with a unit, such as '3.35 TB/s' or '400 Gbit/s'; got '4'"),
        ("4 TB", "B/s", "expected a bandwidth with a unit"),
        ("nan", "", "must be above zero"),
        ("-100%", "", "must be above zero; got '-100%'"),
        ("0", "", "must be above zero"),
        ("x1e9", "", "must lie within a factor of 1,000 of 10"),
        ("fast", "", "expected a number, or a change such as +20% or x1.5; got 'fast'"),
    ],
)
def test_what_is_no_value_is_named_with_what_would_be_right(text: str, unit: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"--set: figure: {message}")):
        value(text, 10.0, unit)


def test_a_count_stays_whole() -> None:
    assert value("x2", 8, whole=True) == 16
    with pytest.raises(InputError, match=re.escape("must be a whole number; 'x1.1' gives 8.8")):
        value("x1.1", 8, whole=True)


def test_an_absolute_value_is_no_factor() -> None:
    assert factor_of("4 TB/s") is None
    assert factor_of("1.5") is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["foo"], "expected NAME=VALUE"),
        (["=4"], "expected NAME=VALUE"),
        (["a="], "expected NAME=VALUE"),
        (["a=1", " a =2"], "a is given twice"),
    ],
)
def test_settings_are_pairs_given_once(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_settings(texts)
