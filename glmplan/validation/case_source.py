"""Who measured a case, and on which machine: what is held out together, and what shares a level."""

import re

from glmplan.plan.measurement import Measurement
from glmplan.validation.case import CaseInputs
from glmplan.validation.case_rules import taken

SOURCES = "sources.yaml"


def source_of(measurement: Measurement) -> str:
    """The source, from the rules; else the repository or paper that the reference names, else the title."""
    named = taken(SOURCES, "source", measurement).get("source")
    if named is not None:
        return str(named.value)
    ref = str(measurement.source.get("ref") or "")
    found = re.match(r"(?:github )?([\w.-]+/[\w.-]+|arXiv:[\d.]+)", ref)
    return found.group(1) if found else str(measurement.source.get("title", "not stated"))


def machine_of(case: CaseInputs) -> str:
    """The machine: the one a rule names, else a source's devices of one kind."""
    named = taken(SOURCES, "machine", case.measurement).get("machine")
    if named is not None:
        return str(named.value)
    return f"{source_of(case.measurement)} {case.cluster.device.name}"
