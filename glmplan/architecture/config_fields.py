"""Reads fields of a model configuration strictly and gathers every fault, so that all are reported at once."""

import math
from typing import Any

from glmplan.documents import Document
from glmplan.errors import DocumentError, Fault


class ConfigFields:
    """The fields of one document. A faulty field is noted and read as its stand-in; ``finish`` raises."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._faults: list[Fault] = []

    def integer(self, *names: str, default: int | None = None, minimum: int = 1) -> int:
        """The first of ``names`` that is given, else ``default``; without a default it must be given."""
        name, value = self._first(names)
        if value is None:
            if default is None:
                self.fault(names[0], f"missing; give a whole number of at least {minimum}")
            return minimum if default is None else default
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            self.fault(name, f"must be a whole number of at least {minimum}; got {value!r}")
            return max(minimum, 1)
        return value

    def number(self, *names: str, default: float) -> float:
        """The first of ``names`` that is given as a positive number, else ``default``."""
        name, value = self._first(names)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            self.fault(name, f"must be a positive number; got {value!r}")
            return default
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """``name`` as true or false, else ``default``."""
        value = self._document.data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault(name, f"must be true or false; got {value!r}")
            return default
        return value

    def texts(self, name: str) -> list[str]:
        """``name`` as a list of texts; empty where it is missing."""
        return [str(item) for item in self._list(name)]

    def integers(self, name: str) -> list[int]:
        """``name`` as a list of whole numbers; empty where it is missing."""
        values = self._list(name)
        if any(isinstance(value, bool) or not isinstance(value, int) for value in values):
            self.fault(name, f"must be a list of whole numbers; got {values!r}")
            return []
        return values

    def text(self, name: str, *, default: str) -> str:
        """``name`` as text, else ``default``."""
        value = self._document.data.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not value:
            self.fault(name, f"must be text; got {value!r}")
            return default
        return value

    def inner_number(self, outer: str, inner: str, *, default: float) -> float:
        """The positive number ``outer.inner``, else ``default``."""
        group = self._document.data.get(outer)
        value = group.get(inner) if isinstance(group, dict) else None
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            self.fault(f"{outer}.{inner}", f"must be a positive number; got {value!r}")
            return default
        return float(value)

    def fault(self, field: str, reason: str) -> None:
        """Notes that ``field`` is wrong."""
        self._faults.append(Fault(field=field, reason=reason))

    def finish(self) -> None:
        """Raises DocumentError when anything was wrong."""
        if self._faults:
            raise DocumentError(self._document.name, list(dict.fromkeys(self._faults)))

    def _first(self, names: tuple[str, ...]) -> tuple[str, Any]:
        data = self._document.data
        return next(((name, data[name]) for name in names if data.get(name) is not None), (names[0], None))

    def _list(self, name: str) -> list[Any]:
        value = self._document.data.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fault(name, f"must be a list; got {value!r}")
            return []
        return value
