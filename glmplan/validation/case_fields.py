"""A case's fields with their defaults: from the record, else from the rules, noting what was assumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from glmplan.plan.measurement import Measurement
from glmplan.validation.case_rules import Taken, taken
from glmplan.validation.quantity import ASSUMPTIONS


class Unusable(Exception):
    """A case cannot be predicted; the message is the reason that is listed. Never leaves this package."""


@dataclass(slots=True, kw_only=True)
class Fields:
    """The fields of one record, by path, and the assumptions made on the way."""

    record: Mapping[str, Any]
    rules: Mapping[str, Mapping[str, Taken]]
    """Section -> field -> what the rules take it for."""
    assumptions: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, measurement: Measurement) -> Self:
        """The fields of ``measurement`` with all rules that hold for it."""
        record = measurement.model_dump(exclude_none=True)
        sections = {name: taken(ASSUMPTIONS, name, measurement) for name in ("model", "layout")}
        return cls(record=record, rules=sections)

    def get(self, path: str) -> Any:
        """The value, from the record or a rule; None where neither has it."""
        section, _, name = path.rpartition(".")
        given = self.record.get(section, {}).get(name) if section else self.record.get(name)
        if given is not None:
            return given
        rule = self.rules.get(section, {}).get(name)
        if rule is None:
            return None
        self.assume(path, rule)
        return rule.value

    def need(self, path: str) -> Any:
        """The value. Raises Unusable where there is none."""
        value = self.get(path)
        if value is None:
            raise Unusable(f"the source does not state: {path}")
        return value

    def whole(self, path: str, default: int | None = None) -> int:
        """A positive whole number, or ``default`` where there is none. Raises Unusable."""
        value = self.get(path) if default is not None else self.need(path)
        if value is None:
            assert default is not None
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Unusable(f"contradictory: {path}: expected a whole number of at least 1; got {value!r}")
        return value

    def assume(self, path: str, rule: Taken) -> None:
        """Notes that ``path`` was taken from a rule."""
        text = f"{path} = {rule.value} ({rule.because})"
        if text not in self.assumptions:
            self.assumptions.append(text)
