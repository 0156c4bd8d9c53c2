"""``NAME=VALUE``: a change to one figure, absolute with its unit or relative to what it is, as text and as a number."""

import difflib
import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from glmplan.errors import InputError
from glmplan.units import (
    BYTES,
    BYTES_PER_S,
    FLOPS_PER_S,
    SECONDS,
    USD_PER_HOUR,
    format_bytes,
    format_quantity,
    format_seconds,
    parse_quantity,
)

DIMENSIONS = {"B": BYTES, "B/s": BYTES_PER_S, "FLOP/s": FLOPS_PER_S, "s": SECONDS, "USD/h": USD_PER_HOUR}
"""SI unit -> what a value of it may be written as."""
LARGEST_FACTOR = 1000.0
"""Further away than this from what a figure is, nothing that was measured says anything."""
_PERCENT = re.compile(r"^([+-])\s*([0-9]*\.?[0-9]+)\s*%$")
_TIMES = re.compile(r"^[x*×]\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One change as the user wrote it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change as it was understood, for people."""

    name: str
    before: str
    after: str
    assumption: str = ""
    """What is taken for granted with it."""


def parse_settings(texts: Collection[str]) -> list[Setting]:
    """The settings in ``texts``. Raises InputError for a missing sign of equality or a name that is given twice."""
    settings: list[Setting] = []
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise InputError(f"--set: expected NAME=VALUE, such as device.memory_bandwidth=+20%; got {text!r}")
        if any(name == other.name for other in settings):
            raise InputError(f"--set: {name} is given twice; give it once")
        settings.append(Setting(name=name, text=value))
    return settings


def unknown(name: str, known: Collection[str]) -> InputError:
    """The error for a name that is not ``known``, with the nearest or all of its kind."""
    near = difflib.get_close_matches(name, known, n=3)
    kind = name.split(".")[0]
    listed = [other for other in known if other.split(".")[0] == kind] or list(known)
    hint = f"did you mean {' or '.join(near)}? The names are" if near else "the names are"
    return InputError(f"--set: no figure {name!r}; {hint} {', '.join(listed)}")


def factor_of(text: str) -> float | None:
    """What ``+20%``, ``-5 %``, ``x1.5`` or ``*2`` multiplies by; None for an absolute value.

    >>> factor_of("+20%"), factor_of("x1.5"), factor_of("4 TB/s")
    (1.2, 1.5, None)
    """
    if match := _PERCENT.match(text):
        return 1.0 + float(f"{match[1]}{match[2]}") / 100.0
    if match := _TIMES.match(text):
        return float(match[1])
    return None


def changed_value(setting: Setting, before: float, unit: str = "", *, whole: bool = False, near: bool = True) -> float:
    """The figure's new value in the SI ``unit``; without one it is a plain number. ``near``: within LARGEST_FACTOR.

    Raises InputError where the text is not a value of this kind, not above zero, or out of all proportion.
    """
    factor = factor_of(setting.text)
    if factor is not None:
        value = before * factor
    elif unit:
        try:
            value = parse_quantity(setting.text, DIMENSIONS[unit])
        except ValueError as error:
            raise InputError(f"--set: {setting.name}: {error}, or a change such as +20% or x1.5") from None
    else:
        try:
            value = float(setting.text)
        except ValueError:
            kind = "a whole number" if whole else "a number"
            raise InputError(
                f"--set: {setting.name}: expected {kind}, or a change such as +20% or x1.5; got {setting.text!r}"
            ) from None
    if not math.isfinite(value) or value <= 0:
        raise InputError(f"--set: {setting.name}: must be above zero; got {setting.text!r}")
    if near and not 1 / LARGEST_FACTOR <= value / before <= LARGEST_FACTOR:
        raise InputError(
            f"--set: {setting.name}: must lie within a factor of {LARGEST_FACTOR:,.0f} of"
            f" {figure_text(before, unit)}; got {setting.text!r}"
        )
    if whole and abs(value - round(value)) > 1e-6:
        raise InputError(f"--set: {setting.name}: must be a whole number; {setting.text!r} gives {value:g}")
    return float(round(value)) if whole else value


def figure_text(value: float, unit: str = "") -> str:
    """A figure for people."""
    match unit:
        case "B":
            return format_bytes(value)
        case "s":
            return format_seconds(value)
        case "USD/h":
            return f"{value:,.4g} USD/h"
        case "":
            return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return format_quantity(value, unit)
