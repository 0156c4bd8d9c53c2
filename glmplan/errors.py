"""The exceptions a user may meet, each with the exit code of the command line.

    GlmplanError
    +-- InputError (2)         something the user gave is wrong; the message says what would be right
    |   +-- DocumentError      a document has faults; one line a fault, all of them at once
    +-- DoesNotFit (3)         no layout meets the limits: which limit, by how much, what would fit
    +-- NoData (4)             nothing known supports a number, so none is invented

Expected errors are printed without a traceback. Anything else is a bug and keeps its traceback.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class GlmplanError(Exception):
    """Root of all expected errors."""

    exit_code = 1


class InputError(GlmplanError):
    """The user's input is wrong. The message names the place, the rule, the value and the mend."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with a document."""

    field: str
    """Path of the field, such as ``devices.a100.memory_capacity.value``; empty for the whole document."""
    reason: str
    """What is wrong and what would be right."""
    line: int | None = None
    """Line in the file, where the format tells."""


class DocumentError(InputError):
    """A document (YAML, JSON) has faults. Every fault is one line of the message."""

    def __init__(self, document: str, faults: Sequence[Fault]) -> None:
        self.document = document
        self.faults = tuple(faults)
        super().__init__("\n".join(self._line(fault) for fault in self.faults))

    def _line(self, fault: Fault) -> str:
        place = self.document if fault.line is None else f"{self.document}:{fault.line}"
        return f"{place}: {fault.field}: {fault.reason}" if fault.field else f"{place}: {fault.reason}"


class DoesNotFit(GlmplanError):
    """No layout meets the limits."""

    exit_code = 3


class NoData(GlmplanError):
    """No data supports the number asked for."""

    exit_code = 4
