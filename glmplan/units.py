"""Quantities with units: text at the edges, SI floats inside. The only place where a scale factor stands.

``parse_quantity("80 GiB", BYTES)`` gives ``85899345920.0``; ``Bytes`` and its siblings are the pydantic
types that call it, so that a document field ``memory: 80 GiB`` is a float in bytes in Python.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_COUNTS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
# A comma only separates thousands: "1,5 GiB" is refused, not read as 15 GiB.
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9][0-9_]*)"
_PATTERN = re.compile(rf"^\s*([+-]?{_WHOLE}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|[+-]?\.[0-9]+)\s*(\S.*?)?\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One kind of quantity and the units it may be written in."""

    name: str
    """With its article, as an error message needs it: "a size"."""
    scales: Mapping[str, float]
    """Unit as written -> factor to the SI unit."""
    example: str
    allow_negative: bool = False


def _scaled(unit: str, prefixes: Mapping[str, float], factor: float = 1.0) -> dict[str, float]:
    return {f"{prefix}{unit}": scale * factor for prefix, scale in prefixes.items()}


_BYTE_SCALES = _scaled("B", _DECIMAL) | _scaled("B", _BINARY)
BYTES = Dimension(name="a size", scales=_BYTE_SCALES, example="80 GiB")
BYTES_PER_S = Dimension(
    name="a bandwidth",
    scales={f"{unit}/s": scale for unit, scale in _BYTE_SCALES.items()}
    | _scaled("bit/s", _DECIMAL, 1 / 8)
    | _scaled("bps", _DECIMAL, 1 / 8),
    example="3.35 TB/s' or '400 Gbit/s",
)
FLOPS_PER_S = Dimension(
    name="a compute rate",
    scales=_scaled("FLOP/s", _DECIMAL) | _scaled("OP/s", _DECIMAL),
    example="989 TFLOP/s",
)
SECONDS = Dimension(
    name="a duration",
    scales={"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
    example="5 us",
)
WATTS = Dimension(name="a power", scales=_scaled("W", _DECIMAL), example="700 W")
USD = Dimension(name="an amount of money", scales={"USD": 1.0, "kUSD": 1e3, "MUSD": 1e6}, example="250000 USD")
USD_PER_HOUR = Dimension(
    name="a price per hour", scales={"USD/h": 1.0, "USD/hour": 1.0, "USD/month": 1 / 730.0}, example="2.50 USD/h"
)
HERTZ = Dimension(name="a frequency", scales=_scaled("Hz", _DECIMAL), example="1.41 GHz")


def parse_quantity(text: object, dimension: Dimension) -> float:
    """The value of ``text`` in SI units.

    Raises ValueError when the text is not a number with one of the dimension's units, is not finite, or is negative
    where that has no meaning. A bare number is refused: which unit it means is just what goes wrong.

    >>> parse_quantity("400 Gbit/s", BYTES_PER_S)
    50000000000.0
    """
    expected = f"expected {dimension.name} with a unit, such as '{dimension.example}'; got {text!r}"
    if not isinstance(text, str):
        raise ValueError(expected)
    match = _PATTERN.match(text)
    if match is None or (unit := match.group(2) or "") not in dimension.scales:
        raise ValueError(expected)
    value = float(match.group(1).replace(",", "").replace("_", "")) * dimension.scales[unit]
    if not math.isfinite(value):
        raise ValueError(f"must be finite; got {text!r}")
    if value < 0 and not dimension.allow_negative:
        raise ValueError(f"must not be negative; got {text!r}")
    return value


def parse_count(text: str) -> float:
    """A number that may end in K, M, B or T, such as ``300B`` or ``15T``. Raises ValueError.

    >>> parse_count("15T")
    15000000000000.0
    """
    number, scale = (text[:-1], _COUNTS[text[-1].upper()]) if text[-1:].upper() in _COUNTS else (text, 1.0)
    try:
        return float(number) * scale
    except ValueError:
        raise ValueError(f"expected a number such as 300B or 15T; got {text!r}") from None


def format_quantity(value: float, unit: str, *, digits: int = 4, binary: bool = False) -> str:
    """``value`` (SI) with the prefix that keeps the number between 1 and 1000 (or 1024).

    >>> format_quantity(85899345920, "B", binary=True)
    '80 GiB'
    >>> format_quantity(3.35e12, "B/s")
    '3.35 TB/s'
    """
    prefixes = {"": 1.0, **_BINARY} if binary else _DECIMAL
    scale_name, scale = "", 1.0
    for name, factor in prefixes.items():
        if abs(value) >= factor:
            scale_name, scale = name, factor
    return f"{value / scale:.{digits}g} {scale_name}{unit}"


def format_bytes(value: float) -> str:
    """Bytes in binary units, the way memory is sold: ``80 GiB``."""
    return format_quantity(value, "B", binary=True)


def format_seconds(value: float) -> str:
    """A duration in the unit that reads best, from ``ns`` to days."""
    if value >= 172800:
        return f"{value / 86400:.4g} d"
    if value >= 7200:
        return f"{value / 3600:.4g} h"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.4g} {unit}"
    return f"{value / 1e-9:.4g} ns" if value else "0 s"


def exact_text(value: float, unit: str) -> str:
    """``value`` with a bare SI unit and every digit, so that parsing it gives the same float back."""
    return f"{value!r} {unit}"


def _quantity(dimension: Dimension, unit: str) -> tuple[BeforeValidator, PlainSerializer, WithJsonSchema]:
    units = "|".join(re.escape(name) for name in sorted(dimension.scales, key=len, reverse=True))
    return (
        BeforeValidator(lambda value: parse_quantity(value, dimension)),
        PlainSerializer(lambda value: exact_text(value, unit), return_type=str),
        WithJsonSchema(
            {
                "type": "string",
                "pattern": rf"^\s*[+]?{_WHOLE}(\.[0-9]+)?([eE][+-]?[0-9]+)?\s*({units})\s*$",
                "examples": dimension.example.split("' or '"),
            }
        ),
    )


Bytes = Annotated[float, *_quantity(BYTES, "B")]
BytesPerSecond = Annotated[float, *_quantity(BYTES_PER_S, "B/s")]
FlopsPerSecond = Annotated[float, *_quantity(FLOPS_PER_S, "FLOP/s")]
Seconds = Annotated[float, *_quantity(SECONDS, "s")]
Watts = Annotated[float, *_quantity(WATTS, "W")]
Usd = Annotated[float, *_quantity(USD, "USD")]
UsdPerHour = Annotated[float, *_quantity(USD_PER_HOUR, "USD/h")]
