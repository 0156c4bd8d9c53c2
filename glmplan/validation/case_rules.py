"""Rules in data files that say what a case means where its words are its source's own: which stack a software name
is, what a silent field is taken for. A rule holds when all its patterns are found in the record's fields.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from glmplan.documents import Document, check, read_yaml
from glmplan.plan.measurement import Measurement


class Rule(BaseModel):
    """What to take, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: dict[str, str] = Field(default_factory=dict)
    """Field path -> regular expression; an absent field is the empty text. No condition: always."""
    take: dict[str, Any]
    because: str
    """Source of the figure, or the reason of the assumption."""

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Whether every pattern is found."""
        return matches(self.when, fields)


class _RuleFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: dict[str, tuple[Rule, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A value that a rule gave."""

    value: Any
    because: str


@cache
def rules(file: str, topic: str) -> tuple[Rule, ...]:
    """The rules on ``topic`` in a data file of this folder."""
    document = read_yaml(Path(__file__).parent / file)
    return check(_RuleFile, Document(name=document.name, data=document.data, lines=document.lines)).rules[topic]


def taken(file: str, topic: str, measurement: Measurement) -> dict[str, Taken]:
    """For each field that rules on ``topic`` give: the value of the first rule that holds."""
    fields = measurement.model_dump(exclude_none=True)
    found: dict[str, Taken] = {}
    for rule in rules(file, topic):
        if rule.take.keys() - found.keys() and rule.holds(fields):
            found |= {
                name: Taken(value=value, because=rule.because) for name, value in rule.take.items() if name not in found
            }
    return found


def matches(patterns: Mapping[str, str], fields: Mapping[str, Any]) -> bool:
    """Whether every pattern is found in the field at its path; an absent field is the empty text."""
    return all(re.search(pattern, _text(fields, path)) for path, pattern in patterns.items())


def _text(fields: Mapping[str, Any], path: str) -> str:
    value: Any = fields
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
