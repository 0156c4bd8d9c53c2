"""A fact: a value with its unit, its source and how it was learnt. Every number of a profile is one."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from glmplan import units
from glmplan.units import Bytes, BytesPerSecond, FlopsPerSecond, Seconds, Usd, UsdPerHour, Watts

How = Literal["measured", "read", "derived", "recalled", "assumed"]
"""How a value was learnt, surest first. ``recalled``: a vendor's known figure that was not read again."""

DIMENSIONS = (
    units.BYTES,
    units.BYTES_PER_S,
    units.FLOPS_PER_S,
    units.SECONDS,
    units.WATTS,
    units.USD,
    units.USD_PER_HOUR,
    units.HERTZ,
)

ValueT = TypeVar("ValueT")


class Record(BaseModel):
    """Frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Record):
    """Where a fact comes from."""

    title: str = Field(min_length=1)
    url: str | None = None
    licence: str | None = None
    note: str = ""


class Fact(Record, Generic[ValueT]):
    """One value and its source."""

    value: ValueT
    source: str = Field(min_length=1)
    """A key of the file's own ``sources``, or of ``hardware_profiles/sources.yaml``."""
    how: How = "read"
    note: str = ""
    """Conditions, doubts, other values in circulation."""


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be greater than zero; got 0")
    return value


_Positive = AfterValidator(_positive)


class SizeFact(Fact[Annotated[Bytes, _Positive]]):
    """Bytes, written like ``80 GiB``."""


class BandwidthFact(Fact[Annotated[BytesPerSecond, _Positive]]):
    """Bytes per second in one direction, written like ``450 GB/s`` or ``400 Gbit/s``."""


class ComputeRateFact(Fact[Annotated[FlopsPerSecond, _Positive]]):
    """Operations per second, written like ``989 TFLOP/s``."""


class DurationFact(Fact[Annotated[Seconds, _Positive]]):
    """Seconds, written like ``5 us``."""


class PowerFact(Fact[Annotated[Watts, _Positive]]):
    """Watts, written like ``700 W``."""


class MoneyFact(Fact[Annotated[Usd, _Positive]]):
    """US dollars, written like ``300000 USD``."""


class HourlyPriceFact(Fact[Annotated[UsdPerHour, _Positive]]):
    """US dollars per hour, written like ``55.04 USD/h``."""


class CountFact(Fact[Annotated[int, Field(gt=0)]]):
    """A number of things."""


class RatioFact(Fact[Annotated[float, Field(gt=0)]]):
    """A ratio without unit."""


class Figure(Fact[str | int | float | tuple[float | None, ...]]):
    """A fact of any kind, for figures that are kept and shown but that no formula names.

    Text must be a quantity with a unit (``3.3 TB/s``) or carry ``unit: text``; a number must name its unit.
    """

    unit: str | None = None

    @model_validator(mode="after")
    def _has_unit(self) -> "Figure":
        if isinstance(self.value, str) and self.unit is None and not _is_quantity(self.value):
            raise ValueError(f"expected a quantity with a unit, such as '80 GiB', or 'unit: text'; got {self.value!r}")
        if not isinstance(self.value, str) and self.unit is None:
            raise ValueError(f"missing unit; give 'unit', such as count, fraction or GB/s; got {self.value!r}")
        return self

    def text(self) -> str:
        """The value for people, with its unit."""
        if isinstance(self.value, str):
            return self.value
        value = ", ".join(map(str, self.value)) if isinstance(self.value, tuple) else f"{self.value:,}"
        return f"{value} {self.unit}"


def _is_quantity(text: str) -> bool:
    for dimension in DIMENSIONS:
        try:
            units.parse_quantity(text, dimension)
        except ValueError:
            continue
        return True
    return False


Figures = dict[str, Figure]
