"""The published cases, read once."""

import pytest

from glmplan.validation.case import CaseInputs, Skipped, to_inputs
from glmplan.validation.case_file import PUBLISHED, PlacedMeasurement, case_files, read_cases


@pytest.fixture(scope="session")
def published() -> tuple[PlacedMeasurement, ...]:
    """Every case that ships."""
    return read_cases(case_files([PUBLISHED]))


@pytest.fixture(scope="session")
def published_inputs(published: tuple[PlacedMeasurement, ...]) -> list[CaseInputs | Skipped]:
    """What each of them means, in the same order."""
    return [to_inputs(item.measurement) for item in published]
