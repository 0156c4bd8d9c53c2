"""What another framework's launch configuration says, in our own words; and what we cannot say in its words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from glmplan.errors import InputError
from glmplan.plan.document import Plan

Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A launch configuration, translated. What it leaves open is absent."""

    framework: str
    file: str
    """As the user named it."""
    model: dict[str, Value] = field(default_factory=dict)
    """Fields of an Architecture as far as the file states them, nested ones as ``moe.experts``."""
    job: dict[str, Value] = field(default_factory=dict)
    """``seq_len``, ``global_batch``, ``precision``, ``optimizer``."""
    layout: dict[str, Value] = field(default_factory=dict)
    """Fields of a ParallelLayout; ``dp`` and ``grad_accum`` only where the file states them."""
    num_gpus: int | None = None
    stack: str
    """The software stack preset that stands for the framework."""
    unread: tuple[str, ...] = ()
    """Options that nothing here depends on, or that are not known."""
    unresolved: tuple[str, ...] = ()
    """Options whose value is only known when the file runs."""


class Framework(Protocol):
    """One framework's file format."""

    def read(self, text: str, file: str) -> Configuration:
        """The configuration in ``text``. Raises InputError or DocumentError where it cannot be read."""

    def write(self, plan: Plan) -> str:
        """The plan's chosen layout as a launch configuration. Raises InputError where the framework cannot run it."""


def refuse(framework: str, name: str, value: object, instead: str) -> InputError:
    """The error for a layout that ``framework`` cannot run."""
    return InputError(f"export: layout.{name}: {value} cannot be said to {framework}; {instead}")


class OptionReader:
    """Options of a file, with a record of which were read."""

    def __init__(self, options: Mapping[str, Value], file: str) -> None:
        self.options = options
        self.file = file
        self._read: set[str] = set()

    def take(self, name: str) -> Value | None:
        """The value of ``name``; None when it is not given."""
        self._read.add(name)
        return self.options.get(name)

    def on(self, name: str) -> bool:
        """Whether the switch ``name`` is on."""
        return str(self.take(name)).lower() in ("true", "1")

    def number(self, name: str) -> int | None:
        """``name`` as a positive whole number, where given. Raises InputError."""
        value = self.take(name)
        return None if value is None else whole(name, value, self.file)

    def fields(self, names: Mapping[str, str]) -> dict[str, Value]:
        """Field -> number, for the options in ``names`` (option -> field) that are given. Raises InputError."""
        found = [(field, self.number(option)) for option, field in names.items()]
        return {field: number for field, number in found if number is not None}

    def unread(self) -> tuple[str, ...]:
        """Options that nothing asked for."""
        return tuple(sorted(name for name in self.options if name not in self._read))


def whole(option: str, value: object, file: str) -> int:
    """``value`` of ``option`` as a positive whole number. Raises InputError."""
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or not 0 < int(text) < 2**31:
        raise InputError(f"{file}: {option}: expected a whole number above 0; got {text!r}")
    return int(text)
